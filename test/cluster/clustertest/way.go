package clustertest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// Way is a way to a server over which a test has power: it can be led elsewhere, held up, cut and opened again.
type Way struct {
	// Address is where clients connect. It stays the same.
	Address string

	t    testing.TB
	gate sync.RWMutex // held for writing: nothing goes through

	mu       sync.Mutex
	target   string
	listener net.Listener
	open     map[net.Conn]bool
}

// NewWay opens a way to an address until the end of the test.
func NewWay(t testing.TB, target string) *Way {
	t.Helper()
	w := &Way{Address: "127.0.0.1:0", t: t, target: target, open: map[net.Conn]bool{}}
	w.Open()
	t.Cleanup(w.Cut)
	return w
}

// HostOf is the host and port of the API server that a configuration is for.
func HostOf(config *rest.Config) string {
	if at, err := url.Parse(config.Host); err == nil && at.Host != "" {
		return at.Host
	}
	return config.Host
}

// Port is that of Address.
func (w *Way) Port() string {
	_, port, _ := net.SplitHostPort(w.Address)
	return port
}

// Lead leads connections that follow elsewhere until the end of the test.
func (w *Way) Lead(t testing.TB, target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.target
	w.target = target
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.target = before
	})
}

// Hold holds up all that is sent.
func (w *Way) Hold() { w.gate.Lock() }

// Release lets go on what Hold holds up.
func (w *Way) Release() { w.gate.Unlock() }

// Cut ends all connections and refuses new ones.
func (w *Way) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.listener.Close()
	for conn := range w.open {
		_ = conn.Close()
	}
}

// Open accepts connections again.
func (w *Way) Open() {
	w.t.Helper()
	listener, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", w.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener, w.Address = listener, listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go w.forward(client)
		}
	}()
}

func (w *Way) forward(client net.Conn) {
	defer func() { _ = client.Close() }()
	w.mu.Lock()
	target := w.target
	w.mu.Unlock()
	server, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	w.mu.Lock()
	w.open[client], w.open[server] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], gated{way[1], &w.gate})
			_ = way[0].Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, client)
	delete(w.open, server)
}

// gated hands on what it has read once the gate is open.
type gated struct {
	from io.Reader
	gate *sync.RWMutex
}

func (g gated) Read(p []byte) (int, error) {
	n, err := g.from.Read(p)
	g.gate.RLock()
	defer g.gate.RUnlock()
	return n, err
}
