package reviewserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// newCertificate returns what to serve with, and what verifies it.
func newCertificate(t *testing.T) (get func(*tls.ClientHelloInfo) (*tls.Certificate, error), roots *x509.CertPool) {
	t.Helper()
	pair, bundle := clustertest.ServingCert(t, "127.0.0.1")
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }, roots
}

// reviewHandler is the real one, without a cluster.
func reviewHandler(t *testing.T) http.Handler {
	t.Helper()
	compiled := reviewtest.Compile(t, "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: test}\nspec: {serviceHost: {host: api.example.com}}\n", "")
	return admission.New(admission.Options{
		Policy:     func() *policy.Compiled { return compiled },
		Namespaces: namespaces.None{},
		Metrics:    metrics.New(prometheus.NewRegistry()),
		Log:        logr.Discard(),
	})
}

// start starts a server until the end of the test, or until stop is called, which
// returns when it has ended.
func start(t *testing.T, server webhook.Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	check := server.StartedChecker()
	clustertest.Eventually(t, "the server listens", func() bool { return check(nil) == nil })
	return stop
}

// startReviews serves reviews on the loopback interface until the end of the
// test.
func startReviews(t *testing.T) (address string, roots *x509.CertPool) {
	t.Helper()
	certificate, roots := newCertificate(t)
	address = clustertest.FreeAddresses(t, 1)[0]
	server := New(Options{Address: address, GetCertificate: certificate, Log: zap.NewNop()})
	server.Register(webhookconfig.Path, reviewHandler(t))
	start(t, server)
	return address, roots
}

