// Command bench measures Shorthop against what else could be done, side by side in one run, prints the tables and writes
// docs/results/bench.md and docs/growth.md.
//
//	bench [--time DURATION]   measures; it ends with 0 whatever the figures are, and with 2 if there are none
//	bench --only querylogs    measures how advise reads query logs, and writes no page
//	bench --only prefix       measures what a prefix among the excluded namespaces costs, and writes no page
//	bench --against FILE      compares bin/webhook with another build of it, and writes no page
//	bench --capture           renews the reviews in internal/admission/testdata/reviews
//	bench serve FILE          is one of the webhooks that Shorthop is compared with
//
// It needs the control plane (make control-plane) and the webhook (make build), and runs in the repository's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/shorthop/shorthop/test/cluster"
)

const (
	reviewsDir   = "internal/admission/testdata/reviews"
	ownNamespace = "shorthop"
)

func main() {
	log.SetLogger(logr.Discard()) // nobody listens to controller-runtime
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "serve" {
		return serve(ctx, args[1])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	lasting := flags.Duration("time", 8*time.Second, "how long to measure one figure, roughly")
	logLines := flags.Int64("log-lines", 100_000_000, "how many lines of query logs to read, at least")
	only := flags.String("only", "", "the one part to measure: querylogs, or prefix, what a prefix among the excluded namespaces costs (default: all)")
	against := flags.String("against", "", "another build of the webhook, to compare bin/webhook with (default: measure against alternatives)")
	capture := flags.Bool("capture", false, "capture reviews from a real API server, and measure nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if !slices.Contains([]string{"", "querylogs", "prefix"}, *only) {
		return fmt.Errorf("--only %q: only querylogs and prefix can be measured by themselves", *only)
	}
	b := &bench{time: *lasting, logLines: *logLines, began: time.Now()}
	if *only == "querylogs" {
		return errors.Join(b.measureQueryLogs(ctx), b.stop())
	}
	err := b.start(ctx)
	switch {
	case err != nil:
	case *only == "prefix":
		err = b.measurePrefix(ctx)
	case *capture:
		err = b.capture(ctx)
	case *against != "":
		err = b.measureAgainst(ctx, *against)
	default:
		err = b.measure(ctx)
	}
	return errors.Join(err, b.stop())
}

// bench is a run.
type bench struct {
	time     time.Duration
	logLines int64
	began    time.Time

	dir      string // holds everything that is written except the results
	certDir  string
	caBundle []byte
	cluster  *cluster.Cluster
	host     string // the API server's
	port     int32
	pod      []byte   // to create, as JSON
	variants []string // of creating pods; nil for all
}

func (b *bench) start(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "shorthop-bench-"); err != nil {
		return fmt.Errorf("creating a temporary folder: %w", err)
	}
	b.certDir = filepath.Join(b.dir, "certs")
	if b.caBundle, err = cluster.ServingCert(b.certDir, "127.0.0.1"); err != nil {
		return err
	}
	b.step("Starting etcd and kube-apiserver")
	if b.cluster, err = cluster.Start(ctx, cluster.Options{}); err != nil {
		return err
	}
	if b.host, b.port, err = b.cluster.Endpoint(); err != nil {
		return err
	}
	if b.pod, err = podJSON(samples()["typical"]); err != nil {
		return err
	}
	if err := b.cluster.CreateNamespace(ctx, ownNamespace, nil); err != nil {
		return err
	}
	return b.cluster.SetDaemonSet(ctx, cacheSet, 5, 5)
}

func (b *bench) stop() error {
	var err error
	if b.cluster != nil {
		err = b.cluster.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// step says what happens next.
func (b *bench) step(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%4.0fs] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// measure runs all parts and publishes what they measured.
func (b *bench) measure(ctx context.Context) error {
	var r results
	var err error
	b.step("The handler")
	if r.Handler, err = handlers(ctx, b.time); err != nil {
		return err
	}
	b.step("Decide")
	if r.Decide, err = decide(ctx, b.time); err != nil {
		return err
	}
	b.step("Start and memory")
	if r.Footprint, err = b.footprint(ctx); err != nil {
		return err
	}
	b.step("HTTPS")
	if r.Serving, err = b.serving(ctx); err != nil {
		return err
	}
	for i := range settings {
		b.step("Creating pods: %s", settings[i].name)
		rows, err := b.creates(ctx, &settings[i])
		if err != nil {
			return err
		}
		r.Creates = append(r.Creates, rows...)
	}
	b.step("Namespaces and rules")
	if r.Large, err = b.large(ctx); err != nil {
		return err
	}
	b.step("Query logs")
	if r.QueryLogs, err = b.queryLogs(ctx, b.logLines); err != nil {
		return err
	}
	if r.Machine, err = b.machine(); err != nil {
		return err
	}
	return r.publish()
}
