package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/policyfile"
	"github.com/shorthop/shorthop/internal/reviewserver"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Exit codes.
const (
	exitDone     = 0
	exitInvalid  = 1 // the flags are wrong
	exitCannotDo = 2 // the port is taken, certificates are missing, ...
)

// Main runs the webhook until SIGTERM or SIGINT and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	cmd := newCommand(func(o *options) error { return run(o, stderr) })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.Execute()
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(stderr, "webhook:", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	if runtime := new(runtimeError); errors.As(err, &runtime) {
		return exitCannotDo
	}
	return exitInvalid
}

// runtimeError is an error that is not about the flags: it ends the program with
// exitCannotDo.
type runtimeError struct{ err error }

func (e *runtimeError) Error() string { return e.err.Error() }
func (e *runtimeError) Unwrap() error { return e.err }

// softMemoryLimit returns the number of bytes from which the garbage collector works
// harder, so that the memory budget of reviews (internal/admission, budget.go) holds
// for the whole process. limit is the value of GOMEMLIMIT, which the chart sets to
// the container's memory limit; math.MaxInt64 means that it is not set, and then the
// chart's default of 128 MiB is assumed. Half of it is used: the kernel counts
// sockets, and memory that the collector has not reached yet, toward the container's
// limit as well. A cluster with 10,000 namespaces stays far below that half.
func softMemoryLimit(limit int64) int64 {
	if limit == math.MaxInt64 {
		limit = 128 << 20
	}
	return limit / 2
}

func run(o *options, stderr io.Writer) error {
	debug.SetMemoryLimit(softMemoryLimit(debug.SetMemoryLimit(-1)))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	// The registry is our own, so that a process can build more than one app;
	// that of controller-runtime has its metrics of certificates.
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	recorder := metrics.New(registry)

	lines := newLogWriter(stderr, recorder.LogLinesLost)
	defer lines.close()
	log, err := newLogger(o.logLevel, o.logFormat, lines)
	if err != nil {
		return err
	}
	defer routeLibraries(log)()

	a, err := build(o, log, registry, recorder)
	if err != nil {
		return err
	}
	if err := supervise(context.Background(), signals, a.log, a.run); err != nil {
		return &runtimeError{err}
	}
	a.log.Info("ended")
	return nil
}

// certSource is where the serving certificate comes from.
type certSource interface {
	// GetCertificate is for tls.Config.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Start keeps the certificate up to date until ctx ends.
	Start(ctx context.Context) error
	// Healthy returns why there is no certificate to serve, or nil.
	Healthy() error
}

// runnable runs until ctx ends, or fails.
type runnable func(ctx context.Context) error

// app is the program, built and ready to run.
type app struct {
	log logr.Logger
	// reviews serves reviews and ends first.
	reviews runnable
	// background is what reviews in flight need, and what reports on them.
	background []runnable
}

