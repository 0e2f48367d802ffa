package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/cabundle"
	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/internal/detector"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/filterwatch"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// resolvConfFile is where kubelet tells a pod the cluster domain.
	resolvConfFile = "/etc/resolv.conf"
	// firstAnswers bounds how long the server waits, before it listens, for the
	// first answers of gates and discovery. It then decides with what it knows.
	firstAnswers = 3 * time.Second
	// filterInterval is the time between two looks at the webhook configuration,
	// whose filter is compared with the policy.
	filterInterval = 30 * time.Second
)

// inCluster is the environment of a server that is connected to the API server.
type inCluster struct {
	o        *options
	config   *rest.Config
	current  func() *policy.Compiled
	advice   func() *policy.Advice
	recorder *metrics.Metrics
	log      logr.Logger

	cache     *namespaces.Cache
	gateSet   *gates.Set
	discovery *discovery.Watcher
}

// newInCluster connects to nothing yet.
func newInCluster(o *options, now inForce, recorder *metrics.Metrics, log logr.Logger) (*inCluster, error) {
	config, err := clusterConfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	// client of what is read now and then, reader of labels that a review waits for.
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, errNoClient(err)
	}
	reader, err := metadata.NewForConfig(namespaces.Limit(config))
	if err != nil {
		return nil, errNoClient(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, errNoClient(err)
	}
	cache, err := namespaces.New(client, reader, log.WithName("namespaces"))
	if err != nil {
		return nil, err
	}
	c := &inCluster{o: o, config: config, current: now.policy, advice: now.advice, recorder: recorder, log: log, cache: cache}
	// The DaemonSets of the gates name the Services that discovery looks for. The
	// first is watched when there is a policy, well after both are here.
	c.gateSet = gates.New(gates.Options{
		Client: objects, Metadata: client, Roots: clusterRoots(config), Recorder: recorder, Log: log.WithName("gates"),
		Discovered: func() *policy.Discovered { return c.discovery.Discovered() }, Namespaces: cache.Names,
		CachesChanged: func() { c.discovery.Refresh() },
	})
	c.discovery = discovery.New(discovery.Options{
		Client: objects, ResolvConf: resolvConf(o, log), Policy: now.policy, Caches: c.gateSet.Caches, Recorder: recorder, Log: log.WithName("discovery"),
	})
	return c, nil
}

func errNoClient(err error) error { return fmt.Errorf("making a client for the API server: %w", err) }

// resolvConf returns this pod's, from which the cluster's domain is known; empty
// with a kubeconfig, as the cluster may be another than this pod's.
func resolvConf(o *options, log logr.Logger) string {
	if o.kubeconfig != "" {
		return ""
	}
	data, err := os.ReadFile(resolvConfFile)
	if err != nil {
		log.Info("cannot discover the cluster domain", "error", err.Error())
	}
	return string(data)
}

func (c *inCluster) labels() admission.Namespaces { return c.cache }

func (c *inCluster) synced() bool { return c.cache.Synced() }

func (c *inCluster) gates() *policy.Gates { return c.gateSet.Current() }

func (c *inCluster) discovered() *policy.Discovered { return c.discovery.Discovered() }

func (c *inCluster) describe(document *health.Options) {
	document.Gates, document.Discovered = c.gateSet.Status, c.discovery.Result
}

func (c *inCluster) prepare(ctx context.Context, compiled *policy.Compiled) (inForce func()) {
	keep := c.gateSet.Prepare(ctx, compiled)
	return func() {
		keep()
		c.discovery.Refresh()
	}
}

func (c *inCluster) firstAnswers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstAnswers)
	defer cancel()
	if compiled := c.current(); compiled != nil { // else the watcher prepares the first one
		c.prepare(ctx, compiled)()
	}
	select {
	case <-c.discovery.Synced():
	case <-ctx.Done():
	}
}

// selfManaged returns the source of certificates that signs them with a CA of its
// own, and keeps that in the webhook configuration.
func (c *inCluster) selfManaged() (certSource, error) {
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return nil, errNoClient(err)
	}
	log := c.log.WithName("certs")
	injector, err := cabundle.New(cabundle.Options{
		Namespace:     c.o.ownNamespace,
		Secret:        c.o.selfManaged.secret,
		Configuration: c.o.webhookConfiguration,
		Client:        client,
		Recorder:      c.recorder,
		Log:           log,
	})
	if err != nil {
		return nil, err
	}
	name := c.o.selfManaged.service + "." + c.o.ownNamespace
	return certs.NewSelfManaged(certs.SelfManagedOptions{
		Namespace:    c.o.ownNamespace,
		Secret:       c.o.selfManaged.secret,
		DNSNames:     []string{name + ".svc", name}, // API servers use the first
		CADuration:   c.o.selfManaged.caDuration,
		LeafDuration: c.o.selfManaged.leafDuration,
		Settle:       c.o.selfManaged.settle,
		Publisher:    injector,
		Client:       client,
		NotAfter:     c.recorder.ServingCertificate,
		Log:          log,
	}), nil
}

func (c *inCluster) background(serving func() bool) ([]runnable, error) {
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		return nil, errNoClient(err)
	}
	filter := filterwatch.New(filterwatch.Options{
		Client: client, Configuration: c.o.webhookConfiguration, Interval: filterInterval, Policy: c.current,
		Mismatch: c.recorder.FilterMismatch, Present: c.recorder.WebhookConfigurationPresent, Log: c.log.WithName("filter"),
	})
	all := []runnable{c.cache.Start, c.gateSet.Start, c.discovery.Start, filter.Start}
	switch {
	case c.o.detect.interval == 0:
		return all, nil
	case c.o.ownNamespace == "":
		c.log.Info("not looking for missed pods: without --own-namespace there is no place for the Lease")
		return all, nil
	}
	found, err := detector.New(detector.Options{
		Config:     c.config,
		Namespace:  c.o.ownNamespace,
		Lease:      c.o.detect.lease,
		Interval:   c.o.detect.interval,
		Ready:      func() bool { return serving() && c.synced() },
		Policy:     c.current,
		Gates:      c.gates,
		Discovered: c.discovered,
		Advice:     c.advice,
		Namespaces: c.cache.Get,
		Recorder:   c.recorder,
		Log:        c.log.WithName("detector"),
	})
	if err != nil {
		return nil, err
	}
	c.recorder.DetectorEnabled()
	return append(all, found.Start), nil
}

// clusterRoots returns the CA that a client for the cluster trusts, or that of
// the system where it names none.
func clusterRoots(config *rest.Config) func() (*x509.CertPool, error) {
	return func() (*x509.CertPool, error) {
		bundle := config.CAData
		if len(bundle) == 0 && config.CAFile != "" {
			var err error
			if bundle, err = os.ReadFile(config.CAFile); err != nil {
				return nil, err
			}
		}
		if len(bundle) == 0 {
			return nil, nil
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(bundle) {
			return nil, errors.New("it holds no certificate")
		}
		return pool, nil
	}
}
