package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	// closeTimeout bounds how long probes and scrapes may hold up the end.
	closeTimeout = 5 * time.Second
	// drainTimeout bounds how long reviews may, and how long one takes from its
	// headers to the end of its answer: it is more than a client may take to
	// send one and we to answer it.
	drainTimeout = 15 * time.Second
)

// serveHTTP returns a runnable that serves plain HTTP until its context ends.
func serveHTTP(name, address string, handler http.Handler, log *zap.Logger) runnable {
	return func(ctx context.Context) error {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("serving %s: %w", name, err)
		}
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          zap.NewStdLog(log.Named("http")),
		}
		return serveUntil(ctx, name, listener, server, closeTimeout, log)
	}
}

// serveUntil serves until ctx ends, and then waits for the requests in flight.
// Their contexts do not end with ctx, nor do handshakes: whoever connected
// before is served.
func serveUntil(ctx context.Context, name string, listener net.Listener, server *http.Server, timeout time.Duration, log *zap.Logger) error {
	log.Info("serving", zap.String("what", name), zap.Stringer("address", listener.Addr()))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			log.Info("ending without waiting for a slow client", zap.String("what", name), zap.Error(err))
			_ = server.Close() // closes the listener a second time, which fails
		}
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serving %s: %w", name, err)
	}
	<-ended
	return nil
}
