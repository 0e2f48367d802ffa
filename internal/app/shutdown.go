package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
)

// errSecondSignal ends the process while requests may still be in flight.
var errSecondSignal = errors.New("a second signal came before everything had ended")

// supervise runs serve until it returns, and tells it of the first signal by
// closing stop. It does not wait for serve after a second one.
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
