package discovery

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/shorthop/shorthop/pkg/policy"
)

var services = schema.GroupVersionResource{Version: "v1", Resource: "services"}

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
	// Policy returns the policy in force.
	Policy   func() *policy.Compiled
	Recorder Recorder
	Log      logr.Logger
}

// Watcher keeps a Result in step with the Services of the cluster.
type Watcher struct {
	Options
	result atomic.Pointer[Result]
	synced chan struct{}

	mu      sync.Mutex
	sources map[string]*source // by namespace
}

// source is a namespace whose Services are watched.
type source struct {
	informer cache.SharedIndexInformer
	// failed is true once an error was logged.
	failed bool
	// done is closed at the first answer, good or bad.
	done chan struct{}
	once sync.Once
}

// New returns a Watcher that knows what resolv.conf says, and the rest once it
// is started.
func New(o Options) *Watcher {
	w := &Watcher{Options: o, synced: make(chan struct{}), sources: map[string]*source{}}
	w.Refresh()
	return w
}

// Discovered returns what is known, never nil. It takes no lock.
func (w *Watcher) Discovered() *policy.Discovered { return &w.result.Load().Discovered }

// Result returns what is known, where it comes from, and what contradicts it.
func (w *Watcher) Result() Result { return *w.result.Load() }

// Synced is closed once the Services have been read, or cannot be.
func (w *Watcher) Synced() <-chan struct{} { return w.synced }

// Start watches until ctx ends. It returns nil: what cannot be read is tried
// again and again, and meanwhile resolv.conf has to do.
func (w *Watcher) Start(ctx context.Context) error {
	var active sync.WaitGroup
	for _, namespace := range []string{systemNamespace, openShiftNamespace} {
		active.Go(func() { w.watch(ctx, namespace) })
	}
	active.Wait()
	return nil
}

// watch follows the Services of one namespace. That of OpenShift is given up
// at once where it may not be read: on other clusters nobody grants that.
func (w *Watcher) watch(ctx context.Context, namespace string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := dynamicinformer.NewFilteredDynamicInformer(w.Client, services, namespace, 0, cache.Indexers{}, nil).Informer()
	s := &source{informer: informer, done: make(chan struct{})}
	w.mu.Lock()
	w.sources[namespace] = s
	w.mu.Unlock()

	// None of these calls can fail before the informer runs.
	_ = informer.SetTransform(strip)
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		switch {
		case namespace == openShiftNamespace && apierrors.IsForbidden(err):
			w.Log.V(1).Info("not an OpenShift cluster, or its DNS Service may not be read", "namespace", namespace)
			cancel()
		case !s.failed:
			s.failed = true
			w.Log.Info("cannot watch Services, so what they would tell about the cluster DNS is not known", "namespace", namespace, "error", err.Error())
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
	for _, namespace := range []string{systemNamespace, openShiftNamespace} {
		other := w.sources[namespace]
		if other == nil {
			return
		}
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

// Refresh works out the result anew, as is due when the policy has changed.
func (w *Watcher) Refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	facts := Facts{ResolvConf: w.ResolvConf, Configured: w.Policy().Document().Spec.Cluster}
	for _, s := range w.sources {
		for _, object := range s.informer.GetStore().List() {
			if service, ok := object.(*unstructured.Unstructured); ok {
				facts.Services = append(facts.Services, read(service))
			}
		}
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

// read takes what matters from the object.
func read(object *unstructured.Unstructured) Service {
	s := Service{Namespace: object.GetNamespace(), Name: object.GetName(), Labels: object.GetLabels()}
	s.ClusterIPs, _, _ = unstructured.NestedStringSlice(object.Object, "spec", "clusterIPs")
	if address, _, _ := unstructured.NestedString(object.Object, "spec", "clusterIP"); len(s.ClusterIPs) == 0 && address != "" {
		s.ClusterIPs = []string{address}
	}
	ports, _, _ := unstructured.NestedSlice(object.Object, "spec", "ports")
	for _, entry := range ports {
		if port, ok := entry.(map[string]any); ok {
			if number, ok := port["port"].(int64); ok {
				s.Ports = append(s.Ports, int(number))
			}
		}
	}
	return s
}
