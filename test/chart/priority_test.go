//go:build chart

package chart_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// limitedClasses is how GKE limits the priority classes of the system: pods of these are admitted only where a ResourceQuota
// names them.
const limitedClasses = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [system-node-critical, system-cluster-critical]}
`

// Where a cluster limits the priority classes of the system, no replica of the first edition is created; today's are, under a
// class of the system too. The ReplicaSet and quota controllers are the real ones.
func TestReplicasAreCreatedWherePriorityClassesAreLimited(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admission.yaml")
	write(t, file, []byte(limitedClasses))
	limited, err := startCluster(t.Context(), "NEWEST_ASSETS", map[string][]string{"admission-control-config-file": {file}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := limited.Stop(); err != nil {
			t.Error(err)
		}
	})
	startControllers(t, limited, "deployment-controller", "replicaset-controller", "resourcequota-controller")

	for name, test := range map[string]struct {
		chart string
		flags []string
		want  int
	}{
		"first":    {chart: firstEdition, want: 0},
		"today":    {chart: chartDir, want: 2},
		"critical": {chart: chartDir, flags: []string{"--set=priorityClassName=system-cluster-critical"}, want: 2},
		"node":     {chart: chartDir, flags: []string{"--set=priorityClassName=system-node-critical", "--set=replicas=3"}, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			limited.helm(t, append([]string{"install", name, test.chart, "--namespace", name, "--create-namespace"}, test.flags...)...)
			if test.want > 0 {
				if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
					return len(replicas(t, limited, name)) == test.want, nil
				}); err != nil {
					t.Fatalf("%d replicas, want %d: %v\n%s", len(replicas(t, limited, name)), test.want, err, strings.Join(failedCreates(t, limited, name), "\n"))
				}
				return
			}
			var why []string
			if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
				why = failedCreates(t, limited, name)
				return len(why) > 0, nil
			}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(why[0], "insufficient quota to match these scopes") {
				t.Errorf("the ReplicaSet fails for another reason: %s", why[0])
			}
			if pods := replicas(t, limited, name); len(pods) > 0 {
				t.Errorf("%d replicas: this test has lost its subject", len(pods))
			}
			t.Log(why[0])

			// And doctor says so. Its exit code is 1.
			report, err := output(t, pluginBinary, "doctor", "--kubeconfig", limited.Kubeconfig(), "--webhook-configuration", name+"-shorthop")
			if err == nil || !strings.Contains(report, "cannot create pods: ") || !strings.Contains(report, "take another priorityClassName") {
				t.Errorf("doctor: %v\n%s", err, report)
			}
		})
	}
}

// startControllers runs the real kube-controller-manager with these controllers only.
func startControllers(t *testing.T, c *testCluster, names ...string) {
	t.Helper()
	var logs bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(os.Getenv("E2E_K8S_BIN"), "kube-controller-manager"),
		"--kubeconfig", c.Kubeconfig(), "--controllers", strings.Join(names, ","), "--leader-elect=false", "--secure-port=0")
	cmd.Stdout, cmd.Stderr = &logs, &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("kube-controller-manager:\n%s", logs.String())
		}
	})
}

func replicas(t *testing.T, c *testCluster, namespace string) []corev1.Pod {
	t.Helper()
	list, err := c.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop"})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// failedCreates are the messages of a namespace's events of that reason.
func failedCreates(t *testing.T, c *testCluster, namespace string) (messages []string) {
	t.Helper()
	list, err := c.Client.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		messages = append(messages, list.Items[i].Message)
	}
	return messages
}