func TestTLSVersionsAndSuites(t *testing.T) {
	t.Parallel()
	address, roots := startReviews(t)
	for name, test := range map[string]struct {
		client  *tls.Config
		version uint16 // 0: refused
		suite   uint16 // 0: any
	}{
		"what API servers speak":   {&tls.Config{}, tls.VersionTLS13, 0},
		"TLS 1.2 at most":          {&tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, 0},
		"AES-128-GCM":              {suites(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		"AES-256-GCM":              {suites(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		"ChaCha20":                 {suites(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		"CBC":                      {suites(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA), 0, 0},
		"no forward secrecy":       {suites(tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA), 0, 0},
		"3DES and RC4":             {suites(tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA), 0, 0},
		"TLS 1.1 at most":          {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, 0},
		"TLS 1.0":                  {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, 0, 0},
		"TLS 1.1, but 1.2 as well": {&tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := test.client.Clone()
			client.RootCAs = roots
			conn, err := tls.Dial("tcp", address, client)
			if err != nil {
				if test.version != 0 || !strings.HasPrefix(err.Error(), "remote error: tls: ") {
					t.Errorf("got %v", err)
				}
				return
			}
			defer conn.Close()
			state := conn.ConnectionState()
			if state.Version != test.version || test.suite != 0 && state.CipherSuite != test.suite {
				t.Errorf("got %s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
			}
		})
	}
}

// suites is a client that offers these and TLS 1.2.
func suites(ids ...uint16) *tls.Config {
	return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: ids}
}

// No suite of the list is one that Go's authors advise against.
func TestTLSSuitesAreSecure(t *testing.T) {
	t.Parallel()
	for _, id := range tlsSuites {
		for _, weak := range tls.InsecureCipherSuites() {
			if weak.ID == id {
				t.Errorf("%s", weak.Name)
			}
		}
	}
}

// The server tells its limits at the beginning of each connection.
func TestHTTP2Limits(t *testing.T) {
	t.Parallel()
	address, roots := startReviews(t)
	settings := announced(t, address, roots)
	got := map[http2.SettingID]uint32{}
	for _, id := range []http2.SettingID{http2.SettingMaxConcurrentStreams, http2.SettingMaxHeaderListSize, http2.SettingMaxFrameSize, http2.SettingInitialWindowSize} {
		got[id], _ = settings.Value(id)
	}
	want := map[http2.SettingID]uint32{
		http2.SettingMaxConcurrentStreams: 100,
		http2.SettingMaxHeaderListSize:    8<<10 + 320, // what HTTP/2 counts more for ten headers
		http2.SettingMaxFrameSize:         16 << 10,
		http2.SettingInitialWindowSize:    64 << 10,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// announced returns what a server says of HTTP/2 on a new connection.
func announced(t *testing.T, address string, roots *x509.CertPool) *http2.SettingsFrame {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("got %v, want settings", frame)
	}
	return settings
}

func TestLongHeadersAreRefused(t *testing.T) {
	t.Parallel()
	address, roots := startReviews(t)
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
			defer transport.CloseIdleConnections()
			for size, want := range map[int]int{7 << 10: http.StatusMethodNotAllowed, 80 << 10: http.StatusRequestHeaderFieldsTooLarge} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/mutate-v1-pod", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Long", strings.Repeat("x", size))
				response, err := transport.RoundTrip(req)
				if err != nil {
					// The server ends the connection where the header of HTTP/2 is longer by itself than its limit.
					if http2 && want == http.StatusRequestHeaderFieldsTooLarge {
						continue
					}
					t.Fatalf("%d bytes: %v", size, err)
				}
				response.Body.Close()
				if response.StatusCode != want {
					t.Errorf("%d bytes: status %d, want %d", size, response.StatusCode, want)
				}
			}
		})
	}
}

// pipes is a listener in memory: with its connections, a client that waits for
// minutes costs no time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	conn, open := <-p.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.conns) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

const requestHeaders = "POST /mutate-v1-pod HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: "

// TestSlowClients says after which time, of a clock that only the test has, a
// client is not waited for any more.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	certificate, _ := newCertificate(t)
	reviews := New(Options{GetCertificate: certificate, Log: zap.NewNop()})
	reviews.Register(webhookconfig.Path, reviewHandler(t))
	whole := requestHeaders + strconv.Itoa(len(review)) + "\r\n\r\n" + review
	handshake := func(conn net.Conn) *tls.Conn {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the certificate is of the real time
	}
	// hangUp reads until the server closes the connection.
	hangUp := func(conn io.Reader) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	}
	for name, test := range map[string]struct {
		client func(net.Conn) error
		want   time.Duration
	}{
		"says nothing": {hangUpOnly, 10 * time.Second},
		"says half a hello": {func(conn net.Conn) error {
			if _, err := conn.Write([]byte{22, 3, 1, 2, 0}); err != nil {
				return err
			}
			return hangUpOnly(conn)
		}, 10 * time.Second},
		"finishes the handshake only": {func(conn net.Conn) error {
			client := handshake(conn)
			if err := client.Handshake(); err != nil {
				return err
			}
			return hangUp(client)
		}, 10 * time.Second},
		"sends a part of its headers": {func(conn net.Conn) error {
			client := handshake(conn)
			if _, err := io.WriteString(client, requestHeaders); err != nil {
				return err
			}
			return hangUp(client)
		}, 10 * time.Second},
		"sends a part of its body": {func(conn net.Conn) error {
			client := handshake(conn)
			if _, err := io.WriteString(client, whole[:len(whole)-1]); err != nil {
				return err
			}
			answer, err := io.ReadAll(client)
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
				return errors.New("answered " + string(answer))
			}
			return err
		}, 10 * time.Second},
		"does not read its answer": {func(conn net.Conn) error {
			client := handshake(conn)
			if _, err := io.WriteString(client, whole); err != nil {
				return err
			}
			for {
				if _, err := io.WriteString(client, "P"); err != nil {
					return nil // closed
				}
			}
		}, 15*time.Second + 5*time.Second}, // crypto/tls says goodbye for so long
		"does nothing more after an answer": {func(conn net.Conn) error {
			client := handshake(conn)
			if _, err := io.WriteString(client, whole); err != nil {
				return err
			}
			response, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				return err
			}
			if body, err := io.ReadAll(response.Body); err != nil || !bytes.Contains(body, []byte(`"allowed":true`)) {
				return errors.Join(errors.New("answered "+string(body)), err)
			}
			return hangUp(client)
		}, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				listener := &pipes{conns: make(chan net.Conn)}
				server := reviews.server()
				served := make(chan error, 1)
				go func() { served <- server.Serve(tls.NewListener(listener, reviews.tls)) }()
				started := time.Now()
				conn := listener.dial()
				err := test.client(conn)
				if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the client: %v", err)
				}
				if took := time.Since(started); took != test.want {
					t.Errorf("the server hung up after %s, want %s", took, test.want)
				}
				conn.Close()
				server.Close()
				<-served
			})
		})
	}
}

// hangUpOnly reads below TLS, where the server may say goodbye.
func hangUpOnly(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}
