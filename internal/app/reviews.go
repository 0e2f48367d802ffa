package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/shorthop/shorthop/internal/webhookconfig"
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
//	sends long headers                     431 above maxHeaderBytes
//	sends a long body, or not all of it    413 or 400 (internal/admission)
//	does not read its answer               drainTimeout
//	does nothing                           idleTimeout
//	opens many streams                     maxStreams on one connection
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 64 << 10
	// maxStreams is more than an API server has in flight on one connection;
	// one that has as many opens another connection.
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

// tlsConfig is for reviews. require, which may be nil, limits who may call.
func tlsConfig(certificate certSource, require func(*tls.Config) *tls.Config) *tls.Config {
	config := &tls.Config{
		GetCertificate: certificate.GetCertificate,
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   tlsSuites,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if require != nil {
		config = require(config)
	}
	return config
}

// newReviewServer returns what serves reviews, and a check that holds once it
// listens.
func newReviewServer(address string, config *tls.Config, handler http.Handler, log *zap.Logger) (serve runnable, listens func() bool) {
	// Not controller-runtime's server: at its end it aborts the TLS handshakes
	// that have begun, which an API server takes for a failed call, and its
	// metrics around every request say what ours say.
	mux := http.NewServeMux()
	mux.Handle(webhookconfig.Path, handler)
	var listening atomic.Bool
	return func(ctx context.Context) error {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("serving reviews: %w", err)
		}
		listening.Store(true)
		return serveUntil(ctx, "reviews", tls.NewListener(listener, config), reviewServer(mux, log), drainTimeout, log)
	}, listening.Load
}

func reviewServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		// The handler bounds the time of the body and of the review.
		WriteTimeout:   drainTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:       zap.NewStdLog(log.Named("http")),
	}
}
