package gates

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// "pod.service.namespace" has two dots, so with ndots 2 it is asked outside
// first, which is harmless unless the outside knows the namespace as a name:
// dev and app are top-level domains, and private zones have others. Only
// headless Services give pods such names. So a namespace counts while it
//
//	has an EndpointSlice of a headless Service, and the servers     asked once an hour
//	  that pods ask do not say NXDOMAIN to its name
//	is named like a public top-level domain, where EndpointSlices   from the list that
//	  may not be listed                                             this build has
//
// A namespace that nobody has asked about yet counts, and so does one of which
// the servers say nothing, until they do.

const (
	askAgain     = time.Hour
	askSoon      = time.Minute // what has not been answered
	publicPeriod = 5 * time.Second
	askPause     = 20 * time.Millisecond // between two questions
	askTimeout   = 5 * time.Second
)

// headlessLabel is on the EndpointSlices of headless Services.
const headlessLabel = "service.kubernetes.io/headless"

var endpointSlices = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}

// publicNames are the namespaces that the outside knows. Its fields are guarded
// by Set.mu.
type publicNames struct {
	found    map[string]bool // nil: not known yet
	answered chan struct{}   // closed once found is known
	cancel   context.CancelFunc

	// Of the one goroutine that asks.
	asked map[string]askedName
}

type askedName struct {
	public bool
	next   time.Time
}

// any holds while nothing is known yet.
func (p *publicNames) any() bool { return p != nil && (p.found == nil || len(p.found) > 0) }

func (p *publicNames) names() []string {
	if p == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(p.found))
}

// watchPublicNames begins to look for them, unless that is done. s.mu is held.
func (s *Set) watchPublicNames() <-chan struct{} {
	if s.public == nil {
		p := &publicNames{answered: make(chan struct{}), asked: map[string]askedName{}}
		p.cancel = s.begin(func(ctx context.Context) { s.followPublicNames(ctx, p) })
		s.public = p
	}
	return s.public.answered
}

// followPublicNames lists EndpointSlices and asks about their namespaces until
// ctx ends.
func (s *Set) followPublicNames(ctx context.Context, p *publicNames) {
	var synced func() bool
	var slicesStore cache.Store
	forbidden := make(chan struct{}, 1)
	if s.Metadata != nil {
		informer := metadatainformer.NewFilteredMetadataInformer(s.Metadata, endpointSlices, metav1.NamespaceAll, 0, cache.Indexers{},
			func(o *metav1.ListOptions) { o.LabelSelector = headlessLabel }).Informer()
		// None of these can fail before the informer runs.
		_ = informer.SetTransform(bareObject)
		_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				select {
				case forbidden <- struct{}{}:
				default:
				}
			}
		})
		s.active.Go(func() { informer.RunWithContext(ctx) })
		synced, slicesStore = informer.HasSynced, informer.GetStore()
	}
	mayList := s.Metadata != nil
	for {
		switch {
		case synced != nil && synced():
			mayList = true
			s.notePublic(p, s.askNames(ctx, p, namespacesOf(slicesStore)))
		case !mayList:
			s.notePublic(p, topLevelDomains(s.Namespaces()))
		}
		if ctx.Err() != nil {
			return
		}
		pause := publicPeriod
		if mayList && !synced() {
			pause = 20 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-forbidden:
			mayList = synced()
		case <-time.After(pause):
		}
	}
}

// bareObject keeps of an EndpointSlice where it is, and what the watch needs.
func bareObject(object any) (any, error) {
	slice, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: slice.Name, Namespace: slice.Namespace, UID: slice.UID, ResourceVersion: slice.ResourceVersion,
	}}, nil
}

func namespacesOf(store cache.Store) []string {
	found := map[string]bool{}
	for _, key := range store.ListKeys() {
		if namespace, _, ok := strings.Cut(key, "/"); ok {
			found[namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func topLevelDomains(namespaces []string) map[string]bool {
	found := map[string]bool{}
	for _, name := range namespaces {
		// A namespace has no dots: it is its own suffix.
		if _, icann := publicsuffix.PublicSuffix(name); icann {
			found[name] = true
		}
	}
	return found
}

// askNames asks about the namespaces that it is time for.
func (s *Set) askNames(ctx context.Context, p *publicNames, namespaces []string) map[string]bool {
	found := map[string]bool{}
	for name := range p.asked {
		if _, there := slices.BinarySearch(namespaces, name); !there {
			delete(p.asked, name)
		}
	}
	for _, name := range namespaces {
		known, before := p.asked[name]
		if now := time.Now(); !now.Before(known.next) {
			public, ok := s.isPublic(ctx, name)
			switch {
			case ok:
				known = askedName{public, now.Add(askAgain)}
			case !before:
				known = askedName{true, now.Add(askSoon)}
			default:
				known.next = now.Add(askSoon)
			}
			if ctx.Err() != nil {
				return found
			}
			p.asked[name] = known
			time.Sleep(askPause)
		}
		if known.public {
			found[name] = true
		}
	}
	return found
}

// isPublic asks whether a name exists outside the cluster. ok is false where
// nobody says.
func (s *Set) isPublic(ctx context.Context, name string) (public, ok bool) {
	s.mu.Lock()
	var servers []string
	for _, u := range s.upstreams {
		servers = append(servers, s.serversOf(&u.probe)...)
	}
	if discovered := s.Discovered(); len(servers) == 0 && discovered != nil { // no gate
		servers = discovered.DNSServers
	}
	s.mu.Unlock()
	for _, server := range servers {
		reply, err := s.ask(ctx, server, name+".", dns.TypeSOA, askTimeout)
		switch {
		case err != nil:
		case reply.Rcode == dns.RcodeNameError:
			ok = true
		case reply.Rcode == dns.RcodeSuccess:
			return true, true
		}
	}
	return false, ok
}

// notePublic takes over what was found.
func (s *Set) notePublic(p *publicNames, found map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.found == nil || !maps.Equal(found, p.found) {
		p.found = found
		s.Log.Info("namespaces that are names outside the cluster", "namespaces", len(found))
		s.publishSoon()
	}
	select {
	case <-p.answered:
	default:
		close(p.answered)
	}
}
