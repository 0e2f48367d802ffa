// Package cluster runs what the integration tests and the demo need around Shorthop, on one machine and without root:
// a real etcd and kube-apiserver (Start), certificates to serve with (NewCA), and the webhook binary itself
// (StartProcess).
//
// It knows nothing of package testing, so that a program can use it as well as a test. Everything that it starts is
// ended by the matching Stop, and everything that it writes is below one temporary folder that Stop removes. There are
// no controllers and no kubelet: pods stay Pending, and what a controller would create must be created by the caller.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// DefaultVersion is the Kubernetes version that `make control-plane` builds when it is not told otherwise.
const DefaultVersion = "v1.36.3"

// componentTimeout bounds the start and the stop of etcd and of kube-apiserver, each. Both need two seconds on an idle
// machine; the rest is for machines that compile something else meanwhile.
const componentTimeout = time.Minute

// Options say how to start a Cluster. The zero value is a plain control plane.
type Options struct {
	// BinaryAssetsDirectory holds the binaries etcd and kube-apiserver.
	// Default: $KUBEBUILDER_ASSETS, and without that the folder where `make control-plane` puts DefaultVersion.
	BinaryAssetsDirectory string

	// APIServerArgs are further flags of kube-apiserver, by name without the leading dashes. They replace our own
	// values of the same flag.
	APIServerArgs map[string][]string

	// AuditLog is the file to which kube-apiserver appends one JSON audit event for every write to a pod, with the
	// request body and the annotations that admission added. Default: no audit log.
	AuditLog string
}

// Cluster is a running control plane.
type Cluster struct {
	// Config is for the cluster's administrator and has no client-side rate limit.
	Config *rest.Config
	// Client is a client made from Config.
	Client kubernetes.Interface

	env *envtest.Environment
	dir string
}

// Start starts a control plane and returns once it serves and the namespace default has its ServiceAccount.
//
// When it fails it leaves nothing behind. The start of a component cannot be interrupted, so a cancelled ctx takes
// effect with a delay of some seconds, after which whatever has been started is stopped again. Once Start has returned,
// ctx does not matter any more: end the cluster with Stop.
func Start(ctx context.Context, opts Options) (_ *Cluster, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	assets, err := assetsDirectory(opts.BinaryAssetsDirectory)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "shorthop-cluster-")
	if err != nil {
		return nil, fmt.Errorf("creating the cluster's folder: %w", err)
	}

	c := &Cluster{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()

	logs, err := c.configure(assets, opts)
	if err != nil {
		return nil, err
	}
	defer logs.Close() // the children have descriptors of their own

	if c.Config, err = c.env.Start(); err != nil {
		return nil, fmt.Errorf("starting the control plane: %w\nlast lines of kube-apiserver:\n%s", err, logs.tail())
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}

	// The limiter would be what a test under load measures.
	c.Config.QPS = -1
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	if err := os.WriteFile(c.Kubeconfig(), c.env.KubeConfig, 0o600); err != nil {
		return nil, fmt.Errorf("writing the kubeconfig: %w", err)
	}
	if err := c.createDefaultServiceAccount(ctx, "default"); err != nil {
		return nil, err
	}
	return c, nil
}

// configure prepares c.env and returns the open log file of kube-apiserver.
func (c *Cluster) configure(assets string, opts Options) (*logFile, error) {
	etcdDir, apiServerDir := filepath.Join(c.dir, "etcd"), filepath.Join(c.dir, "kube-apiserver")
	for _, dir := range []string{etcdDir, apiServerDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("creating a component's folder: %w", err)
		}
	}

	existing := false // whatever USE_EXISTING_CLUSTER says: we create and delete without asking
	c.env = &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		UseExistingCluster:       &existing,
		ControlPlaneStartTimeout: componentTimeout,
		ControlPlaneStopTimeout:  componentTimeout,
	}
	apiServer := c.env.ControlPlane.GetAPIServer()
	// Explicit paths, because envtest would let its environment variables win over what the caller asked for; explicit
	// folders, because the ones that envtest makes are not removed when a start fails.
	apiServer.Path = filepath.Join(assets, "kube-apiserver")
	apiServer.CertDir = apiServerDir
	c.env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(assets, "etcd"), DataDir: etcdDir}

	args := apiServer.Configure()
	// As in a real cluster, pods get a service account and its token volume. envtest turns this off.
	args.Disable("disable-admission-plugins")
	// An address for documentation (RFC 5737) that nobody calls. Without it the server looks for a default route and
	// does not start on a machine that has none.
	args.Set("advertise-address", "192.0.2.1")
	if opts.AuditLog != "" {
		policy := filepath.Join(c.dir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return nil, fmt.Errorf("writing the audit policy: %w", err)
		}
		args.Set("audit-policy-file", policy)
		args.Set("audit-log-path", opts.AuditLog)
	}
	for name, values := range opts.APIServerArgs {
		args.Set(name, values...)
	}

	logs, err := createLogFile(filepath.Join(c.dir, "kube-apiserver.log"))
	if err != nil {
		return nil, err
	}
	apiServer.Out, apiServer.Err = logs.File, logs.File
	return logs, nil
}

// auditPolicy records what the tests read and nothing else. Level Request adds the patch that each webhook answered to
// the annotations of the event.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [create, update, patch]
  resources:
  - group: ""
    resources: [pods, pods/ephemeralcontainers]
- level: None
`

// Kubeconfig returns the path of a kubeconfig file for the cluster's administrator. Stop removes it.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.dir, "kubeconfig")
}

// Stop ends the control plane and removes everything that it wrote, except the audit log. Stopping twice is harmless.
func (c *Cluster) Stop() error {
	var errs []error
	if c.env != nil {
		if err := c.env.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("stopping the control plane: %w", err))
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		errs = append(errs, fmt.Errorf("removing the cluster's folder: %w", err))
	}
	return errors.Join(errs...)
}
