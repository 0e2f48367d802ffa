package reviewserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

const review = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","resource":{"version":"v1","resource":"pods"},` +
	`"operation":"CREATE","namespace":"default","object":{"metadata":{"name":"web"},"spec":{"containers":[{"name":"web"}]}}}}`

// heldBack is a connection of a client whose Finished is written late: its first
// write is the hello, its second the rest of the handshake.
type heldBack struct {
	net.Conn
	writes int
	// held is closed when the second write is due, which waits for release.
	held, release chan struct{}
}

func newHeldBack(conn net.Conn) *heldBack {
	return &heldBack{Conn: conn, held: make(chan struct{}), release: make(chan struct{})}
}

func (h *heldBack) Write(p []byte) (int, error) {
	if h.writes++; h.writes == 2 {
		close(h.held)
		<-h.release
	}
	return h.Conn.Write(p)
}

// postOver sends a review over a connection that is made already.
func postOver(conn net.Conn, roots *x509.CertPool, http2 bool) (status string, err error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2, DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	response, err := transport.RoundTrip(mustRequest(conn.RemoteAddr().String()))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.Status, err
}

func mustRequest(address string) *http.Request {
	request, err := http.NewRequest(http.MethodPost, "https://"+address+webhookconfig.Path, strings.NewReader(review))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return request
}

// heldBackAtTheEnd has a client in the middle of its handshake when the server is
// told to end, lets it go on once the server is about to close, and returns how
// its review is answered.
func heldBackAtTheEnd(t *testing.T, server interface{ Start(context.Context) error }, address string, roots *x509.CertPool, http2 bool) (status string, err error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	var conn net.Conn
	clustertest.Eventually(t, "the server listens", func() bool {
		conn, err = net.Dial("tcp", address)
		return err == nil
	})
	held := newHeldBack(conn)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		status, err = postOver(held, roots, http2)
	}()
	<-held.held
	stop()
	time.Sleep(20 * time.Millisecond) // so that a server that does not wait has closed
	close(held.release)
	<-answered
	conn.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return status, err
}

func TestTheEndWaitsForHandshakes(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate, roots := newCertificate(t)
			server := New(Options{Address: clustertest.FreeAddresses(t, 1)[0], GetCertificate: certificate, Log: zap.NewNop()})
			server.Register(webhookconfig.Path, reviewHandler(t))
			if status, err := heldBackAtTheEnd(t, server, server.Address, roots, http2); err != nil || status != "200 OK" {
				t.Errorf("status %q, error %v", status, err)
			}
		})
	}
}

// TestHandshakesAreCounted says when one is over: whichever way it ends, and not
// before the client's last word.
func TestHandshakesAreCounted(t *testing.T) {
	t.Parallel()
	certificate, roots := newCertificate(t)
	for name, test := range map[string]struct {
		client *tls.Config
		// leaves is set where the client hangs up instead of its last word.
		leaves bool
	}{
		"it succeeds":                        {&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, false},
		"the client leaves in the middle":    {&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, true},
		"the client refuses our certificate": {&tls.Config{ServerName: "127.0.0.1"}, false},
		"TLS 1.2":                            {&tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS12}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h handshakes
			var chosen int
			config := h.counted(&tls.Config{GetCertificate: certificate, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				chosen++
				return nil, nil
			}})
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := listener.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_ = tls.Server(conn, config).Handshake() // that it is over counts, not how
			}()
			clientEnd, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer clientEnd.Close()
			held := newHeldBack(clientEnd)
			client := tls.Client(held, test.client)
			go func() { _ = client.Handshake() }()
			<-held.held
			if h.over() {
				t.Error("it is over in the middle")
			}
			if test.leaves {
				clientEnd.Close()
			}
			close(held.release)
			<-served
			if chosen != 1 {
				t.Errorf("the configuration was chosen %d times", chosen)
			}
			clustertest.Eventually(t, "it is over", h.over)
		})
	}
}

// TestHandshakesThatNeverEnd do not hold up the end for longer than its bound, on a
// clock that only the test has.
func TestHandshakesThatNeverEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handshakes{inFlight: 1}
		started := time.Now()
		h.wait(t.Context())
		if took := time.Since(started); took != handshakeTimeout {
			t.Errorf("waited %s, want %s", took, handshakeTimeout)
		}
	})
}

// TestToldToEndBeforeItBegan: there is nothing to wait for.
func TestToldToEndBeforeItBegan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	server := New(Options{Address: clustertest.FreeAddresses(t, 1)[0], Delay: time.Hour, Log: zap.NewNop()})
	if err := server.Start(ctx); err != nil || server.Listening() {
		t.Errorf("error %v, listening %t", err, server.Listening())
	}
}

// TestOrderOfTheEnd follows a server, on a clock that only the test has, from the end
// of its context on.
func TestOrderOfTheEnd(t *testing.T) {
	t.Parallel()
	failed := errors.New("something else has failed")
	for name, test := range map[string]struct {
		cause error
		delay time.Duration
	}{
		"it is told to end":       {nil, time.Hour},
		"it ends because of this": {failed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certificate, _ := newCertificate(t)
				server := New(Options{GetCertificate: certificate, Delay: time.Hour, Log: zap.NewNop()})
				server.listening.Store(true)
				if err := server.StartedChecker()(nil); err != nil {
					t.Errorf("before: %v", err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(test.cause)
				started, ended := time.Now(), make(chan struct{})
				go func() {
					defer close(ended)
					server.end(ctx, server.server())
				}()
				synctest.Wait()
				if err := server.StartedChecker()(nil); err == nil || !server.Ending() {
					t.Errorf("ending: the check says %v, Ending %t", err, server.Ending())
				}
				<-ended
				if took := time.Since(started); took != test.delay {
					t.Errorf("ended after %s, want %s", took, test.delay)
				}
			})
		})
	}
}

// TestAnswersAskForANewConnection, whatever they are, once the server is ending.
func TestAnswersAskForANewConnection(t *testing.T) {
	t.Parallel()
	certificate, roots := newCertificate(t)
	server := New(Options{Address: clustertest.FreeAddresses(t, 1)[0], GetCertificate: certificate, Log: zap.NewNop()})
	server.Register(webhookconfig.Path, reviewHandler(t))
	start(t, server)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	post := func(path, body string) (status int, closes bool) {
		response, err := client.Post("https://"+server.Address+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Close
	}
	for _, ending := range []bool{false, true} {
		server.ending.Store(ending)
		for name, test := range map[string]struct {
			path, body string
			status     int
		}{
			"an answer":   {webhookconfig.Path, review, http.StatusOK},
			"a refusal":   {webhookconfig.Path, "", http.StatusBadRequest},
			"no such way": {"/nowhere", review, http.StatusNotFound},
		} {
			if status, closes := post(test.path, test.body); status != test.status || closes != ending {
				t.Errorf("ending %t, %s: status %d, connection closed %t; want %d", ending, name, status, closes, test.status)
			}
		}
	}
}
