package app

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
)

// environment is what the server is surrounded by: a cluster (inCluster), or
// nothing that it is connected to, under --cluster-access=false (standalone).
// Nothing else in the server depends on which of the two it is.
type environment interface {
	// labels returns the labels of namespaces, and synced whether they have been read.
	labels() admission.Namespaces
	synced() bool
	// gates and discovered return what decisions depend on, nil where there is nothing.
	gates() *policy.Gates
	discovered() *policy.Discovered
	// describe fills in what the debug document shows of the two.
	describe(document *health.Options)
	// prepare readies the gates for a policy; see policyfile.Options.
	prepare(ctx context.Context, compiled *policy.Compiled) (inForce func())
	// firstAnswers waits, before reviews are served, until gates and discovery know
	// something: two replicas that start at the same time must not pass by the first
	// pods.
	firstAnswers(ctx context.Context)
	// selfManaged returns the source of --cert-source=self-managed.
	selfManaged() (certSource, error)
	// background returns what runs beside reviews. serving reports whether they are
	// served.
	background(serving func() bool) ([]runnable, error)
}

// accept returns what refuses policies that the environment of o cannot carry out.
func accept(o *options) func(*policy.Compiled) error {
	if o.clusterAccess {
		return func(*policy.Compiled) error { return nil }
	}
	return withoutCluster
}

// inForce is what decides now: advice may be nil, and so may a policy.
type inForce struct {
	policy func() *policy.Compiled
	advice func() *policy.Advice
}

// newEnvironment connects to nothing yet.
func newEnvironment(o *options, now inForce, recorder *metrics.Metrics, log logr.Logger) (environment, error) {
	if !o.clusterAccess {
		return &standalone{current: now.policy, log: log}, nil
	}
	return newInCluster(o, now, recorder, log)
}

// clusterConfig says how to reach the API server: by the file, or as a pod of
// the cluster where there is none.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig != "" {
		if config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
			return nil, fmt.Errorf("reading --kubeconfig: %w", err)
		}
	} else if config, err = rest.InClusterConfig(); err != nil {
		return nil, fmt.Errorf("no --kubeconfig, and not in a pod (--cluster-access=false does without an API server): %w", err)
	}
	config.UserAgent = "shorthop-webhook/" + buildinfo.Version
	// A client-side limit would make reads of new namespaces wait for each
	// other and fail. There is one read for each at a time, and the API server
	// protects itself.
	config.QPS = -1
	return config, nil
}
