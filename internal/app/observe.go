package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/filterwatch"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// resolvConfFile is where kubelet tells a pod the cluster domain.
	resolvConfFile = "/etc/resolv.conf"
	// firstAnswers bounds how long the server waits, before it listens, for the
	// first answers of gates and discovery. It then decides with what it knows.
	firstAnswers = 3 * time.Second
)

// observers find out about the cluster what decisions depend on. They are nil
// without cluster access: there are no gates then, as the CA by which to know
// an API server is not known, and nothing is discovered.
type observers struct {
	gates     *gates.Set
	discovery *discovery.Watcher
}

// newObservers connects to nothing yet. config is nil without cluster access.
func (a *app) newObservers(o *options, config *rest.Config, current func() *policy.Compiled, recorder *metrics.Metrics) (*observers, error) {
	if config == nil {
		if len(current().HostProbes()) > 0 {
			a.log.Info("service hosts have no health gate, because of --cluster-access=false")
		}
		return nil, nil
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	resolvConf := ""
	if o.kubeconfig == "" { // with a kubeconfig, the cluster may be another than this pod's
		data, err := os.ReadFile(resolvConfFile)
		if err != nil {
			a.log.Info("cannot discover the cluster domain", "error", err.Error())
		}
		resolvConf = string(data)
	}
	found := &observers{
		gates: gates.New(gates.Options{
			Client: client, Roots: clusterRoots(config), Recorder: recorder, Log: a.log.WithName("gates"),
		}),
		discovery: discovery.New(discovery.Options{
			Client: client, ResolvConf: resolvConf, Policy: current, Recorder: recorder, Log: a.log.WithName("discovery"),
		}),
	}
	a.background = append(a.background, found.gates.Start, found.discovery.Start)
	return found, nil
}

// filterInterval is the time between two looks at the webhook configuration.
const filterInterval = 30 * time.Second

// watchFilter compares the API server's filter with the policy. config is nil
// without cluster access.
func (a *app) watchFilter(o *options, config *rest.Config, current func() *policy.Compiled, recorder *metrics.Metrics) error {
	if config == nil {
		return nil
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client for the API server: %w", err)
	}
	a.background = append(a.background, filterwatch.New(filterwatch.Options{
		Client: client, Configuration: o.webhookConfiguration, Interval: filterInterval, Policy: current,
		Mismatch: recorder.FilterMismatch, Log: a.log.WithName("filter"),
	}).Start)
	return nil
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

func (o *observers) currentGates() *policy.Gates {
	if o == nil {
		return nil
	}
	return o.gates.Current()
}

func (o *observers) discovered() *policy.Discovered {
	if o == nil {
		return nil
	}
	return o.discovery.Discovered()
}

// status and result are for the debug endpoint; nil where there is nothing to
// show.
func (o *observers) status() func() []gates.Status {
	if o == nil {
		return nil
	}
	return o.gates.Status
}

func (o *observers) result() func() discovery.Result {
	if o == nil {
		return nil
	}
	return o.discovery.Result
}

// prepare readies the gates for a policy; see policyfile.Options.
func (o *observers) prepare(ctx context.Context, compiled *policy.Compiled) (inForce func()) {
	if o == nil {
		return func() {}
	}
	keep := o.gates.Prepare(ctx, compiled)
	return func() {
		keep()
		o.discovery.Refresh()
	}
}

// before returns serve with a wait in front for the first answers: two replicas
// that start at the same time must not pass by the first pods.
func (o *observers) before(serve runnable, current func() *policy.Compiled) runnable {
	if o == nil {
		return serve
	}
	return func(ctx context.Context) error {
		waiting, cancel := context.WithTimeout(ctx, firstAnswers)
		defer cancel()
		o.prepare(waiting, current())()
		select {
		case <-o.discovery.Synced():
		case <-waiting.Done():
		}
		return serve(ctx)
	}
}
