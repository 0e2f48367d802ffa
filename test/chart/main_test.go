//go:build chart

package chart_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// What TestMain sets up for all tests, which run one after the other: they count what is in the cluster.
var (
	// newest is the cluster of the newest supported version, with the custom resource definitions of cert-manager and of
	// the Prometheus operator.
	newest *testCluster
	// auditLog is its audit log: every request of a service account.
	auditLog string
	// home is Helm's, and for other files that last as long as the tests.
	home string
)

// release and namespace are where the tests install the chart.
const (
	release   = "shorthop"
	namespace = "shorthop-system"
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chart tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	for _, name := range []string{"HELM", "HELM3", "HELM_UNITTEST", "PROMTOOL", "NODE_EXPORTER", "CRDS", "OLDEST_ASSETS", "NEWEST_ASSETS", "E2E_K8S_BIN", "E2E_COREDNS"} {
		if os.Getenv(name) == "" {
			return 0, fmt.Errorf("%s is not set: run `make test-chart`", name)
		}
	}
	// Interrupted tests must not leave a control plane behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if home, err = os.MkdirTemp("", "shorthop-chart-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()

	auditLog = filepath.Join(home, "audit.log")
	auditPolicy := filepath.Join(home, "audit-policy.yaml")
	if err := os.WriteFile(auditPolicy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`), 0o600); err != nil {
		return 0, err
	}
	newest, err = startCluster(ctx, "NEWEST_ASSETS", map[string][]string{
		"audit-policy-file": {auditPolicy}, "audit-log-path": {auditLog},
		"enable-aggregator-routing": {"true"}, // webhooks are reached through the endpoints of their Service
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, newest.Stop()) }()

	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case code = <-done:
		return code, nil
	case <-ctx.Done():
		return 0, errors.New("interrupted")
	}
}

// testCluster is a control plane with custom resource definitions, and clients for objects of any kind.
type testCluster struct {
	*cluster.Cluster
	version string
	objects dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func startCluster(ctx context.Context, assets string, flags map[string][]string) (*testCluster, error) {
	c, err := cluster.Start(ctx, cluster.Options{BinaryAssetsDirectory: os.Getenv(assets), APIServerArgs: flags})
	if err != nil {
		return nil, err
	}
	started := &testCluster{Cluster: c}
	err = func() error {
		if _, err := envtest.InstallCRDs(c.Config, envtest.CRDInstallOptions{Paths: []string{os.Getenv("CRDS")}, ErrorIfPathMissing: true}); err != nil {
			return err
		}
		version, err := c.Client.Discovery().ServerVersion()
		if err != nil {
			return err
		}
		started.version = version.GitVersion
		quiet := rest.CopyConfig(c.Config)
		quiet.WarningHandler = rest.NoWarnings{} // of deprecated kinds, which the inventory lists too
		if started.objects, err = dynamic.NewForConfig(quiet); err != nil {
			return err
		}
		started.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Client.Discovery()))
		return c.CreateNamespace(ctx, namespace, nil)
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the cluster: %w", err), c.Stop())
	}
	return started, nil
}

// resource returns the client for an object's kind and namespace.
func (c *testCluster) resource(t *testing.T, o *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetNamespace() == "" {
		return c.objects.Resource(mapping.Resource)
	}
	return c.objects.Resource(mapping.Resource).Namespace(o.GetNamespace())
}

// helm runs Helm 4, and fails the test if it fails.
func (c *testCluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	return c.helmOf(t, "HELM", args...)
}

// helmOf runs the helm that an environment variable names, and fails the test if it fails.
func (c *testCluster) helmOf(t *testing.T, variable string, args ...string) string {
	t.Helper()
	out, err := c.tryHelm(t, variable, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", variable, strings.Join(args, " "), err)
	}
	return out
}

// tryHelm is helmOf for what may fail.
func (c *testCluster) tryHelm(t *testing.T, variable string, args ...string) (string, error) {
	t.Helper()
	return output(t, append([]string{os.Getenv(variable), "--kubeconfig", c.Kubeconfig(), "--namespace", namespace}, args...)...)
}

// uninstall removes the release unless that has been done. It is for cleaning up.
func (c *testCluster) uninstall(t *testing.T) {
	t.Helper()
	c.helm(t, "uninstall", release, "--ignore-not-found")
}

// output runs a program with a home for Helm and returns its standard output. The error has what it wrote to its standard
// error.
func output(t *testing.T, command ...string) (string, error) {
	t.Helper()
	// Not ended with the test's context, as it is used for cleaning up as well.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return string(out), err
}

// render returns the objects of `helm template`, hooks included, by "kind namespace/name".
func render(t *testing.T, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	text, err := output(t, append([]string{os.Getenv("HELM"), "template", release, chartDir, "--namespace", namespace, "--values=testdata/self-managed.yaml"}, args...)...)
	if err != nil {
		t.Fatalf("helm template %s: %v", strings.Join(args, " "), err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for _, document := range strings.Split(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := sigsyaml.UnmarshalStrict([]byte(strings.TrimPrefix(document, "---\n")), &o.Object); err != nil {
			t.Fatalf("helm template %s: %v\n%s", strings.Join(args, " "), err, document)
		}
		if len(o.Object) == 0 {
			continue
		}
		key := fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
		if objects[key] != nil {
			t.Fatalf("helm template %s: two objects %s", strings.Join(args, " "), key)
		}
		objects[key] = o
	}
	return objects
}

// values writes a values file and returns the flag that names it.
func values(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	testfile.Write(t, file, content)
	return "--values=" + file
}

// convert turns one form of an object into another.
func convert(t *testing.T, from, into any) {
	t.Helper()
	encoded := jsontest.Marshal(t, from)
	jsontest.Unmarshal(t, encoded, into)
}
