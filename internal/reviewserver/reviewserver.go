// Package reviewserver serves admission reviews: it is the webhook.Server of
// controller-runtime that our program runs, and that any controller-runtime
// manager can run in place of its own (manager.Options.WebhookServer).
//
//	reviewserver.go   the server, and its limits for everybody who reaches the port
//	conn.go           how long a handshake may be
//	brake.go          slower reading while memory is short
//	end.go            what happens from the end of the context to the end of Start
//
// It stands in for webhook.DefaultServer, which was made for operators whose
// webhooks are called now and then. This one is in the path of every pod, and
// its port is open to the pod network:
//
//	                                DefaultServer              here
//	headers of a request            1 MiB                      maxHeaderBytes
//	streams of a connection         250                        maxStreams
//	memory of 240 held requests     243 MiB                    3 MiB
//	on 3 connections, with headers
//	as long as are taken
//	time for the headers            32 s                       readHeaderTimeout
//	time for the answer             no limit                   writeTimeout
//	handshakes in flight at its     aborted: a call that       waited for
//	end                             fails for the API server,
//	                                and a pod passed by
//	contexts of requests in         canceled                   not canceled
//	flight at its end
//	bound of its end                1 min: kubelet kills it    endTimeout after the delay
//	                                before that, after 30 s
//	the readiness check             a TLS handshake with its   reads a flag
//	                                own port at each probe
//
// TestAgainstDefaultServer measures both, and fails when one of these reasons has gone:
//
//	go test -v -run TestAgainstDefaultServer ./internal/reviewserver
package reviewserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/shorthop/shorthop/internal/httplog"
)

// Whoever reaches the port of reviews can try to keep the server from serving
// API servers:
//
//	a client that                          gets
//	speaks TLS 1.1 or older, or knows      no connection
//	none of tlsSuites
//	has no certificate, if one is          no connection (internal/certs, ClientCA)
//	required
//	does not finish its handshake or its   readHeaderTimeout
//	headers
//	has a long handshake                   no connection above maxHandshake (conn.go)
//	sends long headers                     431 above maxHeaderBytes
//	sends large frames of HTTP/2           no connection above maxFrame
//	sends a body that nobody reads yet     unreadBody on one connection, then it has to wait;
//	                                       over all connections, a pause (brake.go)
//	sends a long body, or not all of it    413 or 400 (internal/admission)
//	sends many large bodies                503 (internal/admission, budget.go)
//	does not read its answer               writeTimeout
//	does nothing                           idleTimeout
//	opens many streams                     maxStreams on one connection
const (
	readHeaderTimeout = 10 * time.Second
	// writeTimeout is what a review takes at most from its headers to the end of
	// its answer: more than a client may take to send it and we to answer it.
	writeTimeout = 15 * time.Second
	idleTimeout  = 90 * time.Second
	// maxHeaderBytes is far above what API servers send: some hundred bytes, and a
	// token where they have one for us. Headers are held until their handler
	// begins to read the body.
	maxHeaderBytes = 8 << 10
	// maxFrame is the lowest limit that HTTP/2 allows. A connection keeps a buffer as
	// large as the largest frame that has come. net/http's default is 1 MiB, for this
	// and for the next two.
	maxFrame = 16 << 10
	// unreadBody is how many bytes of the bodies on one connection the server holds
	// until they are read, and unreadStream how many of a single body. Large bodies
	// that wait for memory must not keep others on the same connection from arriving,
	// so unreadBody has room for all that may wait (admission.MaxUnread) and two more.
	// unreadStream is the window with which HTTP/2 begins: with a lower one, a client
	// that sends as much before it has seen our settings would be refused.
	unreadBody   = 384 << 10
	unreadStream = 64 << 10
	// maxStreams is more than an API server has in flight on one connection;
	// one that has as many opens another connection. Go's client takes it to be 100
	// until it has seen the server's settings: with less, the reviews of a burst on
	// a new connection would be refused, and asked for again after a second.
	maxStreams = 100
)

