package namespaces_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
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
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
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
	cache, err := namespaces.New(client, client, logr.Discard())
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
	clustertest.Eventually(t, "the cache is filled", cache.Synced)
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
	got, ok := cache.Get(t.Context(), name)
	if ok != wantOK || !maps.Equal(got.Labels, want) {
		t.Errorf("Get(%s) = %v, %t, want %v, %t", name, got, ok, want, wantOK)
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
	if got, ok := cache.Get(ended, "shop"); !ok || !maps.Equal(got.Labels, shop) {
		t.Errorf("with a context that has ended: %v, %t", got, ok)
	}
	if n := reads.Load(); n != 0 {
		t.Errorf("the API server was asked %d times for what is in the cache", n)
	}
	one, _ := cache.Get(t.Context(), "shop")
	other, _ := cache.Get(t.Context(), "shop")
	if reflect.ValueOf(one.Labels).Pointer() != reflect.ValueOf(other.Labels).Pointer() {
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
				_, ok := cache.Get(ctx, "shop")
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
			_, ok := cache.Get(impatient, "shop")
			left <- ok
		}()
		synctest.Wait()
		const others = 50
		answers := make(chan map[string]string)
		for range others {
			go func() {
				known, _ := cache.Get(t.Context(), "shop")
				answers <- known.Labels
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

// TestReadsAreBounded has many reviews of namespaces that are not there, and names that are none.
func TestReadsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := newClient()
		reads := countReads(client, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(resource.GroupResource(), "missing")
		})
		cache := newCache(t, client)
		var callers sync.WaitGroup
		ask := func(name string) {
			callers.Go(func() {
				if _, ok := cache.Get(t.Context(), name); ok {
					t.Errorf("%s is known", name)
				}
			})
		}
		for i := range 2000 {
			ask("missing-" + strconv.Itoa(i))
		}
		callers.Wait()
		if n := reads.Load(); n < 100 || n > 120 {
			t.Errorf("%d reads, want 100 and some", n)
		}

		// What is not there is asked for once a second.
		time.Sleep(10 * time.Second)
		before := reads.Load()
		for range 5 {
			ask("nowhere")
			callers.Wait()
		}
		time.Sleep(time.Second + time.Millisecond)
		ask("nowhere")
		callers.Wait()
		if n := reads.Load() - before; n != 2 {
			t.Errorf("%d reads of one that is not there, want 2", n)
		}

		before = reads.Load()
		for _, name := range []string{"", "..", "../pods", "a/b", "A", strings.Repeat("n", 64)} {
			ask(name)
		}
		callers.Wait()
		if n := reads.Load() - before; n != 0 {
			t.Errorf("%d reads of what is no name", n)
		}
	})
}

// TestAnswersOfTheAPIServerAreBounded has one that answers without an end.
func TestAnswersOfTheAPIServerAreBounded(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	var now, most atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		for err := error(nil); err == nil; sent.Add(64 << 10) {
			_, err = w.Write(bytes.Repeat([]byte(" "), 64<<10))
		}
	}))
	defer server.Close()
	reader, err := metadata.NewForConfig(namespaces.Limit(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := namespaces.New(newClient(), reader, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() { expect(t, cache, "shop-"+strconv.Itoa(i), nil, false) })
	}
	callers.Wait()
	server.CloseClientConnections()
	if n := most.Load(); n > 8 { // a handler notices a moment later that its client has left
		t.Errorf("%d reads at once", n)
	}
	if n := sent.Load(); n > 20*32<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

// Of annotations only those that tune pods are kept, whether the watch brings a
// namespace or it is read.
func TestAnnotationsThatTunePods(t *testing.T) {
	t.Parallel()
	tuned := namespace("tuned", nil)
	tuned.Annotations = map[string]string{"much": "text", policy.AnnotationNdots: "2"}
	cache := newCache(t, newClient(tuned))
	check := func(when string) {
		t.Helper()
		want := map[string]string{policy.AnnotationNdots: "2"}
		if got, ok := cache.Get(t.Context(), "tuned"); !ok || !maps.Equal(got.Annotations, want) {
			t.Errorf("%s: %v, %t, want %v", when, got, ok, want)
		}
	}
	check("read")
	start(t, cache)
	check("from the watch")
}

func TestNone(t *testing.T) {
	t.Parallel()
	if known, ok := (namespaces.None{}).Get(t.Context(), "shop"); known.Labels != nil || known.Annotations != nil || !ok {
		t.Errorf("got %v, %t", known, ok)
	}
}
