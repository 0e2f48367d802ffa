package rotation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
)

// PollInterval is how often a server is asked whether it is ready.
const PollInterval = 200 * time.Millisecond

// Balancer does for webhook processes what a Service does: new connections go to the
// ready servers in turn, and an open connection stays with its server. It does not
// look into connections.
type Balancer struct {
	// Port on the address where it listens.
	Port int

	listener net.Listener
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	lag      time.Duration
	hold     time.Duration
	servers  []*server
	turn     int
	accepted int
	refused  int
	open     map[*link]struct{}
}

type server struct {
	webhook *cluster.Webhook
	address string
	ready   bool
	// unready is since when the server has said so, zero while it is ready.
	unready time.Time
}

// link is a connection through the balancer.
type link struct {
	client, server net.Conn
	ended          chan struct{}
}

// NewBalancer listens on the loopback interface; Close ends it.
func NewBalancer(ctx context.Context) (*Balancer, error) { return NewBalancerOn(ctx, "127.0.0.1") }

// NewBalancerOn listens on an address of this machine.
func NewBalancerOn(ctx context.Context, host string) (*Balancer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("starting the balancer: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &Balancer{Port: listener.Addr().(*net.TCPAddr).Port, listener: listener, stop: stop, open: map[*link]struct{}{}}
	b.running.Go(func() { b.poll(ctx) })
	b.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.serve(ctx, conn) })
		}
	})
	return b, nil
}

// Add lets a server take part. It counts as ready until a probe says otherwise.
func (b *Balancer) Add(webhook *cluster.Webhook) error {
	at, err := url.Parse(webhook.URL)
	if err != nil {
		return fmt.Errorf("adding a server: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = append(b.servers, &server{webhook: webhook, address: at.Host, ready: true})
	return nil
}

// Remove forgets a server that has ended.
func (b *Balancer) Remove(webhook *cluster.Webhook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = slices.DeleteFunc(b.servers, func(s *server) bool { return s.webhook == webhook })
}

// SetLag makes the balancer send connections to a server for that long after it has
// stopped being ready, since endpoints and kube-proxy take a moment, too. Defaults to
// 0.
func (b *Balancer) SetLag(lag time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lag = lag
}

// HoldFinished makes the balancer hold back, for that long, what a client sends after
// its hello: the rest of the handshake, and its first request. An API server that is
// short of CPU, or far away, has the same effect. Defaults to 0.
func (b *Balancer) HoldFinished(hold time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = hold
}

// Accepted is the number of connections so far.
func (b *Balancer) Accepted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted
}

// Refused is the number of connections so far that no server took: none was
// ready, or the one whose turn it was did not listen.
func (b *Balancer) Refused() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// Cut closes all connections, which must be idle, and returns once the clients have
// closed their ends: until then a client could still send a request on one.
func (b *Balancer) Cut() {
	b.mu.Lock()
	links := make([]*link, 0, len(b.open))
	for l := range b.open {
		links = append(links, l)
	}
	b.mu.Unlock()
	for _, l := range links {
		_ = l.client.(*net.TCPConn).CloseWrite() // fails where the client was first
	}
	for _, l := range links {
		<-l.ended
	}
}

// Close ends the balancer and its connections.
func (b *Balancer) Close() error {
	b.stop()
	err := b.listener.Close()
	b.mu.Lock()
	for l := range b.open {
		hangUp(l.client)
		hangUp(l.server)
	}
	b.mu.Unlock()
	b.running.Wait()
	return err
}

func (b *Balancer) serve(ctx context.Context, client net.Conn) {
	defer hangUp(client)
	upstream, err := b.dial(ctx)
	if err != nil {
		b.mu.Lock()
		b.refused++
		b.mu.Unlock()
		return
	}
	defer hangUp(upstream)
	l := &link{client: client, server: upstream, ended: make(chan struct{})}
	b.mu.Lock()
	b.accepted++
	b.open[l] = struct{}{}
	hold := b.hold
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.open, l)
		b.mu.Unlock()
		close(l.ended)
	}()

	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.Copy(client, upstream) // ends with either of them
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	if hold > 0 && copyRecord(upstream, client) == nil {
		time.Sleep(hold)
	}
	_, _ = io.Copy(upstream, client)
	hangUp(upstream)
	<-answered
}

// copyRecord copies one record of TLS, whose header ends with its length in two
// bytes: the first of a client is its hello.
func copyRecord(to io.Writer, from io.Reader) error {
	var header [5]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return err
	}
	if _, err := to.Write(header[:]); err != nil {
		return err
	}
	_, err := io.CopyN(to, from, int64(binary.BigEndian.Uint16(header[3:])))
	return err
}

// hangUp closes a connection that may be closed already.
func hangUp(conn io.Closer) { conn.Close() }

// dial connects to the next ready server, or fails as a Service without
// endpoints does.
func (b *Balancer) dial(ctx context.Context) (net.Conn, error) {
	b.mu.Lock()
	var ready []string
	for _, s := range b.servers {
		if s.ready {
			ready = append(ready, s.address)
		}
	}
	b.turn++
	turn := b.turn
	b.mu.Unlock()
	if len(ready) == 0 {
		return nil, errors.New("no server is ready")
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", ready[turn%len(ready)])
}

// poll does what kubelet's readiness probe does.
func (b *Balancer) poll(ctx context.Context) {
	tick := time.NewTicker(PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.mu.Lock()
		servers := slices.Clone(b.servers)
		b.mu.Unlock()
		for _, s := range servers {
			ready := IsReady(ctx, s.webhook)
			b.mu.Lock()
			b.heard(s, ready, time.Now())
			b.mu.Unlock()
		}
	}
}

// heard acts on a probe. The mutex is held.
func (b *Balancer) heard(s *server, ready bool, now time.Time) {
	if ready {
		s.ready, s.unready = true, time.Time{}
		return
	}
	if s.unready.IsZero() {
		s.unready = now
	}
	if now.Sub(s.unready) >= b.lag {
		s.ready = false
	}
}

// IsReady asks a server whether it is ready.
func IsReady(ctx context.Context, webhook *cluster.Webhook) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, webhook.HealthURL+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
