package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/shorthop/shorthop/internal/httplog"
)

// Whoever reaches the ports of health and metrics can try to use up memory there.
// Probes are cheap, and always answered; of the others so many are answered at
// once, and more get 503:
//
//	/metrics           maxScrapes, within scrapeTimeout
//	/debug/policy      two (internal/health)
//	headers            431 above maxHeaderBytes
//	a slow client      readHeaderTimeout, writeTimeout, idleTimeout
const (
	maxScrapes        = 3
	scrapeTimeout     = 10 * time.Second
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 10 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = 90 * time.Second
	// closeTimeout bounds how long probes and scrapes may hold up the end.
	closeTimeout = 5 * time.Second
)

// serveHTTP returns a runnable that serves plain HTTP until its context ends, and
// then waits for the requests in flight.
func serveHTTP(name, address string, handler http.Handler, log *zap.Logger) runnable {
	return func(ctx context.Context) error {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("serving %s: %w", name, err)
		}
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readHeaderTimeout, // no request has a body
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          httplog.New(log),
		}
		log.Info("serving", zap.String("what", name), zap.Stringer("address", listener.Addr()))
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(ended)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
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
}
