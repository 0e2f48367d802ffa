package gates

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/shorthop/shorthop/pkg/policy"
)

var daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}

// daemonSet is a DaemonSet that is watched. Its fields are guarded by Set.mu.
type daemonSet struct {
	// unknown is why nothing is known of it; empty where something is.
	unknown            string
	found              bool
	desired, available int
	answered           chan struct{} // closed at the first answer
	cancel             context.CancelFunc
}

// problem says why the gate of a cache is closed; empty where it is open.
func (d *daemonSet) problem(c policy.Cache) string {
	switch {
	case d == nil:
		return notYet
	case d.unknown != "":
		return d.unknown
	case !d.found:
		return "there is no such DaemonSet"
	case d.desired == 0:
		return "the DaemonSet wants no node"
	case !c.Open(d.desired, d.available):
		return fmt.Sprintf("unavailable on %d of %d nodes, at most %s may be", d.desired-d.available, d.desired, c.MaxUnavailable.String())
	}
	return ""
}

// watchDaemonSet begins to watch a DaemonSet unless it is being watched. The
// watch names the object, so that permissions can. The channel is closed at
// the first answer. s.mu is held.
func (s *Set) watchDaemonSet(name string) <-chan struct{} {
	if d, known := s.sets[name]; known {
		return d.answered
	}
	d := &daemonSet{unknown: notYet, answered: make(chan struct{})}
	s.sets[name] = d
	d.cancel = s.begin(func(ctx context.Context) { s.followDaemonSet(ctx, d, name) })
	return d.answered
}

// followDaemonSet watches until ctx ends. While the API server is away, what
// it said last counts.
func (s *Set) followDaemonSet(ctx context.Context, d *daemonSet, target string) {
	namespace, name, _ := strings.Cut(target, "/")
	informer := dynamicinformer.NewFilteredDynamicInformer(s.Client, daemonSets, namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}).Informer()
	// Neither call can fail before the informer runs.
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		s.note(d, func() {
			if d.unknown != "" {
				d.unknown = "watch the DaemonSet: " + err.Error()
			}
		})
	})
	seen := func(object any) {
		s.note(d, func() { d.read(object) })
	}
	handler, _ := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(any) { s.note(d, func() { d.found = false }) },
	})
	s.active.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			s.note(d, func() { d.unknown = "" })
		}
	})
	informer.RunWithContext(ctx)
}

// note changes what is known of a DaemonSet, and the gates with it.
func (s *Set) note(d *daemonSet, change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.publish()
	select {
	case <-d.answered:
	default:
		close(d.answered)
	}
}

// read takes what matters from the object. The API server leaves out fields
// that are zero.
func (d *daemonSet) read(object any) {
	set, ok := object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	number := func(name string) int {
		n, _, _ := unstructured.NestedInt64(set.Object, "status", name)
		return int(n)
	}
	d.unknown, d.found = "", true
	d.desired, d.available = number("desiredNumberScheduled"), number("numberAvailable")
}
