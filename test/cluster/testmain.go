package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Main is a TestMain: it sets up, runs the tests, and takes down again what setUp has named with after, the last first. It
// does so as well when setUp fails or the tests are interrupted, which must not leave a control plane behind. dir is a
// folder for setUp, removed at the end; processes of StartProcess that still run are killed before anything else. what names
// the tests in errors. It does not return.
func Main(what string, m interface{ Run() int }, setUp func(ctx context.Context, dir string, after func(func() error)) error) {
	code, err := runTests(m, setUp)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m interface{ Run() int }, setUp func(ctx context.Context, dir string, after func(func() error)) error) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "shorthop-test-")
	if err != nil {
		return 0, fmt.Errorf("creating a folder for tests: %w", err)
	}
	down := []func() error{func() error { return os.RemoveAll(dir) }}
	defer func() {
		running.Range(func(process, _ any) bool {
			process.(*Webhook).Kill()
			return true
		})
		for _, f := range slices.Backward(down) {
			err = errors.Join(err, f())
		}
	}()
	if err := setUp(ctx, dir, func(f func() error) { down = append(down, f) }); err != nil {
		return 0, err
	}
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case code = <-done:
		return code, nil
	case <-ctx.Done():
		return 0, errors.New("interrupted")
	}
}
