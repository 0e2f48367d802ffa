package gates

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

var daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}

// daemonSet is a DaemonSet that is watched, or all of those that a selector
// selects. Its fields are guarded by Set.mu.
type daemonSet struct {
	namespace, selector string
	// unknown is why nothing is known of it; empty where something is.
	unknown  string
	found    map[string]rollout // by name
	answered chan struct{}      // closed at the first answer
	cancel   context.CancelFunc
	// redirects are watched once a cache of which no node owns the address has
	// been found; nil before.
	redirects *redirects
}

// rollout is what is known of a DaemonSet.
type rollout struct {
	desired, available int
	cache              nodecache.Cache
}

// redirects are the policies of Cilium in a namespace.
type redirects struct {
	// unknown is why they are not known, empty where they are. It is notYet before
	// the first answer.
	unknown string
	found   map[string]nodecache.Redirect // by name
}

// problem says why the gate of a cache is closed; empty where it is open:
//
//	DaemonSets     all that there are, added up           the gate is
//	unreadable                                            closed
//	found          none                                   closed
//	desired        0 nodes                                closed
//	unavailable    more than maxUnavailable               closed
//	address        a server of the policy is nobody's     closed
//	               whether anybody redirects it cannot    open: nothing is proven
//	               be read
func (d *daemonSet) problem(c policy.Cache) string {
	switch {
	case d == nil:
		return notYet
	case d.unknown != "":
		return d.unknown
	case len(d.found) == 0 && d.selector != "":
		return fmt.Sprintf("no DaemonSet in %s has the labels %s", d.namespace, d.selector)
	case len(d.found) == 0:
		return "there is no such DaemonSet"
	}
	desired, available := 0, 0
	for _, found := range d.found {
		desired, available = desired+found.desired, available+found.available
	}
	switch {
	case desired == 0 && d.selector != "":
		return fmt.Sprintf("the DaemonSets want no node (%d of them)", len(d.found))
	case desired == 0:
		return "the DaemonSet wants no node"
	case !c.Open(desired, available):
		return fmt.Sprintf("unavailable on %d of %d nodes, at most %s may be", desired-available, desired, c.MaxUnavailable.String())
	}
	return d.nobodys(c)
}

// nobodys says which server of a policy nobody has.
func (d *daemonSet) nobodys(c policy.Cache) string {
	if d.redirects == nil || d.redirects.unknown != "" && d.redirects.unknown != notYet {
		return ""
	}
	var known []nodecache.Redirect
	for _, r := range d.redirects.found {
		known = append(known, r)
	}
	for _, found := range d.found {
		servers := found.cache.Nobodys(strings.Fields(c.Servers), known)
		switch {
		case len(servers) == 0:
		case d.redirects.unknown == notYet:
			return notYet
		default:
			return fmt.Sprintf("no node has the address %s: DaemonSet %s is in the pod network with -setupinterface=false, and no CiliumLocalRedirectPolicy in %s has it in its addressMatcher",
				strings.Join(servers, ", "), found.cache.Name, d.namespace)
		}
	}
	return ""
}

// watchDaemonSet begins to watch a DaemonSet, or those of a selector, unless it is
// being watched. The watch of one names the object, so that permissions can. The
// channel is closed at the first answer. s.mu is held.
func (s *Set) watchDaemonSet(c policy.Cache) <-chan struct{} {
	if d, known := s.sets[c.DaemonSet]; known {
		return d.answered
	}
	namespace, name, selector := c.Find()
	d := &daemonSet{namespace: namespace, selector: selector, unknown: notYet, found: map[string]rollout{}, answered: make(chan struct{})}
	s.sets[c.DaemonSet] = d
	d.cancel = s.begin(func(ctx context.Context) {
		s.followDaemonSet(ctx, d, func(o *metav1.ListOptions) {
			o.LabelSelector = selector
			if name != "" {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}
		})
	})
	return d.answered
}

