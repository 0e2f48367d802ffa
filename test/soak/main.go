// Command soak shows that nothing gets lost and nothing leaks: it sends reviews as kube-apiserver does and creates pods
// at a real one, while servers, certificates and policies change and while things break, prints what was lost and what
// grew, and writes docs/results/soak.md.
//
// It ends with 0 if all promises were kept, with 1 if one was not, and with 2 if it could not find out. It needs the
// control plane (make control-plane) and the webhook (make build), and runs in the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/shorthop/shorthop/test/measured"
	"github.com/shorthop/shorthop/test/rotation"
)

// options are the flags.
type options struct {
	time, phase        time.Duration
	rate, podRate      int
	soakRate, soakPods int
	calm               time.Duration
	shutdownDelay      time.Duration
	seed               uint64
	results            string
}

// lag is how long a Service goes on sending connections to a server that is not ready any more.
func (o *options) lag() time.Duration { return (o.shutdownDelay / 3).Round(100 * time.Millisecond) }

func main() {
	// Nobody listens to controller-runtime and client-go.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	kept, err := command(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(2)
	case !kept:
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) (kept bool, err error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&o.time, "time", 30*time.Minute, "how long the soak lasts")
	flags.DurationVar(&o.phase, "phase", 5*time.Minute, "how long each of the runs before it lasts; it ends with a whole change")
	flags.IntVar(&o.rate, "rate", 500, "reviews per second in the runs before the soak")
	flags.IntVar(&o.podRate, "pods", 120, "pods per second in the run that creates pods")
	flags.IntVar(&o.soakRate, "soak-rate", 100, "reviews per second in the soak")
	flags.IntVar(&o.soakPods, "soak-pods", 10, "pods per second in the soak")
	flags.DurationVar(&o.calm, "calm", 3*time.Second, "how long the load goes on between two faults of the soak")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second, "the servers' flag; for a third of it they still get connections after they have said that they are not ready")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "gives the order of the faults")
	flags.StringVar(&o.results, "results", "", "`FILE` to write the page with the results to; only printed without")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	switch {
	case flags.NArg() > 0:
		return false, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case min(o.rate, o.podRate, o.soakRate, o.soakPods) <= 0:
		return false, errors.New("rates are at least 1 per second")
	}
	r, err := measure(ctx, &o)
	if err != nil {
		return false, err
	}
	fmt.Print("\n", r.tables())
	if o.results != "" {
		if err := os.MkdirAll(filepath.Dir(o.results), 0o755); err != nil {
			return false, fmt.Errorf("writing the results: %w", err)
		}
		if err := os.WriteFile(o.results, []byte(r.page()), 0o644); err != nil {
			return false, fmt.Errorf("writing the results: %w", err)
		}
	}
	return r.kept(), nil
}

// measure runs all parts.
func measure(ctx context.Context, o *options) (r *results, err error) {
	r = &results{Seed: o.seed, Lag: o.lag()}
	began := time.Now()
	root, err := rotation.Root(ctx)
	if err != nil {
		return nil, err
	}
	step("Starting etcd, kube-apiserver and two servers")
	s, err := newSite(ctx, root, o)
	if s != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	if err != nil {
		return nil, err
	}
	if err := s.lossless(ctx, r); err != nil {
		return nil, err
	}
	if err := s.creations(ctx, r); err != nil {
		return nil, err
	}
	if err := s.soak(ctx, r); err != nil {
		return nil, err
	}
	version, err := s.cluster.Client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking for the API server's version: %w", err)
	}
	r.Machine, err = measured.DescribeMachine(version.GitVersion, began)
	return r, err
}

// step says what happens next.
func step(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// until waits for something that a healthy system does soon. The limit only guards against a run that never ends.
func until(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	const limit = 2 * time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not after %s", limit))
	defer cancel()
	for {
		ok, err := holds(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx)), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sleep waits, but not beyond the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
