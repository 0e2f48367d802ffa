package namespaces_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/shorthop/shorthop/internal/namespaces"
)

var resource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

func namespace(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}

func newClient(objects ...runtime.Object) *fake.FakeMetadataClient {
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	return fake.NewSimpleMetadataClient(scheme, objects...)
}

func newCache(t *testing.T, client *fake.FakeMetadataClient) *namespaces.Cache {
	t.Helper()
	cache, err := namespaces.New(client, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// start starts the cache and returns once it is filled. The cache ends with
// the test.
func start(t *testing.T, cache *namespaces.Cache) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cache.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	for deadline := time.Now().Add(time.Minute); !cache.Synced(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cache is not filled after a minute")
		}
	}
}

// countReads makes reads of single namespaces go through answer first.
func countReads(client *fake.FakeMetadataClient, answer clienttesting.ReactionFunc) *atomic.Int32 {
	reads := new(atomic.Int32)
	client.PrependReactor("get", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		reads.Add(1)
		return answer(action)
	})
	return reads
}

func pass(clienttesting.Action) (bool, runtime.Object, error) { return false, nil, nil }

func expect(t *testing.T, cache *namespaces.Cache, name string, want map[string]string, wantOK bool) {
	t.Helper()
	got, ok := cache.Labels(t.Context(), name)
	if ok != wantOK || !maps.Equal(got, want) {
		t.Errorf("Labels(%s) = %v, %t, want %v, %t", name, got, ok, want, wantOK)
	}
}

func TestLabelsFromTheCache(t *testing.T) {
	t.Parallel()
	shop := map[string]string{"team": "shop"}
	client := newClient(namespace("shop", shop), namespace("bare", nil))
	reads := countReads(client, pass)
	cache := newCache(t, client)
	start(t, cache)
	expect(t, cache, "shop", shop, true)
	expect(t, cache, "bare", nil, true)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, ok := cache.Labels(ended, "shop"); !ok || !maps.Equal(got, shop) {
		t.Errorf("with a context that has ended: %v, %t", got, ok)
	}
	if n := reads.Load(); n != 0 {
		t.Errorf("the API server was asked %d times for what is in the cache", n)
	}
	one, _ := cache.Labels(t.Context(), "shop")
	other, _ := cache.Labels(t.Context(), "shop")
	if reflect.ValueOf(one).Pointer() != reflect.ValueOf(other).Pointer() {
		t.Error("a cached lookup copies the labels")
	}
}

func TestLabelsOfANamespaceThatIsNotInTheCache(t *testing.T) {
	t.Parallel()
	shop := map[string]string{"team": "shop"}
	forbidden := apierrors.NewForbidden(resource.GroupResource(), "shop", errors.New("no"))
	for name, test := range map[string]struct {
		answer clienttesting.ReactionFunc
		want   map[string]string
		ok     bool
	}{
		"is read": {pass, shop, true},
		"is read, and has no labels": {
			func(clienttesting.Action) (bool, runtime.Object, error) { return true, namespace("shop", nil), nil }, nil, true,
		},
		"is unknown where reading it fails": {
			func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden }, nil, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(namespace("shop", shop))
			countReads(client, test.answer)
			expect(t, newCache(t, client), "shop", test.want, test.ok) // the cache is not started
		})
	}
	t.Run("is unknown where it does not exist", func(t *testing.T) {
		t.Parallel()
		cache := newCache(t, newClient(namespace("shop", shop)))
		start(t, cache)
		expect(t, cache, "other", nil, false)
	})
}

// Time is the bubble's: it moves on only when everybody waits.
func TestLabelsWithinTheDeadline(t *testing.T) {
	t.Parallel()
	shop := map[string]string{"team": "shop"}
	slow := func(takes time.Duration) clienttesting.ReactionFunc {
		return func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(takes)
			return true, namespace("shop", shop), nil
		}
	}
	for name, test := range map[string]struct {
		takes    time.Duration // the API server
		patience time.Duration // the caller
		ok       bool
		after    time.Duration
	}{
		"an answer in time":                  {400 * time.Millisecond, time.Minute, true, 400 * time.Millisecond},
		"an API server that hangs":           {time.Hour, time.Minute, false, 500 * time.Millisecond},
		"a caller that has even less time":   {time.Hour, 50 * time.Millisecond, false, 50 * time.Millisecond},
		"a caller that has no time any more": {time.Hour, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := newClient()
				countReads(client, slow(test.takes))
				cache := newCache(t, client)
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				began := time.Now()
				_, ok := cache.Labels(ctx, "shop")
				if after := time.Since(began); ok != test.ok || after != test.after {
					t.Errorf("ok is %t after %s, want %t after %s", ok, after, test.ok, test.after)
				}
				time.Sleep(test.takes) // the client of this test cannot be interrupted
			})
		})
	}
}

func TestLabelsAsksOnceForManyCallers(t *testing.T) {
	t.Parallel()
	shop := map[string]string{"team": "shop"}
	synctest.Test(t, func(t *testing.T) {
		client := newClient()
		reads := countReads(client, func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(300 * time.Millisecond)
			return true, namespace("shop", shop), nil
		})
		cache := newCache(t, client)

		// The one that begins the read is the one that leaves.
		impatient, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		left := make(chan bool)
		go func() {
			_, ok := cache.Labels(impatient, "shop")
			left <- ok
		}()
		synctest.Wait()
		const others = 50
		answers := make(chan map[string]string)
		for range others {
			go func() {
				labels, _ := cache.Labels(t.Context(), "shop")
				answers <- labels
			}()
		}
		if <-left {
			t.Error("the impatient caller got an answer")
		}
		for range others {
			if diff := cmp.Diff(shop, <-answers); diff != "" {
				t.Fatalf("a patient caller (-want +got):\n%s", diff)
			}
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("the API server was asked %d times", n)
		}
	})
}

func TestNone(t *testing.T) {
	t.Parallel()
	if labels, ok := (namespaces.None{}).Labels(t.Context(), "shop"); labels != nil || !ok {
		t.Errorf("got %v, %t", labels, ok)
	}
}