// followDaemonSet watches until ctx ends. While the API server is away, what
// it said last counts.
func (s *Set) followDaemonSet(ctx context.Context, d *daemonSet, tweak func(*metav1.ListOptions)) {
	informer := dynamicinformer.NewFilteredDynamicInformer(s.Client, daemonSets, d.namespace, 0, cache.Indexers{}, tweak).Informer()
	// Neither call can fail before the informer runs.
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		s.note(d, func() {
			if d.unknown != "" {
				d.unknown = "watch the DaemonSet: " + err.Error()
			}
		})
	})
	seen := func(object any) {
		set, ok := read(object)
		if !ok {
			return
		}
		r := rolloutOf(set)
		s.mu.Lock()
		last, known := d.found[set.Name]
		if s.CachesChanged != nil && (!known || !reflect.DeepEqual(last.cache, r.cache)) {
			defer s.CachesChanged() // after the lock: it asks for Caches
		}
		defer s.mu.Unlock()
		d.found[set.Name] = r
		if r.cache.Unowned && d.redirects == nil {
			d.redirects = &redirects{unknown: notYet, found: map[string]nodecache.Redirect{}}
			s.active.Go(func() { s.followRedirects(ctx, d) })
		}
		// Of the first list no part counts before all of it has been read.
		s.publishSoon()
	}
	handler, _ := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if gone, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				_, name, _ := cache.SplitMetaNamespaceKey(gone)
				s.note(d, func() { delete(d.found, name) })
			}
		},
	})
	s.active.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			s.note(d, func() { d.unknown = "" })
		}
	})
	informer.RunWithContext(ctx)
}

// followRedirects watches the policies of Cilium in the namespace of a cache. A
// cluster that does not know the kind has none.
func (s *Set) followRedirects(ctx context.Context, d *daemonSet) {
	informer := dynamicinformer.NewFilteredDynamicInformer(s.Client, nodecache.Redirects, d.namespace, 0, cache.Indexers{}, nil).Informer()
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		s.note(d, func() {
			switch {
			case apierrors.IsNotFound(err):
				d.redirects.unknown = ""
				clear(d.redirects.found)
			case d.redirects.unknown == notYet:
				d.redirects.unknown = err.Error()
				s.Log.Info("cannot watch local redirect policies, so a cache whose address no node has is not found out",
					"namespace", d.namespace, "error", err.Error())
			}
		})
	})
	seen := func(object any) {
		if o, ok := object.(*unstructured.Unstructured); ok {
			s.note(d, func() {
				delete(d.redirects.found, o.GetName())
				if r, ok := nodecache.RedirectOf(o); ok {
					d.redirects.found[o.GetName()] = r
				}
			})
		}
	}
	handler, _ := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if gone, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				_, name, _ := cache.SplitMetaNamespaceKey(gone)
				s.note(d, func() { delete(d.redirects.found, name) })
			}
		},
	})
	s.active.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			s.note(d, func() { d.redirects.unknown = "" })
		}
	})
	informer.RunWithContext(ctx)
}

// note changes what is known of a DaemonSet, and the gates with it.
func (s *Set) note(d *daemonSet, change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.publishSoon()
	if d.redirects != nil && d.redirects.unknown == notYet {
		return
	}
	select {
	case <-d.answered:
	default:
		close(d.answered)
	}
}

func read(object any) (*appsv1.DaemonSet, bool) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, false
	}
	set := &appsv1.DaemonSet{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, set); err != nil {
		return nil, false
	}
	return set, true
}

func rolloutOf(set *appsv1.DaemonSet) rollout {
	r := rollout{desired: int(set.Status.DesiredNumberScheduled), available: int(set.Status.NumberAvailable)}
	r.cache, _ = nodecache.Of(set)
	return r
}

// Caches returns what the DaemonSets that are watched tell of themselves, in the
// order of their names.
func (s *Set) Caches() []nodecache.Cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []nodecache.Cache
	for _, d := range s.sets {
		for _, found := range d.found {
			all = append(all, found.cache)
		}
	}
	slices.SortFunc(all, func(a, b nodecache.Cache) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return slices.CompactFunc(all, func(a, b nodecache.Cache) bool { return a.Namespace == b.Namespace && a.Name == b.Name })
}
