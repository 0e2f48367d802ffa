package namespaces_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/test/cluster"
)

// hang guards against tests that never end; nothing is expected to take that
// long.
const hang = time.Minute

func TestCacheAtARealAPIServer(t *testing.T) {
	control, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := control.Stop(); err != nil {
			t.Error(err)
		}
	})
	between := newProxy(t, control.Config)
	client, err := metadata.NewForConfig(between.config)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := namespaces.New(client, logr.Discard())
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
		got, ok := cache.Labels(t.Context(), name)
		if took := time.Since(began); took > hang {
			t.Errorf("Labels(%s) took %s", name, took)
		}
		return got["team"], ok
	}
	eventually := func(name, team string, want bool) {
		t.Helper()
		for deadline := time.Now().Add(hang); ; time.Sleep(10 * time.Millisecond) {
			got, ok := labels(name)
			if got == team && ok == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("Labels(%s) = %q, %t, want %q, %t", name, got, ok, team, want)
			}
		}
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
	for deadline := time.Now().Add(hang); !cache.Synced(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cache is never filled")
		}
	}

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
	between.hold()
	create("unseen", map[string]string{"team": "four"})
	if _, ok := labels("unseen"); ok {
		t.Error("a namespace is known without an answer of the API server")
	}
	if team, ok := labels("late"); team != "three" || !ok {
		t.Errorf("a cached namespace while the API server hangs: %q, %t", team, ok)
	}
	between.release()
	eventually("unseen", "four", true)

	// No API server at all.
	between.close()
	create("missed", map[string]string{"team": "five"})
	if _, ok := labels("missed"); ok {
		t.Error("a namespace is known without an API server")
	}
	if team, ok := labels("late"); team != "three" || !ok {
		t.Errorf("a cached namespace while the API server is away: %q, %t", team, ok)
	}
}

// proxy is a TCP proxy to an API server that can hold what goes through it.
type proxy struct {
	// config leads to the API server through the proxy.
	config   *rest.Config
	listener net.Listener

	mu    sync.Mutex
	gate  sync.RWMutex // held for writing: nothing goes through
	conns []net.Conn
}

func newProxy(t *testing.T, config *rest.Config) *proxy {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{config: rest.CopyConfig(config), listener: listener}
	p.config.Host = "https://" + listener.Addr().String()
	if target.Host == "" { // without a scheme
		target.Host = config.Host
	}
	go p.serve(target.Host)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) serve(target string) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.copy(server, client)
		go p.copy(client, server)
	}
}

func (p *proxy) copy(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.gate.RLock()
		_, err = to.Write(buffer[:n])
		p.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

func (p *proxy) hold()    { p.gate.Lock() }
func (p *proxy) release() { p.gate.Unlock() }

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
}
