package faults_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// unknown checks that a pod whose namespace nobody can tell about is left alone, with a warning.
func (s *server) unknown(namespace string) {
	s.Helper()
	ndots, warnings, err := s.ndots(s.client(), namespace)
	if err != nil || ndots != 0 || !strings.Contains(strings.Join(warnings, "\n"), "could not be read") {
		s.Errorf("a pod of a namespace that nobody knows: ndots %d, warnings %q, error %v", ndots, warnings, err)
	}
}

func TestReviewsGoOnWhileTheAPIServerRestarts(t *testing.T) {
	namespace(t, "restart", "none", "team", "search")
	s := running(t, document, shared.Kubeconfig())
	client := s.client()
	s.mustReview(client, 1, "restart", 1)
	reviews := 0
	if err := shared.RestartAPIServer(func() {
		s.mustReview(client, 200, "restart", 1)
		reviews = 200
		s.unknown("never-heard-of")
		s.ready()
	}); err != nil {
		t.Fatal(err)
	}
	// It connects again by itself, and learns what has changed.
	label(t, "restart", "team", "other")
	clustertest.Eventually(t, "the new label is known", func() bool {
		ndots, _, err := s.ndots(client, "restart")
		if err != nil || ndots == 0 {
			t.Fatalf("ndots %d, error %v", ndots, err)
		}
		reviews++
		return ndots == 2
	})
	namespace(t, "after-restart", "none", "team", "search")
	s.mustReview(client, 1, "after-restart", 1)
	t.Logf("%d reviews while the API server was away and came back, none lost", reviews)
}

func TestReviewsGoOnWhileTheAPIServerHangs(t *testing.T) {
	namespace(t, "hangs", "none", "team", "search")
	s := running(t, document, shared.Kubeconfig())
	client := s.client()
	s.mustReview(client, 1, "hangs", 1)
	paused(t, cluster.APIServer, func() {
		s.mustReview(client, 200, "hangs", 1)
		s.unknown("never-heard-of")
		s.ready()
	})
	label(t, "hangs", "team", "other")
	clustertest.Eventually(t, "the new label is known", func() bool {
		ndots, _, err := s.ndots(client, "hangs")
		if err != nil || ndots == 0 {
			t.Fatalf("ndots %d, error %v", ndots, err)
		}
		return ndots == 2
	})
}

// paused calls during while a component stands still.
func paused(t *testing.T, component cluster.Component, during func()) {
	t.Helper()
	if err := shared.Pause(component); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := shared.Resume(component); err != nil {
			t.Error(err)
		}
	})
	defer resume() // also where the test gives up
	during()
}

func TestNoPodIsLostWhileEtcdStandsStill(t *testing.T) {
	namespace(t, "etcd", "etcd", "team", "search")
	s := running(t, document, shared.Kubeconfig())
	s.register("etcd")
	injected(t, "etcd")

	const pods = 20
	errs := make(chan error, pods)
	paused(t, cluster.Etcd, func() {
		for range pods {
			go func() {
				pod, err := create(t.Context(), "etcd")
				if err == nil && !isInjected(pod) {
					err = errNotInjected
				}
				errs <- err
			}()
		}
		s.mustReview(s.client(), 200, "etcd", 1)
		s.ready()
		time.Sleep(3 * time.Second) // as long as a slow disk
		if n := len(errs); n > 0 {
			t.Errorf("%d pods are created while etcd stands still, so it does not", n)
		}
	})
	for range pods {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestTheFirstPodOfANamespaceIsReviewedByItsLabels asks for a pod as soon as the namespace is created: the watch may not
// have brought it.
func TestTheFirstPodOfANamespaceIsReviewedByItsLabels(t *testing.T) {
	s := running(t, document, shared.Kubeconfig())
	client := s.client()
	for i := range 30 {
		name := fmt.Sprintf("moment-%d", i)
		namespace(t, name, "none", "team", "search")
		s.mustReview(client, 1, name, 1)
	}
}

// TestAnOptOutHoldsWhileTheCacheIsStale stalls the watch: the server goes by the last labels that it has seen. The API
// server's own filter does not, so an opt-out holds all the same.
func TestAnOptOutHoldsWhileTheCacheIsStale(t *testing.T) {
	namespace(t, "stale", "stale", "team", "search")
	valve := newValve(t)
	s := running(t, document, valve.kubeconfig())
	s.register("stale")
	injected(t, "stale")
	client := s.client()

	valve.close()
	label(t, "stale", policy.LabelInject, "disabled")
	var stale, last int
	clustertest.Eventually(t, "the API server knows that the namespace is opted out", func() bool {
		s.mustReview(client, 1, "stale", 1) // the server does not know
		pod, err := create(t.Context(), "stale")
		if err != nil {
			t.Fatal(err)
		}
		if isInjected(pod) {
			stale++
		}
		return !isInjected(pod)
	})
	for range 20 {
		pod, err := create(t.Context(), "stale")
		if err != nil {
			t.Fatal(err)
		}
		if isInjected(pod) {
			last++
		}
	}
	if last > 0 {
		t.Errorf("%d of 20 pods are injected in a namespace that is opted out", last)
	}
	t.Logf("%d pods injected before the API server's own filter knew of the opt-out", stale)

	valve.open()
	clustertest.Eventually(t, "the server knows that the namespace is opted out", func() bool {
		ndots, _, err := s.ndots(client, "stale")
		if err != nil {
			t.Fatal(err)
		}
		return ndots == 0
	})
}

// valve is a way to the API server that can be closed: connections stay open, and nothing passes.
type valve struct {
	*testing.T
	listener net.Listener

	mu     sync.Mutex
	opened *sync.Cond
	shut   bool
}

func newValve(t *testing.T) *valve {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{T: t, listener: listener}
	v.opened = sync.NewCond(&v.mu)
	host, port, err := shared.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	upstream := net.JoinHostPort(host, fmt.Sprint(port))
	var running sync.WaitGroup
	var links sync.Map
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				client.Close()
				continue
			}
			links.Store(client, server)
			running.Go(func() { v.pass(server, client) })
			running.Go(func() { v.pass(client, server) })
		}
	})
	t.Cleanup(func() {
		v.open()
		listener.Close()
		links.Range(func(client, server any) bool {
			client.(net.Conn).Close()
			server.(net.Conn).Close()
			return true
		})
		running.Wait()
	})
	return v
}

// pass copies from one connection to the other while the valve is open.
func (v *valve) pass(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		v.mu.Lock()
		for v.shut {
			v.opened.Wait()
		}
		v.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (v *valve) close() { v.set(true) }
func (v *valve) open()  { v.set(false) }

func (v *valve) set(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	v.opened.Broadcast()
}

// kubeconfig leads through the valve.
func (v *valve) kubeconfig() string {
	v.Helper()
	content, err := os.ReadFile(shared.Kubeconfig())
	if err != nil {
		v.Fatal(err)
	}
	host, port, err := shared.Endpoint()
	if err != nil {
		v.Fatal(err)
	}
	through := strings.ReplaceAll(string(content), net.JoinHostPort(host, fmt.Sprint(port)), v.listener.Addr().String())
	if through == string(content) {
		v.Fatal("the kubeconfig does not name the API server's address")
	}
	path := filepath.Join(v.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(through), 0o600); err != nil {
		v.Fatal(err)
	}
	return path
}
