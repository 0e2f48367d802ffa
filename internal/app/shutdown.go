package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
)

// What happens between SIGTERM and the exit:
//
//	at once   supervise closes stop, which ends the context of the review server
//	then      the review server ends, in the order that is in
//	          internal/reviewserver/end.go: not ready, the delay, handshakes,
//	          requests in flight
//	last      everything that reviews needed and the servers of probes and metrics
//	          end, and the log is written
//
// A second signal ends the process at once. Where something fails, the rest ends
// in the same order without the delay.

// errSecondSignal ends the process while requests may still be in flight.
var errSecondSignal = errors.New("a second signal came before everything had ended")

// supervise runs serve until it returns, and closes stop at the first signal. After a
// second signal it returns errSecondSignal without waiting for serve.
func supervise(ctx context.Context, signals <-chan os.Signal, log logr.Logger, serve func(ctx context.Context, stop <-chan struct{}) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- serve(ctx, stop) }()
	select {
	case err := <-done:
		return err
	case signal := <-signals:
		log.Info("ending; a second signal ends at once", "signal", signal.String())
		close(stop)
	}
	select {
	case err := <-done:
		return err
	case signal := <-signals:
		err := fmt.Errorf("%s: %w", signal, errSecondSignal)
		cancel(err)
		return err
	}
}

// run serves until stop is closed, ctx ends, or something fails.
func (a *app) run(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background, ctx := errgroup.WithContext(ctx) // if something fails, its error is the cause of ctx's end
	for _, start := range a.background {
		background.Go(func() error { return start(ctx) })
	}

	reviewsCtx, stopReviews := context.WithCancel(ctx)
	defer stopReviews()
	reviews := make(chan error, 1)
	go func() { reviews <- a.reviews(reviewsCtx) }()

	var err error
	select {
	case err = <-reviews: // the review server has failed, or something in the background has
	case <-stop:
		stopReviews()
		err = <-reviews
	}
	cancel()
	return errors.Join(err, background.Wait())
}
