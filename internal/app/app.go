package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/cabundle"
	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/internal/policyfile"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Exit codes.
const (
	exitDone     = 0
	exitInvalid  = 1 // flags or policy
	exitCannotDo = 2 // the port is taken, files are missing, ...
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

// runtimeError is an error that is not about the input.
type runtimeError struct{ err error }

func (e *runtimeError) Error() string { return e.err.Error() }
func (e *runtimeError) Unwrap() error { return e.err }

func run(o *options, stderr io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	// The registry is our own, so that a process can build more than one app;
	// that of controller-runtime has its webhook and certificate metrics.
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
	log   logr.Logger
	delay time.Duration

	draining atomic.Bool
	// observers is set by build.
	observers *observers
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
	a := &app{log: log, delay: o.shutdownDelay}

	policies, err := policyfile.New(policyfile.Options{
		Path:         o.policy,
		OwnNamespace: o.ownNamespace,
		Accept:       accept(o.clusterAccess),
		Prepare: func(ctx context.Context, compiled *policy.Compiled) func() {
			return a.observers.prepare(ctx, compiled)
		},
		Recorder: recorder,
		Log:      log.WithName("policy"),
	})
	if err != nil {
		return nil, err
	}
	a.background = append(a.background, policies.Start)

	var config *rest.Config // none without cluster access
	if o.clusterAccess {
		if config, err = clusterConfig(o.kubeconfig); err != nil {
			return nil, &runtimeError{err}
		}
	}

	certificate, err := newCertSource(o, config, recorder, log.WithName("certs"))
	if err != nil {
		return nil, &runtimeError{err}
	}
	a.background = append(a.background, certificate.Start)

	labels, synced, err := a.newNamespaces(config)
	if err != nil {
		return nil, &runtimeError{err}
	}

	if a.observers, err = a.newObservers(o, config, policies.Current, recorder); err != nil {
		return nil, &runtimeError{err}
	}

	if err := a.watchFilter(o, config, policies.Current, recorder); err != nil {
		return nil, &runtimeError{err}
	}

	var require func(*tls.Config) *tls.Config
	if o.clientCAFile != "" {
		clients, err := certs.NewClientCA(o.clientCAFile, o.clientNames, log.WithName("clients"))
		if err != nil {
			return nil, &runtimeError{err}
		}
		a.background = append(a.background, clients.Start)
		require = clients.Require
	}
	reviews, listens := newReviewServer(o.bindAddress, tlsConfig(certificate, require), admission.New(admission.Options{
		Policy:     policies.Current,
		Namespaces: labels,
		Gates:      a.observers.currentGates,
		Discovered: a.observers.discovered,
		Metrics:    recorder,
		Log:        log.WithName("admission"),
		Draining:   a.draining.Load,
	}), zlog)
	a.reviews = a.observers.before(reviews, policies.Current)
	if err := a.detect(o, config, policies.Current, labels, func() bool { return synced() && listens() }, recorder); err != nil {
		return nil, &runtimeError{err}
	}

	a.background = append(a.background, serveHTTP("health", o.healthBindAddress, health.NewHandler(health.Options{
		Ready: []health.Check{
			{Name: "certificate", Probe: certificate.Healthy},
			{Name: "policy", Probe: reason("no policy is loaded yet", func() bool { return policies.Current() != nil })},
			{Name: "namespaces", Probe: reason("the namespaces have not been read yet", synced)},
			{Name: "webhook", Probe: reason("the server does not listen yet", listens)},
			{Name: "shutdown", Probe: reason("the server is ending", func() bool { return !a.draining.Load() })},
		},
		Policy:       policies.Current,
		OwnNamespace: o.ownNamespace,
		Gates:        a.observers.status(),
		Discovered:   a.observers.result(),
	}), zlog))
	if o.metricsBindAddress != disabled {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{registry, ctrlmetrics.Registry}, promhttp.HandlerOpts{}))
		a.background = append(a.background, serveHTTP("metrics", o.metricsBindAddress, mux, zlog))
	}
	return a, nil
}

// accept returns what refuses policies that cannot be carried out.
func accept(clusterAccess bool) func(*policy.Compiled) error {
	if clusterAccess {
		return nil
	}
	return withoutCluster
}

// newCertSource returns the source that o names, which is valid. It does not
// connect yet.
func newCertSource(o *options, config *rest.Config, recorder *metrics.Metrics, log logr.Logger) (certSource, error) {
	if o.certSource == certSourceProvided {
		return certs.NewProvided(o.certDir, recorder.ServingCertificate, log)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	injector, err := cabundle.New(cabundle.Options{
		Namespace:     o.ownNamespace,
		Secret:        o.selfManaged.secret,
		Configuration: o.webhookConfiguration,
		Client:        client,
		Log:           log,
	})
	if err != nil {
		return nil, err
	}
	name := o.selfManaged.service + "." + o.ownNamespace
	return certs.NewSelfManaged(certs.SelfManagedOptions{
		Namespace:    o.ownNamespace,
		Secret:       o.selfManaged.secret,
		DNSNames:     []string{name + ".svc", name}, // API servers use the first
		CADuration:   o.selfManaged.caDuration,
		LeafDuration: o.selfManaged.leafDuration,
		Settle:       o.selfManaged.settle,
		Publisher:    injector,
		Config:       config,
		NotAfter:     recorder.ServingCertificate,
		Log:          log,
	}), nil
}

// newNamespaces returns the labels of namespaces, and whether they have been
// read. It does not connect yet. config is nil without cluster access.
func (a *app) newNamespaces(config *rest.Config) (labels admission.NamespaceLabels, synced func() bool, err error) {
	if config == nil {
		return namespaces.None{}, func() bool { return true }, nil
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	cache, err := namespaces.New(client, a.log.WithName("namespaces"))
	if err != nil {
		return nil, nil, err
	}
	a.background = append(a.background, cache.Start)
	return cache, cache.Synced, nil
}

func reason(why string, holds func() bool) func() error {
	return func() error {
		if !holds() {
			return errors.New(why)
		}
		return nil
	}
}

// run serves until stop is closed, ctx ends, or something fails. How it ends
// after stop:
//
//	at once         readiness is false; clients are asked for new connections
//	for the delay   everything is served as before, while the cluster learns
//	                not to send anything here any more
//	then            the review server closes its listener and waits for the
//	                requests in flight
//	last            everything that those needed, and the other servers, end
func (a *app) run(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background, ctx := errgroup.WithContext(ctx)
	for _, start := range a.background {
		background.Go(func() error { return start(ctx) })
	}

	reviewsCtx, stopReviews := context.WithCancel(ctx)
	defer stopReviews()
	reviews, reviewsCtx := errgroup.WithContext(reviewsCtx)
	reviews.Go(func() error { return a.reviews(reviewsCtx) })

	select {
	case <-reviewsCtx.Done(): // something has failed
	case <-stop:
		a.draining.Store(true)
		select {
		case <-reviewsCtx.Done():
		case <-time.After(a.delay):
		}
	}
	stopReviews()
	err := reviews.Wait()
	cancel()
	return errors.Join(err, background.Wait())
}
