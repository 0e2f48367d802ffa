package discovery

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

var (
	services       = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpointSlices = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
)

// Recorder learns of contradictions.
type Recorder interface {
	// Contradictions says how many there are.
	Contradictions(n int)
}

// Options holds what a Watcher needs. Client, Policy, Recorder and Log are
// required.
type Options struct {
	Client dynamic.Interface
	// ResolvConf is the text of this pod's resolv.conf; empty where there is
	// none, or one of another cluster.
	ResolvConf string
	// Policy returns the policy in force, nil while there is none.
	Policy func() *policy.Compiled
	// Caches returns what DaemonSets of caches tell. Defaults to nothing.
	Caches   func() []nodecache.Cache
	Recorder Recorder
	Log      logr.Logger
}

// Watcher keeps a Result in step with the Services of the cluster.
type Watcher struct {
	Options
	result atomic.Pointer[Result]
	synced chan struct{}

	// refreshing is held while a result is worked out, so that the last one is of
	// the last facts.
	refreshing sync.Mutex

	mu      sync.Mutex
	sources []*source
}

// source is a kind of object in a namespace that is watched.
type source struct {
	namespace string
	resource  schema.GroupVersionResource
	strip     cache.TransformFunc
	informer  cache.SharedIndexInformer // nil before the start
	// failed is true once an error was logged.
	failed bool
	// done is closed at the first answer, good or bad.
	done chan struct{}
	once sync.Once
}

// New returns a Watcher that knows what resolv.conf says, and the rest once it
// is started.
func New(o Options) *Watcher {
	w := &Watcher{Options: o, synced: make(chan struct{})}
	for _, namespace := range Namespaces() {
		w.sources = append(w.sources,
			&source{namespace: namespace, resource: services, strip: strip, done: make(chan struct{})},
			&source{namespace: namespace, resource: endpointSlices, strip: countEndpoints, done: make(chan struct{})})
	}
	w.Refresh()
	return w
}

// Discovered returns what is known, never nil. It takes no lock.
func (w *Watcher) Discovered() *policy.Discovered { return &w.result.Load().Discovered }

// Result returns what is known, where it comes from, and what contradicts it.
func (w *Watcher) Result() Result { return *w.result.Load() }

// Synced is closed once the Services and their endpoints have been read, or cannot
// be.
func (w *Watcher) Synced() <-chan struct{} { return w.synced }

// Start watches until ctx ends. It returns nil: what cannot be read is tried
// again and again, and meanwhile resolv.conf has to do.
func (w *Watcher) Start(ctx context.Context) error {
	var active sync.WaitGroup
	for _, s := range w.sources {
		active.Go(func() { w.watch(ctx, s) })
	}
	active.Wait()
	return nil
}

// watch follows one source. Those of OpenShift are given up at once where they may
// not be read: on other clusters nobody grants that.
func (w *Watcher) watch(ctx context.Context, s *source) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := dynamicinformer.NewFilteredDynamicInformer(w.Client, s.resource, s.namespace, 0, cache.Indexers{}, nil).Informer()
	w.mu.Lock()
	s.informer = informer
	w.mu.Unlock()

	// None of these calls can fail before the informer runs.
	_ = informer.SetTransform(s.strip)
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		switch {
		case s.namespace == openShiftNamespace && apierrors.IsForbidden(err):
			w.Log.V(1).Info("not an OpenShift cluster, or its DNS Service may not be read", "namespace", s.namespace)
			cancel()
		case s.failed:
		case s.resource == endpointSlices:
			s.failed = true
			w.Log.Info("cannot watch EndpointSlices, so a DNS Service that nobody is behind is not told from others", "namespace", s.namespace, "error", printable.Clip(err.Error()))
		default:
			s.failed = true
			w.Log.Info("cannot watch Services, so what they would tell about the cluster DNS is not known", "namespace", s.namespace, "error", printable.Clip(err.Error()))
		}
		w.answered(s)
	})
	handler, _ := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.Refresh() },
		UpdateFunc: func(any, any) { w.Refresh() },
		DeleteFunc: func(any) { w.Refresh() },
	})
	var active sync.WaitGroup
	active.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			w.Refresh() // that there is no EndpointSlice at all is worth knowing
			w.answered(s)
		}
	})
	informer.RunWithContext(ctx)
	active.Wait()
}