// tlsSuites are those of TLS 1.2 that have forward secrecy and authenticated
// encryption, for both kinds of keys. TLS 1.3, which is what API servers
// speak, has no others and ignores this.
var tlsSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Options holds what a Server needs. All fields are required but Require and
// Delay.
type Options struct {
	// Address to listen on, as HOST:PORT, or :PORT for all addresses.
	Address string
	// GetCertificate returns the certificate to serve; see tls.Config.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Require returns a configuration that is the given one for those who may call,
	// and refuses others (certs.ClientCA). Defaults to nil: anybody may call.
	Require func(*tls.Config) *tls.Config
	// Delay is how long the server goes on serving, as not ready, after it has been
	// told to end: as long as it takes until no client is sent to it any more.
	// Defaults to 0.
	Delay time.Duration
	Log   *zap.Logger
}

// Server is a webhook.Server: it serves registered handlers over HTTPS. The order of
// its end is in end.go. A manager that runs one has to leave it the time for that: a
// GracefulShutdownTimeout of Delay plus 15 seconds (endTimeout).
type Server struct {
	Options
	mux        *http.ServeMux
	tls        *tls.Config
	handshakes handshakes
	// listening is true from when the server listens, and stays so; ending is true from
	// when the context of Start has ended.
	listening, ending atomic.Bool
}

var _ webhook.Server = (*Server)(nil)

// New returns a Server. It does not listen yet.
func New(o Options) *Server {
	s := &Server{Options: o, mux: http.NewServeMux()}
	s.tls = &tls.Config{
		GetCertificate: o.GetCertificate,
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   tlsSuites,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if o.Require != nil {
		s.tls = o.Require(s.tls)
	}
	s.tls = s.handshakes.counted(s.tls)
	return s
}

// NeedLeaderElection returns false: every replica serves.
func (*Server) NeedLeaderElection() bool { return false }

// Register serves hook at path. It panics if there is one already.
func (s *Server) Register(path string, hook http.Handler) { s.mux.Handle(path, hook) }

// WebhookMux returns where Register registers.
func (s *Server) WebhookMux() *http.ServeMux { return s.mux }

// StartedChecker returns a check, for readiness, that fails before the server
// listens, and again from when it has been told to end.
func (s *Server) StartedChecker() healthz.Checker {
	return func(*http.Request) error {
		switch {
		case s.ending.Load():
			return errors.New("the server is ending")
		case !s.listening.Load():
			return errors.New("the server does not listen yet")
		}
		return nil
	}
}

// Listening reports whether the server listens, or has done so.
func (s *Server) Listening() bool { return s.listening.Load() }

// Ending reports whether the server has been told to end.
func (s *Server) Ending() bool { return s.ending.Load() }

// ServeHTTP serves what is registered. Once the server is ending it asks clients to
// open a new connection, which leads them to another replica.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if s.ending.Load() {
		w.Header().Set("Connection", "close")
	}
	s.mux.ServeHTTP(w, req)
}

// Start serves until ctx ends, and then ends in order (end.go). It returns nil
// unless it could not serve.
func (s *Server) Start(ctx context.Context) error {
	if ctx.Err() != nil { // told to end before it began
		return nil
	}
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("serving reviews: %w", err)
	}
	s.Log.Info("serving", zap.String("what", "reviews"), zap.Stringer("address", tcp.Addr()))
	s.listening.Store(true)
	server, ended := s.server(), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		s.end(ctx, server)
	})
	if err := server.Serve(tls.NewListener(listener{tcp, newBrake()}, s.tls)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serving reviews: %w", err)
	}
	<-ended
	return nil
}

func (s *Server) server() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		// The handler bounds the time of the body and of the review.
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerConnection: unreadBody,
			MaxReceiveBufferPerStream:     unreadStream,
		},
		ErrorLog: httplog.New(s.Log),
	}
}
