//go:build e2e

// Package e2e shows in real pods, under a real kubelet, that Shorthop does what `kubectl-shorthop explain` says, that
// clients reach the API server the way it tells them to, and what that does to the number of DNS queries.
//
// Run it with `make e2e`, as root. The tests share one node, but for those that wait for a log to get long, which make gives
// a node of their own beside it; see TestMain for how a node comes up. With E2E_EXISTING=1 and KUBECONFIG they run against
// that cluster instead, but only those that look at pods: see existing.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
	"github.com/shorthop/shorthop/test/e2e/sandbox"
)

var (
	writeResults = flag.Bool("write-results", false, "write the figures to docs/results")
	hold         = flag.Bool("hold", false, "bring everything up, run no test, and wait for Ctrl-C")
	logFolder    = flag.String("logs", "logs", "the `folder` in .cache/e2e for the node's logs; runs at the same time need one each")
)

// suite is what the tests share.
var suite struct {
	*environment
	// node is nil with E2E_EXISTING=1: then nobody may look into the node.
	node *node.Node
}

// repository is the root of the repository, seen from this folder.
const repository = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that run side by side wait for pods and resolvers; they need no processor of their own.
	if parallel := flag.Lookup("test.parallel").Value; parallel.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = parallel.Set("16") // a number that it accepts
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run runs the tests in a sandbox of their own:
//
//	outside   build the probes, create the sandbox and wait for its end
//	inside    bring up the node, install the chart, run the tests
func run(m *testing.M) (int, error) {
	if os.Getenv("E2E_EXISTING") != "" {
		return runExisting(m)
	}
	if err := sandbox.Possible(); err != nil {
		return 2, err
	}
	start := time.Now()
	root, err := filepath.Abs(repository) // for programs that run in other folders
	if err != nil {
		return 2, fmt.Errorf("finding the repository: %w", err)
	}
	built := filepath.Join(root, ".cache", "e2e")
	archives := make([]string, len(images.All))
	for i, probe := range images.All {
		archives[i] = filepath.Join(built, probe+".tar")
	}
	archives = append(archives, filepath.Join(built, "hasty.tar"), filepath.Join(root, "bin", "webhook.tar"))
	logs := filepath.Join(built, *logFolder)
	if os.Getenv(sandboxed) == "" {
		if err := buildImages(root, built); err != nil {
			return 2, err
		}
		if err := os.RemoveAll(logs); err != nil {
			return 2, fmt.Errorf("removing the logs of the last run: %w", err)
		}
		if err := os.Setenv(sandboxed, "1"); err != nil {
			return 2, fmt.Errorf("marking the sandbox: %w", err)
		}
	}
	inside, code, err := sandbox.Enter()
	if !inside {
		fmt.Printf("e2e: the whole run took %s\n", time.Since(start).Round(time.Second))
		return code, err
	}

	// Temporary files go where they vanish with the sandbox.
	if err := os.Setenv("TMPDIR", sandbox.Dir); err != nil {
		return 2, fmt.Errorf("setting the folder of temporary files: %w", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	suite.node, err = node.Start(ctx, node.Assets{
		Kubernetes:   fromEnvironment("E2E_K8S_BIN", filepath.Join(root, ".cache", "control-plane", "v1.36.3")),
		CoreDNS:      fromEnvironment("E2E_COREDNS", filepath.Join(root, ".cache", "tools", "coredns-v1.15.0", "coredns")),
		SandboxImage: images.Name(images.DefaultPrefix, images.Musl),
		Images:       archives,
	}, logs)
	if err != nil {
		return 2, fmt.Errorf("bringing up the node (logs in %s): %w", logs, err)
	}
	defer suite.node.Stop()
	fmt.Printf("e2e: the node is ready after %s; logs in %s\n", time.Since(start).Round(100*time.Millisecond), logs)

	if suite.environment, err = newEnvironment(ctx, suite.node.Config); err != nil {
		return 2, err
	}
	defer suite.stop()
	suite.hostResolvConf = suite.node.HostResolvConf()
	if err := suite.install(ctx); err != nil {
		return 2, fmt.Errorf("installing the chart (logs in %s): %w", logs, err)
	}
	fmt.Printf("e2e: the chart is installed after %s\n", time.Since(start).Round(100*time.Millisecond))
	if *hold {
		fmt.Printf("e2e: everything is up; KUBECONFIG=%s in the sandbox (see above for nsenter); Ctrl-C ends it\n", suite.node.Kubeconfig)
		<-ctx.Done()
		return 0, nil
	}
	return m.Run(), nil
}

// buildImages builds the images of the tests. Runs that begin at the same time build one after the other, as they write the
// same files.
func buildImages(root, built string) (err error) {
	if err := os.MkdirAll(built, 0o755); err != nil {
		return fmt.Errorf("creating the folder of images: %w", err)
	}
	lock, err := os.Create(filepath.Join(built, "lock"))
	if err != nil {
		return fmt.Errorf("creating the lock of the images: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // with it goes the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("waiting for another run to build the images: %w", err)
	}
	if _, err := images.Build(context.Background(), "probe", built, images.DefaultPrefix); err != nil {
		return err
	}
	_, err = images.BuildHasty(context.Background(), root, filepath.Join(root, "test", "e2e", "testdata", "enough.go"), built)
	return err
}

// sandboxed says that what belongs outside of the sandbox is done.
const sandboxed = "SHORTHOP_E2E_BUILT"

// existing are the tests that need only a cluster. The others look into the node: they read the query logs, stop the
// node-local cache, or replace the node's resolv.conf.
const existing = "^(TestPodsAreAsExplained|TestEnvironmentIsAsExplained|TestAPIServerIsReached)$"

// runExisting runs the tests of the list existing against the cluster of KUBECONFIG, where Shorthop runs with the policy
// in E2E_POLICY (default: testdata/policy.yaml) and the probes' images are to be had under E2E_IMAGE_PREFIX.
func runExisting(m *testing.M) (int, error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return 2, fmt.Errorf("reading KUBECONFIG: %w", err)
	}
	config.QPS = -1
	if suite.environment, err = newEnvironment(ctx, config); err != nil {
		return 2, err
	}
	defer suite.stop()
	policyFile = fromEnvironment("E2E_POLICY", policyFile)
	suite.prefix = fromEnvironment("E2E_IMAGE_PREFIX", images.DefaultPrefix)
	if err := suite.discoverHostResolvConf(ctx); err != nil {
		return 2, err
	}
	if chosen := flag.Lookup("test.run"); chosen.Value.String() == "" {
		if err := chosen.Value.Set(existing); err != nil {
			return 2, fmt.Errorf("choosing the tests: %w", err)
		}
	}
	fmt.Printf("e2e: %s; only the tests that need nothing of the node: %s\n", config.Host, existing)
	return m.Run(), nil
}

func fromEnvironment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