// answered notes that a source has answered once.
func (w *Watcher) answered(s *source) {
	s.once.Do(func() { close(s.done) })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.sources {
		select {
		case <-other.done:
		default:
			return
		}
	}
	select {
	case <-w.synced:
	default:
		close(w.synced)
	}
}

// Refresh works out the result anew, as is due when the policy has changed, or
// what is known of the caches.
func (w *Watcher) Refresh() {
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	facts := Facts{ResolvConf: w.ResolvConf}
	if w.Caches != nil {
		facts.Caches = w.Caches() // before the lock: it takes another
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if compiled := w.Policy(); compiled != nil {
		spec := &compiled.Document().Spec
		facts.Configured = spec.Cluster
		for e := range spec.Effective() {
			if e.DNS != nil {
				facts.CacheServers = append(facts.CacheServers, e.DNS.NodeLocal.Servers...)
			}
		}
	}
	for _, namespace := range Namespaces() {
		facts.Services = append(facts.Services, w.servicesOf(namespace)...)
	}
	next, last := Discover(facts), w.result.Load()
	if last != nil && reflect.DeepEqual(*last, next) {
		return
	}
	w.result.Store(&next)
	w.Recorder.Contradictions(len(next.Contradictions))
	w.Log.Info("discovered the cluster's DNS", "domain", next.Domain, "domainSource", next.DomainSource,
		"dnsServers", next.DNSServers, "dnsServersSource", next.DNSServersSource,
		"upstreamServers", next.UpstreamServers, "upstreamServersSource", next.UpstreamSource)
	for _, contradiction := range next.Contradictions {
		if last == nil || !slices.Contains(last.Contradictions, contradiction) {
			w.Log.Info("contradiction about the cluster's DNS", "contradiction", contradiction)
		}
	}
}

// servicesOf returns the Services of a namespace, and whether nobody is behind
// them, as far as either can be read. w.mu is held.
func (w *Watcher) servicesOf(namespace string) []Service {
	var found []Service
	var endpoints map[string]int
	for _, s := range w.sources {
		if s.namespace != namespace || s.informer == nil {
			continue
		}
		if s.resource == endpointSlices && s.informer.HasSynced() {
			endpoints = map[string]int{}
		}
		for _, object := range s.informer.GetStore().List() {
			o, ok := object.(*unstructured.Unstructured)
			switch {
			case !ok:
			case s.resource == services:
				found = append(found, read(o))
			case endpoints != nil:
				n, _, _ := unstructured.NestedInt64(o.Object, countField)
				endpoints[o.GetLabels()[discoveryv1.LabelServiceName]] += int(n)
			}
		}
	}
	MarkIdle(found, endpoints)
	return found
}

// countField of a stripped EndpointSlice says how many endpoints it has.
const countField = "count"

// countEndpoints keeps of an EndpointSlice what is used.
func countEndpoints(object any) (any, error) {
	slice, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil // a tombstone, which holds what was stripped before
	}
	endpoints, _, _ := unstructured.NestedSlice(slice.Object, "endpoints")
	kept := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": slice.GetAPIVersion(), "kind": slice.GetKind(), countField: int64(len(endpoints)),
	}}
	kept.SetNamespace(slice.GetNamespace())
	kept.SetName(slice.GetName())
	if name := slice.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		kept.SetLabels(map[string]string{discoveryv1.LabelServiceName: name})
	}
	kept.SetUID(slice.GetUID())
	kept.SetResourceVersion(slice.GetResourceVersion())
	return kept, nil
}

// strip keeps of a Service what is used.
func strip(object any) (any, error) {
	service, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil // a tombstone, which holds what was stripped before
	}
	kept := &unstructured.Unstructured{Object: map[string]any{"apiVersion": service.GetAPIVersion(), "kind": service.GetKind()}}
	kept.SetNamespace(service.GetNamespace())
	kept.SetName(service.GetName())
	kept.SetLabels(service.GetLabels())
	kept.SetUID(service.GetUID())
	kept.SetResourceVersion(service.GetResourceVersion())
	for _, field := range []string{"clusterIP", "clusterIPs", "ports"} {
		if value, found, err := unstructured.NestedFieldNoCopy(service.Object, "spec", field); err == nil && found {
			if err := unstructured.SetNestedField(kept.Object, value, "spec", field); err != nil {
				return nil, err
			}
		}
	}
	return kept, nil
}

// read takes what matters from the object; nothing from one that is no Service.
func read(object *unstructured.Unstructured) Service {
	var service corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &service); err != nil {
		return Service{}
	}
	return ServiceOf(&service)
}
