//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// TestChartTest runs what `helm test` runs: a pod that asks the API server for an injected pod.
func TestChartTest(t *testing.T) {
	output, err := suite.helm(t.Context(), "test", release, "--logs", "--timeout", "2m")
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if !strings.Contains(output, "is injected") {
		t.Errorf("helm test does not show what the pod says:\n%s", output)
	}
	t.Logf("\n%s", output)
}

// TestDoctor examines the installation from outside.
func TestDoctor(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), filepath.Join(repository, "bin", "kubectl-shorthop"),
		"doctor", "--kubeconfig", suite.chart.kubeconfig).CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	t.Logf("\n%s", output)
}

// TestUpgradeLosesNoReview replaces both replicas, by an upgrade from a chart of an earlier version, while pods are
// created, and wants every single one of them injected.
func TestUpgradeLosesNoReview(t *testing.T) {
	earlier := t.TempDir()
	if output, err := suite.helm(t.Context(), "package", chartFolder, "--version", "0.0.1", "--destination", earlier); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	// The same timeout as in production: what takes longer is missed there too.
	production := append(suite.flags(), "--set", "timeoutSeconds=2")
	for i, folder := range []string{filepath.Join(earlier, "shorthop-0.0.1.tgz"), chartFolder} {
		ctx, stop := context.WithCancel(t.Context())
		load := startLoad(ctx, t)
		output, err := suite.helm(t.Context(), append([]string{"upgrade", release, folder,
			"--set", fmt.Sprintf("podAnnotations.revision=r%d", i)}, production...)...)
		// The last pods of the previous revision end after the upgrade has.
		if err == nil {
			err = suite.waitReplicas(t.Context(), fmt.Sprintf("r%d", i), 2)
		}
		stop()
		load.wait()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, output, suite.webhookLogs(t.Context()))
		}
		t.Logf("upgrade %d: pods created %d, injected %d, missed %d", i+1, load.created.Load(), load.injected.Load(), load.created.Load()-load.injected.Load())
		if load.created.Load() != load.injected.Load() || load.created.Load() == 0 {
			t.Errorf("of %d pods, %d came out injected", load.created.Load(), load.injected.Load())
		}
	}
}

// load creates pods, as a dry run: all of admission, and nothing for kubelet to do.
type load struct {
	created, injected atomic.Int64
	workers           sync.WaitGroup
}

func (l *load) wait() { l.workers.Wait() }

// startLoad creates up to 50 pods a second until ctx ends.
func startLoad(ctx context.Context, t *testing.T) *load {
	t.Helper()
	l := &load{}
	tick := time.NewTicker(20 * time.Millisecond)
	t.Cleanup(tick.Stop)
	for range 4 {
		l.workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				injected, err := suite.injectedDryRun(context.WithoutCancel(ctx))
				if err != nil {
					t.Errorf("creating a pod: %v", err)
					return
				}
				l.created.Add(1)
				if injected {
					l.injected.Add(1)
				}
			}
		})
	}
	return l
}

// waitReplicas waits until as many pods of the release as there shall be carry the annotation revision, and no others are left.
func (e *environment) waitReplicas(ctx context.Context, revision string, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		pods, err := e.client.CoreV1().Pods(releaseNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop"})
		if err != nil {
			return fmt.Errorf("listing the replicas: %w", err)
		}
		current := 0
		for i := range pods.Items {
			if pods.Items[i].Annotations["revision"] == revision {
				current++
			}
		}
		if current == replicas && len(pods.Items) == replicas {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d replicas are of revision %s: %w", current, len(pods.Items), revision, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// saveLogs keeps the replicas' logs next to those of the node.
func (e *environment) saveLogs(ctx context.Context) {
	_ = os.WriteFile(suite.node.LogPath("webhook"), []byte(e.webhookLogs(ctx)), 0o600)
}

// TestUninstallLeavesNothing compares all objects of the cluster with those before the installation. It is the last test:
// go test runs tests in the order of their files, and of the functions in a file.
func TestUninstallLeavesNothing(t *testing.T) {
	suite.saveLogs(t.Context())
	if output, err := suite.helm(t.Context(), "uninstall", release, "--wait", "--timeout", "2m"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var after []string
	// Pods and what belongs to them go after their Deployment.
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		var err error
		after, err = suite.inventory(ctx)
		return slices.Equal(after, suite.chart.before), err
	}); err != nil {
		t.Errorf("%v; before the installation (-) and after its end (+):\n%s", err, cmp.Diff(suite.chart.before, after))
	}
	if injected, err := suite.injectedDryRun(t.Context()); injected || err != nil {
		t.Errorf("a pod is still injected (%v)", err)
	}
}
