package filterwatch

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func compile(t *testing.T, spec string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: a}\nspec: {dns: {}"+spec+"}\n", "shorthop")
}

// TestWatcher follows both sides at a real API server.
func TestWatcher(t *testing.T) {
	control := clustertest.Start(t, cluster.Options{})
	client, err := metadata.NewForConfig(control.Config)
	if err != nil {
		t.Fatal(err)
	}
	nobody := rest.AnonymousClientConfig(control.Config)
	forbidden, err := metadata.NewForConfig(nobody)
	if err != nil {
		t.Fatal(err)
	}

	const name = "shorthop"
	first, second := compile(t, ""), compile(t, ", excludedNamespaces: [vault]")
	var inForce atomic.Pointer[policy.Compiled]
	inForce.Store(first)
	// -1: it has not looked yet.
	var mismatch atomic.Int32
	mismatch.Store(-1)
	var present atomic.Bool
	start := func(client metadata.Interface) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		watcher := New(Options{
			Client: client, Configuration: name, Interval: 10 * time.Millisecond, Policy: inForce.Load, Log: testr.New(t), Present: present.Store,
			Mismatch: func(is bool) {
				mismatch.Store(0)
				if is {
					mismatch.Store(1)
				}
			},
		})
		go func() { ended <- watcher.Start(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Start: %v", err)
			}
		}
	}
	becomes := func(want int32, when string) {
		t.Helper()
		clustertest.Eventually(t, fmt.Sprintf("%s: mismatch is %d", when, want), func() bool { return mismatch.Load() == want })
	}
	configs := control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()

	stop := start(client)
	becomes(0, "there is no configuration")
	config, err := configs.Create(t.Context(), webhookconfig.New(second.Document(), webhookconfig.Options{Name: name, OwnNamespace: "shorthop", Service: name}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	becomes(1, "the filter is that of another policy")
	if !present.Load() {
		t.Error("the configuration is said to be missing")
	}
	inForce.Store(second)
	becomes(0, "that policy comes into force")
	delete(config.Annotations, webhookconfig.AnnotationFilterHash)
	if config, err = configs.Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes(1, "nobody knows what the filter was made from")
	if err := configs.Delete(t.Context(), config.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes(0, "the configuration is deleted")
	if present.Load() {
		t.Error("a configuration that was deleted is said to be there")
	}
	stop()

	// What cannot be read says nothing, and ends nothing.
	mismatch.Store(-1)
	stop = start(forbidden)
	time.Sleep(100 * time.Millisecond)
	stop()
	if got := mismatch.Load(); got != -1 {
		t.Errorf("without permission: mismatch is %d, want nothing said", got)
	}
}
