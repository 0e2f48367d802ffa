package integration_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// probing is a cluster with nodes and without kubelets: what these would do, the test does.
type probing struct {
	*cluster.Cluster
	policy string
}

func newProbing(t *testing.T) *probing {
	t.Helper()
	p := &probing{clustertest.Start(t, cluster.Options{}), filepath.Join(t.TempDir(), "policy.yaml")}
	replaceFile(t, p.policy, strings.Replace(doctorPolicy, "%s", "443", 1))
	restricted := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	if err := p.CreateNamespace(t.Context(), doctorNamespace, restricted); err != nil {
		t.Fatal(err)
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue}
	for name, change := range map[string]func(*corev1.Node){
		"node-0":   func(*corev1.Node) {},
		"node-1":   func(*corev1.Node) {},
		"cordoned": func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"gone":     func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown },
		"windows":  func(n *corev1.Node) { n.Labels = map[string]string{"kubernetes.io/os": "windows"} },
		"virtual":  func(n *corev1.Node) { n.Labels = map[string]string{"type": "virtual-kubelet"} },
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{ready}}}
		change(node)
		status := node.Status
		created, err := p.Client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		created.Status = status
		must[*corev1.Node](t)(p.Client.CoreV1().Nodes().UpdateStatus(t.Context(), created, metav1.UpdateOptions{}))
	}
	return p
}

func (p *probing) args(more ...string) []string {
	return append([]string{"doctor", "--kubeconfig", p.Kubeconfig(), "--policy", p.policy, "--own-namespace", doctorNamespace,
		"--probe-image", "example.com/webhook:1", "-o", "json"}, more...)
}

// pods are those of the probe.
func (p *probing) pods(ctx context.Context) ([]corev1.Pod, error) {
	found, err := p.Client.CoreV1().Pods(doctorNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop-probe"})
	if err != nil {
		return nil, err
	}
	return found.Items, nil
}

// end ends a pod as kubelet does, with the last words of its container.
func (p *probing) end(t *testing.T, pod *corev1.Pod, words string) {
	t.Helper()
	status, err := json.Marshal(map[string]any{"status": corev1.PodStatus{
		Phase: corev1.PodSucceeded,
		ContainerStatuses: []corev1.ContainerStatus{{Name: "probe", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{Message: words},
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	must[*corev1.Pod](t)(p.Client.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status"))
}

func TestDoctorProbesNodes(t *testing.T) {
	t.Parallel()
	p := newProbing(t)
	program, err := kubectlProgram()
	if err != nil {
		t.Fatal(err)
	}
	wait := func(t *testing.T, nodes int) (pods []corev1.Pod) {
		t.Helper()
		err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (_ bool, err error) {
			pods, err = p.pods(ctx)
			return len(pods) == nodes, err
		})
		if err != nil {
			t.Fatal(err, len(pods))
		}
		return pods
	}
	start := func(t *testing.T, args ...string) (*exec.Cmd, *strings.Builder) {
		t.Helper()
		command, stdout := exec.CommandContext(t.Context(), program, p.args(args...)...), &strings.Builder{}
		command.Stdout = stdout
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		return command, stdout
	}
	t.Run("nodes say what is wrong, and nothing is left", func(t *testing.T) {
		command, stdout := start(t, "--probe")
		pods := wait(t, 3)
		var nodes []string
		for i := range pods {
			pod := &pods[i]
			nodes = append(nodes, pod.Spec.NodeName)
			args := strings.Join(pod.Spec.Containers[0].Args, " ")
			if want := "--name=kubernetes.default.svc.cluster.local --dns=169.254.20.10 --dns=10.0.0.10 --api=localhost:443"; !strings.Contains(args, want) {
				t.Errorf("it asks %s, want %s", args, want)
			}
			words := `[{"kind":"dns","target":"169.254.20.10"},{"kind":"dns","target":"10.0.0.10"},{"kind":"api","target":"localhost:443"}]`
			switch pod.Spec.NodeName {
			case "node-1":
				words = strings.Replace(words, `20.10"`, `20.10","error":"no answer within 2s"`, 1)
			case "cordoned":
				words = "\x1b[31mnonsense"
			}
			p.end(t, pod, words)
		}
		if slices.Sort(nodes); !slices.Equal(nodes, []string{"cordoned", "node-0", "node-1"}) {
			t.Errorf("pods on %v", nodes)
		}
		if err := command.Wait(); command.ProcessState.ExitCode() != 1 {
			t.Errorf("exit code: %v", err)
		}
		var report doctor.Report
		if err := json.Unmarshal([]byte(stdout.String()), &report); err != nil {
			t.Fatal(err, stdout.String())
		}
		at := slices.IndexFunc(report.Checks, func(r doctor.Result) bool { return r.Check == "node-probe" })
		got := report.Checks[at]
		if got.Status != doctor.Fail || got.Found != "1 node of 3 (node-1): the cache at 169.254.20.10 does not answer: no answer within 2s" ||
			!strings.Contains(strings.Join(got.Items, "\n"), `(cordoned): "\x1b[31mnonsense" is not what a probe writes`) {
			t.Errorf("%s: %s %q", got.Status, got.Found, got.Items)
		}
		if left, err := p.pods(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%d pods are left: %v", len(left), err)
		}
	})
	t.Run("as many as are asked for, and Ctrl-C takes them away", func(t *testing.T) {
		command, _ := start(t, "--probe=2")
		wait(t, 2)
		if err := command.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); command.ProcessState.ExitCode() != 2 {
			t.Errorf("exit code: %v", err)
		}
		if left, err := p.pods(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%d pods are left: %v", len(left), err)
		}
	})
}
