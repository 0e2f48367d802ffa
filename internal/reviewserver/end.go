package reviewserver

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// What happens once the context of Start has ended:
//
//	at once            StartedChecker fails; answers ask clients for a new connection,
//	                   which leads them to another replica
//	for Options.Delay  everything is served as before, new connections included, while
//	                   the cluster learns not to send reviews to this replica any more
//	then               the server waits for handshakes in flight and the first request
//	                   behind each, at most handshakeTimeout, and still accepts
//	                   connections
//	then               the listener is closed, and connections without a request are
//	last               requests in flight are answered
//
// The last three take endTimeout at most; whoever is not done then is hung up on.
// There is no delay where the context was ended for a cause: something the server
// cannot do without has failed.
//
// Requests do not end with the context of Start: theirs does not descend from it, and
// their handlers set time limits themselves.
const (
	// endTimeout is what a review may take, and less than what the chart's
	// terminationGracePeriodSeconds leaves after the delay.
	endTimeout = writeTimeout
	// handshakeTimeout keeps clients that never finish a handshake from holding up the
	// end.
	handshakeTimeout = 3 * time.Second
	// firstRequest is how long after a handshake its first request is waited for. An
	// API server sends it right after the handshake. Without the wait,
	// http.Server.Shutdown would close a connection whose first request it has not read
	// yet, and the client could not tell that its request was not served.
	firstRequest = 100 * time.Millisecond
	// pollInterval is the time between two looks at the handshakes.
	pollInterval = 10 * time.Millisecond
)

// end ends server as described above, and returns once it has ended. ctx is that of
// Start, which has ended before.
func (s *Server) end(ctx context.Context, server *http.Server) {
	s.ending.Store(true)
	if errors.Is(context.Cause(ctx), ctx.Err()) {
		time.Sleep(s.Delay)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	s.handshakes.wait(ctx)
	if err := server.Shutdown(ctx); err != nil {
		s.Log.Info("ending without waiting for a slow client", zap.String("what", "reviews"), zap.Error(err))
		_ = server.Close() // closes the listener a second time, which fails
	}
}

// handshakes counts the handshakes that have begun with a hello and are not over.
type handshakes struct {
	mu       sync.Mutex
	inFlight int
	// last is when a handshake was over last.
	last time.Time
}

// counted returns a copy of config that counts its handshakes. It relies on the context
// of a hello, which ends when the handshake does, in whichever way. A hook such as
// VerifyConnection would not do: it is called before the client's Finished has come,
// and not at all where the client leaves.
func (h *handshakes) counted(config *tls.Config) *tls.Config {
	choose := config.GetConfigForClient
	config = config.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		h.mu.Lock()
		h.inFlight++
		h.mu.Unlock()
		context.AfterFunc(hello.Context(), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.inFlight--
			h.last = time.Now()
		})
		if c, ok := hello.Conn.(*conn); ok {
			c.handshaken = hello.Context().Done()
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
	return config
}

// wait returns once all handshakes are over, and the last one has been for
// firstRequest; at the latest after handshakeTimeout or with ctx.
func (h *handshakes) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !h.over() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *handshakes) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inFlight == 0 && time.Since(h.last) >= firstRequest
}
