package namespaces_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

func TestCacheAtARealAPIServer(t *testing.T) {
	control := clustertest.Start(t, cluster.Options{})
	between := clustertest.NewWay(t, clustertest.HostOf(control.Config))
	config := rest.CopyConfig(control.Config)
	config.Host = "https://" + between.Address
	client, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := namespaces.New(client, client, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string, labels map[string]string) {
		t.Helper()
		if err := control.CreateNamespace(t.Context(), name, labels); err != nil {
			t.Fatal(err)
		}
	}
	labels := func(name string) (string, bool) {
		t.Helper()
		began := time.Now()
		got, ok := cache.Get(t.Context(), name)
		if took := time.Since(began); took > clustertest.Hang {
			t.Errorf("Get(%s) took %s", name, took)
		}
		return got.Labels["team"], ok
	}
	eventually := func(name, team string, want bool) {
		t.Helper()
		clustertest.Eventually(t, fmt.Sprintf("Get(%s) = %q, %t", name, team, want), func() bool {
			got, ok := labels(name)
			return got == team && ok == want
		})
	}

	create("early", map[string]string{"team": "one"})
	if team, ok := labels("early"); team != "one" || !ok {
		t.Errorf("before the cache is started: %q, %t", team, ok)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cache.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	clustertest.Eventually(t, "the cache is filled", cache.Synced)

	// A new namespace is known at once, whether or not the watch has brought it.
	create("late", map[string]string{"team": "two"})
	if team, ok := labels("late"); team != "two" || !ok {
		t.Errorf("a new namespace: %q, %t", team, ok)
	}
	if _, ok := labels("nowhere"); ok {
		t.Error("a namespace that does not exist is known")
	}

	patch := []byte(`{"metadata":{"labels":{"team":"three"}}}`)
	if _, err := control.Client.CoreV1().Namespaces().Patch(t.Context(), "late", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually("late", "three", true)

	// An API server that accepts and does not answer.
	between.Hold()
	create("unseen", map[string]string{"team": "four"})
	if _, ok := labels("unseen"); ok {
		t.Error("a namespace is known without an answer of the API server")
	}
	if team, ok := labels("late"); team != "three" || !ok {
		t.Errorf("a cached namespace while the API server hangs: %q, %t", team, ok)
	}
	between.Release()
	eventually("unseen", "four", true)

	// No API server at all.
	between.Cut()
	create("missed", map[string]string{"team": "five"})
	if _, ok := labels("missed"); ok {
		t.Error("a namespace is known without an API server")
	}
	if team, ok := labels("late"); team != "three" || !ok {
		t.Errorf("a cached namespace while the API server is away: %q, %t", team, ok)
	}
}