// build is where everything comes together. It reads all input and starts
// nothing. registry is what recorder is registered with.
func build(o *options, zlog *zap.Logger, registry *prometheus.Registry, recorder *metrics.Metrics) (*app, error) {
	log := logrOf(zlog)
	log.Info("starting", "version", buildinfo.Version, "ownNamespace", o.ownNamespace, "clusterAccess", o.clusterAccess)
	if !o.clusterAccess && o.kubeconfig != "" {
		log.Info("--kubeconfig is not used, because of --cluster-access=false")
	}

	var env environment
	policies := policyfile.New(policyfile.Options{
		Path:         o.policy,
		OwnNamespace: o.ownNamespace,
		Accept:       accept(o),
		Prepare: func(ctx context.Context, compiled *policy.Compiled) func() {
			return env.prepare(ctx, compiled)
		},
		Recorder: recorder,
		Log:      log.WithName("policy"),
	})
	advice := func() *policy.Advice { return nil }
	var advisorRun func() *advicefile.Run
	var followAdvice []runnable
	if o.advice != "" {
		advices := advicefile.New(advicefile.Options{Path: o.advice, Recorder: recorder, Log: log.WithName("advice")})
		advice, followAdvice = advices.Current, []runnable{advices.Start}
	}
	if o.advisorRun != "" {
		runs := advicefile.NewRunWatcher(o.advisorRun, recorder, log.WithName("advice"))
		advisorRun, followAdvice = runs.Current, append(followAdvice, runs.Start)
	}
	env, err := newEnvironment(o, inForce{policies.Current, advice}, recorder, log)
	if err != nil {
		return nil, &runtimeError{err}
	}

	certificate, err := newCertSource(o, env, recorder, log.WithName("certs"))
	if err != nil {
		return nil, &runtimeError{err}
	}
	a := &app{log: log, background: []runnable{policies.Start, certificate.Start}}
	a.background = append(a.background, followAdvice...)

	server := reviewserver.Options{
		Address:        o.bindAddress,
		GetCertificate: certificate.GetCertificate,
		Delay:          o.shutdownDelay,
		Log:            zlog,
	}
	if o.clientCAFile != "" {
		clients, err := certs.NewClientCA(o.clientCAFile, o.clientNames, log.WithName("clients"))
		if err != nil {
			return nil, &runtimeError{err}
		}
		a.background = append(a.background, clients.Start)
		server.Require = clients.Require
	}
	reviews := reviewserver.New(server)
	reviews.Register(webhookconfig.Path, admission.New(admission.Options{
		Policy:     policies.Current,
		Namespaces: env.labels(),
		Gates:      env.gates,
		Discovered: env.discovered,
		Advice:     advice,
		Metrics:    recorder,
		Log:        log.WithName("admission"),
	}))
	a.reviews = func(ctx context.Context) error {
		env.firstAnswers(ctx)
		return reviews.Start(ctx)
	}
	around, err := env.background(reviews.Listening)
	if err != nil {
		return nil, &runtimeError{err}
	}
	a.background = append(a.background, around...)

	document := health.Options{
		Ready: []health.Check{
			{Name: "certificate", Probe: certificate.Healthy},
			{Name: "policy", Probe: policyInvalid(policies)},
			{Name: "namespaces", Probe: unless(env.synced, "the namespaces have not been read yet")},
			{Name: "webhook", Probe: unless(reviews.Listening, "the server does not listen yet")},
			{Name: "shutdown", Probe: unless(func() bool { return !reviews.Ending() }, "the server is ending")},
		},
		Policy:       policies.Current,
		NoPolicy:     policyInvalid(policies),
		Advice:       advice,
		AdvisorRun:   advisorRun,
		OwnNamespace: o.ownNamespace,
	}
	env.describe(&document)
	a.background = append(a.background, serveHTTP("health", o.healthBindAddress, health.NewHandler(document), zlog))
	if o.metricsBindAddress != disabled {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{registry, prometheus.GathererFunc(certificateMetrics)},
			promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout}))
		a.background = append(a.background, serveHTTP("metrics", o.metricsBindAddress, mux, zlog))
	}
	return a, nil
}

// certificateMetrics gathers controller-runtime's metrics of certificate files
// (certwatcher_...). Its metrics of webhooks are left out: they are about its own
// handlers, and would claim for ever that none of ours has panicked.
func certificateMetrics() ([]*dto.MetricFamily, error) {
	families, err := ctrlmetrics.Registry.Gather()
	return slices.DeleteFunc(families, func(family *dto.MetricFamily) bool {
		return !strings.HasPrefix(family.GetName(), "certwatcher_")
	}), err
}

// newCertSource returns the source that o names; o has been validated. A source
// that needs the API server does not connect before it is started.
func newCertSource(o *options, env environment, recorder *metrics.Metrics, log logr.Logger) (certSource, error) {
	if o.certSource == certSourceSelfManaged {
		return env.selfManaged()
	}
	return certs.NewProvided(o.certDir, recorder.ServingCertificate, log)
}

// policyInvalid is a check that fails while no policy is in force, and says why, on
// one line of bounded length: kubelet shows it in an event.
func policyInvalid(policies *policyfile.Watcher) func() error {
	return func() error {
		problem := policies.Problem()
		if problem == nil {
			return nil
		}
		return errors.New("policy_invalid: " + policyfile.Line(problem))
	}
}

// unless is a check that fails, for the given reason, unless holds returns true.
func unless(holds func() bool, why string) func() error {
	return func() error {
		if !holds() {
			return errors.New(why)
		}
		return nil
	}
}
