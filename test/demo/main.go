// Command demo shows what Shorthop does: it starts a real control plane and the webhook, creates the pods of
// examples/pods, and prints what became of each and why.
//
//	go run ./test/demo [--policy FILE] [--output text|json] [--keep]
//
// Progress goes to standard error, the report to standard output. It needs the control plane (make control-plane) and
// the webhook (make build), and runs in the repository's root. Everything that it starts ends with it, and everything
// that it writes is in temporary folders that it removes, also when it fails or is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Exit codes.
const (
	exitDone        = 0
	exitFindings    = 1 // a pod did not come out as it should
	exitCouldNotRun = 2
	exitInterrupted = 130
)

const (
	examplePolicy = "examples/policy.yaml"
	samplesDir    = "examples/pods"
)

type options struct {
	policyFile string
	output     string
	keep       bool
}

func main() {
	// envtest logs through controller-runtime, which otherwise complains that nobody listens.
	log.SetLogger(logr.Discard())
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) (exitCode int) {
	opts, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		return exitCouldNotRun // the flag package has said why
	}

	// Cleaning up must not be cut short, so these signals keep being caught until the end, and a reader that is gone
	// (`make demo | head`) is an ordinary error.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := endWithParent(ctx)
	defer cancel()

	p := &progress{out: stderr, start: time.Now()}
	defer context.AfterFunc(ctx, func() { p.step("Interrupted") })()
	env := &environment{progress: p}
	defer func() {
		if err := env.stop(); err != nil {
			fmt.Fprintf(stderr, "demo: cleaning up: %v\n", err)
			exitCode = exitCouldNotRun
		}
	}()

	err = demo(ctx, opts, env, stdout)
	var findings *findingsError
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &findings):
		exitCode = exitFindings
	default:
		exitCode = exitCouldNotRun
	}
	fmt.Fprintf(stderr, "demo: %v\n", err)
	if env.webhook != nil && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(stderr, "demo: the webhook's output:\n%s", env.webhook.Logs())
	}
	return exitCode
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.policyFile, "policy", examplePolicy, "the policy `FILE`")
	flags.StringVar(&opts.output, "output", "text", "the report's format: text or json")
	flags.BoolVar(&opts.keep, "keep", false, "keep the control plane and the webhook running until Ctrl-C")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, usageError(stderr, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	if opts.output != "text" && opts.output != "json" {
		return options{}, usageError(stderr, fmt.Errorf("--output is %q, want text or json", opts.output))
	}
	return opts, nil
}

func usageError(stderr io.Writer, err error) error {
	fmt.Fprintf(stderr, "demo: %v\n", err)
	return err
}

// endWithParent returns a context that also ends when the process that started this one does. `go run` does not pass a
// SIGTERM on: it would end alone and leave a control plane behind that nobody knows of.
func endWithParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// demo does everything but cleaning up. An interruption makes it return an error until the environment is kept running,
// and nil from then on.
func demo(ctx context.Context, opts options, env *environment, stdout io.Writer) error {
	document, err := loadPolicy(opts.policyFile)
	if err != nil {
		return err
	}
	samples, err := loadSamples(samplesDir)
	if err != nil {
		return err
	}

	p := env.progress
	if err := env.startControlPlane(ctx); err != nil {
		return err
	}
	compiled, err := env.adaptPolicy(ctx, document)
	if err != nil {
		return err
	}
	if err := env.createNamespaces(ctx, samples); err != nil {
		return err
	}
	p.step("Creating %d pods without Shorthop (dry run), for comparison", len(samples))
	befores, err := env.createWithoutWebhook(ctx, samples)
	if err != nil {
		return err
	}
	if err := env.startWebhook(ctx, compiled, samples); err != nil {
		return err
	}
	p.step("Creating them for real")
	created, err := env.createSamples(ctx, samples)
	if err != nil {
		return err
	}

	r := report{Kubernetes: env.version, Policy: policyInfo{Name: compiled.Name(), Hash: compiled.Hash(), File: opts.policyFile}}
	var problems findingsError
	for i := range samples {
		o, err := newOutcome(samples[i], befores[i], created[i], compiled)
		if err != nil {
			return err
		}
		problems.add(&o, opts.policyFile == examplePolicy)
		r.Pods = append(r.Pods, o)
	}
	if opts.keep {
		r.Environment = env.describe()
	}
	p.step("Done")
	if err := r.write(stdout, opts.output); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if len(problems.problems) > 0 {
		return &problems
	}
	if opts.keep {
		p.step("Running; Ctrl-C stops and removes everything")
		<-ctx.Done()
	}
	return nil
}

func loadPolicy(path string) (*policy.InjectionPolicy, error) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	document, err := policy.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return document, nil
}

// progress says what is going on, and since when.
type progress struct {
	out   io.Writer
	start time.Time
}

func (p *progress) step(format string, args ...any) {
	fmt.Fprintf(p.out, "[%5.1f s] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
