//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/e2e/node"
)

// TestDoctorProbesTheNode asks from the node itself, by the image of the replicas in a namespace that admits restricted
// pods only: while all works, and while the node-local cache hangs, which nothing but a question on the node shows.
func TestDoctorProbesTheNode(t *testing.T) {
	t.Cleanup(func() {
		if err := suite.node.RestartNodeLocal(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if got := probeNodes(t); got.Status != "pass" || !strings.Contains(got.Found, "answer on 1 node") {
		t.Errorf("while all works: %s: %s %q", got.Status, got.Found, got.Items)
	}
	if err := suite.node.FreezeNodeLocal(); err != nil {
		t.Fatal(err)
	}
	got := probeNodes(t)
	if want := "the cache at " + node.NodeLocalDNS + " does not answer: no answer within 2s"; got.Status != "fail" || !strings.Contains(got.Found, want) {
		t.Errorf("while the cache hangs: %s: %s %q", got.Status, got.Found, got.Items)
	}
	if len(got.Items) > 0 {
		t.Errorf("something else does not answer: %q", got.Items)
	}
}

// checked is what doctor says of a check.
type checked struct {
	Check, Status, Found string
	Items                []string
}

func probeNodes(t *testing.T) checked {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(repository, "bin", "kubectl-shorthop"),
		"doctor", "--probe", "--kubeconfig", suite.chart.kubeconfig, "-o", "json")
	output, err := command.Output() // exit code 1 where a check fails
	var report struct{ Checks []checked }
	if problem := json.Unmarshal(output, &report); problem != nil {
		t.Fatalf("%v: %v: %s", err, problem, output)
	}
	left, err := suite.client.CoreV1().Pods(releaseNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop-probe"})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d pods are left: %v", len(left.Items), err)
	}
	return report.Checks[slices.IndexFunc(report.Checks, func(r checked) bool { return r.Check == "node-probe" })]
}
