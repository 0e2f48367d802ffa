//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
)

const operationsPage = repository + "/docs/operations.md"

// block is one block of commands of the page.
type block struct{ section, commands string }

var (
	fenced  = regexp.MustCompile("(?s)\\A```(sh|yaml)\n(.*?\n)```\n")
	heading = regexp.MustCompile(`^## (.*)$`)
)

// TestOperations runs every command of docs/operations.md, in its order, on the node, and looks at what each does to pods.
// A block without an expectation, and an expectation without a block, are errors.
func TestOperations(t *testing.T) {
	page, err := os.ReadFile(operationsPage)
	if err != nil {
		t.Fatal(err)
	}
	blocks, values := parsePage(t, string(page))
	dir := t.TempDir()
	charts, err := filepath.Abs(filepath.Dir(chartFolder))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(charts, filepath.Join(dir, "charts")); err != nil {
		t.Fatal(err)
	}
	// The page's values, on this cluster: its API server's name, no registry, and an eye on missed pods all the time.
	values = strings.ReplaceAll(values, "api.prod.example.com", node.APIServerName) + "image: {pullPolicy: Never}\n"
	if err := os.WriteFile(filepath.Join(dir, "my-values.yaml"), []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}

	o := &operator{dir: dir}
	steps := o.steps()
	if len(blocks) != len(steps) {
		t.Fatalf("the page has %d blocks of commands, the test expects %d", len(blocks), len(steps))
	}
	for i, step := range steps {
		if blocks[i].section != step.section {
			t.Fatalf("block %d is in section %q, the test expects %q", i+1, blocks[i].section, step.section)
		}
		if step.before != nil {
			step.before(t)
		}
		output, code := o.run(t, blocks[i].commands)
		t.Logf("## %s (exit code %d)\n%s", step.section, code, output)
		if code != step.exit {
			t.Fatalf("%s: exit code %d, want %d\n%s", step.section, code, step.exit, suite.webhookLogs(t.Context()))
		}
		if step.after != nil {
			step.after(t, output)
		}
		if t.Failed() {
			t.FailNow() // what follows builds on it
		}
	}
}

// parsePage returns the blocks of commands with their sections, and the values file that the page shows.
func parsePage(t *testing.T, page string) (blocks []block, values string) {
	t.Helper()
	section := ""
	for rest := page; rest != ""; {
		if match := fenced.FindStringSubmatch(rest); match != nil {
			if match[1] == "sh" {
				blocks = append(blocks, block{section, match[2]})
			} else {
				values += match[2]
			}
			rest = rest[len(match[0]):]
			continue
		}
		line, after, _ := strings.Cut(rest, "\n")
		if match := heading.FindStringSubmatch(line); match != nil {
			section = match[1]
		}
		rest = after
	}
	if values == "" {
		t.Fatal("the page shows no values file")
	}
	return blocks, values
}

// operator carries out the page.
type operator struct {
	dir      string
	tenth    []string // workloads that 10 % selects
	replicas []string // names of the pods of Shorthop
	load     *load
	endLoad  context.CancelFunc
}

// operation is what a block of commands is expected to do.
type operation struct {
	section string
	// before prepares what the section is about.
	before func(*testing.T)
	exit   int
	// after looks at what the commands did and printed.
	after func(t *testing.T, output string)
}

// workloads are as many as a share of them can be told.
const workloads = 100

func (o *operator) steps() []operation {
	return []operation{
		{section: "Install without effect", after: func(t *testing.T, _ string) {
			o.wantInjected(t, 0)
		}},
		{section: "Look at it", after: func(t *testing.T, output string) {
			if strings.Contains(output, "fail ") || !strings.Contains(output, "pass     policy") {
				t.Errorf("doctor is not content with a new installation")
			}
		}},
		{section: "Look at it", after: func(t *testing.T, output string) {
			if !strings.Contains(output, `action="dry_run",feature="dns",reason="enabled_by_policy"`) {
				t.Errorf("the metrics do not show what would be done")
			}
		}},
		{section: "Begin with a tenth", after: func(t *testing.T, _ string) {
			o.waitPolicy(t)
			o.tenth = o.injected(t)
			if n := len(o.tenth); n == 0 || n > workloads/4 {
				t.Errorf("%d of %d workloads are injected, which is not about 10 %%", n, workloads)
			}
		}},
		{section: "Go all the way", after: func(t *testing.T, _ string) {
			o.waitPolicy(t)
			o.wantInjected(t, workloads)
			o.replicas = o.replicaNames(t)
		}},
		{section: "Audit after an outage", before: o.outage, exit: 1, after: func(t *testing.T, output string) {
			if !strings.Contains(output, "missed") || !strings.Contains(output, "kubectl -n default rollout restart deployment/missed") &&
				!strings.Contains(output, "rollout restart deployment/missed") {
				t.Errorf("audit does not name the Deployment that was created meanwhile, with the command that restarts it")
			}
			if strings.Contains(output, "deployment/injected") {
				t.Errorf("audit names a Deployment that was injected")
			}
		}},
		{section: "Stop everything", after: func(t *testing.T, _ string) {
			o.soon(t, "no pod is injected", func() bool { return len(o.injected(t)) == 0 })
		}},
		{section: "Stop everything", after: func(t *testing.T, _ string) { // test/chart has the conflict
			o.soon(t, "no pod is injected", func() bool { return len(o.injected(t)) == 0 })
		}},
		{section: "Start again", after: func(t *testing.T, _ string) {
			o.waitPolicy(t)
			o.wantInjected(t, workloads)
		}},
		{section: "Stop one feature", after: func(t *testing.T, _ string) {
			o.waitPolicy(t)
			o.wantFeatures(t, true, false)
		}},
		{section: "Stop one feature", after: func(t *testing.T, _ string) {
			o.waitPolicy(t)
			o.wantFeatures(t, true, true)
		}},
		{section: "Keep one namespace out", after: func(t *testing.T, _ string) {
			o.soon(t, "no pod is injected", func() bool { return len(o.injected(t)) == 0 })
		}},
		{section: "Keep one namespace out", after: func(t *testing.T, _ string) {
			o.soon(t, "pods are injected again", func() bool { return len(o.injected(t)) == workloads })
		}},
		{section: "Rotate the CA", after: func(t *testing.T, _ string) {
			o.soon(t, "there is a new CA", func() bool {
				secret, err := suite.client.CoreV1().Secrets(releaseNamespace).Get(t.Context(), "shorthop-ca", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return len(secret.Data["tls.crt"]) > 0
			})
			o.wantInjected(t, workloads)
			// Nothing of the above has restarted a replica.
			if got := o.replicaNames(t); !slices.Equal(got, o.replicas) {
				t.Errorf("the replicas are %v, and were %v", got, o.replicas)
			}
		}},
		{section: "Upgrade", after: func(t *testing.T, _ string) {
			o.wantInjected(t, workloads)
		}},
		{section: "Change where certificates come from", before: o.ownCertificate, after: func(t *testing.T, _ string) {
			o.soon(t, "the old replicas are gone", func() bool {
				now := o.replicaNames(t)
				return len(now) == 2 && !slices.ContainsFunc(now, func(name string) bool { return slices.Contains(o.replicas, name) })
			})
		}},
		{section: "Change where certificates come from", after: func(t *testing.T, _ string) {
			o.wantInjected(t, workloads)
			o.endLoad()
			o.load.wait()
			created, injected := o.load.created.Load(), o.load.injected.Load()
			t.Logf("since before the change: pods created %d, injected %d, missed %d", created, injected, created-injected)
			if created == 0 || created != injected {
				t.Errorf("of %d pods, %d came out injected", created, injected)
			}
		}},
		{section: "Uninstall"},
		{section: "Uninstall", after: func(t *testing.T, _ string) {
			o.soon(t, "no pod is injected", func() bool { return len(o.injected(t)) == 0 })
		}},
	}
}

// run runs commands as a person would, with the programs that are under test.
func (o *operator) run(t *testing.T, commands string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	bin, err := filepath.Abs(repository + "/bin")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(),
		"PATH="+strings.Join([]string{bin, filepath.Dir(os.Getenv("HELM")), suite.node.Binaries(), os.Getenv("PATH")}, ":"),
		"KUBECONFIG="+suite.node.Kubeconfig,
		"HOME="+o.dir,
	)
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// injected asks for a pod of each workload, as a dry run, and returns the workloads whose pod came back injected.
func (o *operator) injected(t *testing.T) []string {
	t.Helper()
	var names []string
	for i := range workloads {
		pod := suite.pod("default", images.Musl, "pause")
		pod.GenerateName = fmt.Sprintf("workload-%d-", i)
		created, err := suite.client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatalf("asking for a pod: %v", err)
		}
		if created.Annotations[policy.AnnotationInjected] != "" {
			names = append(names, pod.GenerateName)
		}
	}
	return names
}

func (o *operator) wantInjected(t *testing.T, want int) {
	t.Helper()
	got := o.injected(t)
	if len(got) != want {
		t.Errorf("pods of %d workloads are injected, want %d", len(got), want)
	}
	for _, name := range o.tenth {
		if want == workloads && !slices.Contains(got, name) {
			t.Errorf("%s was selected at 10 %% and is not any more", name)
		}
	}
}

func (o *operator) wantFeatures(t *testing.T, serviceHost, dns bool) {
	t.Helper()
	created, err := suite.client.CoreV1().Pods("default").Create(t.Context(), suite.pod("default", images.Musl, "pause"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatalf("asking for a pod: %v", err)
	}
	env := created.Spec.Containers[0].Env
	if got := len(env) == 1 && env[0].Name == "KUBERNETES_SERVICE_HOST"; got != serviceHost {
		t.Errorf("the service host is injected: %t, want %t", got, serviceHost)
	}
	if got := created.Spec.DNSConfig != nil; got != dns {
		t.Errorf("DNS is injected: %t, want %t", got, dns)
	}
}

// waitPolicy waits until all replicas have loaded what the ConfigMap says, as doctor sees it.
func (o *operator) waitPolicy(t *testing.T) {
	t.Helper()
	o.soon(t, "every replica has the policy of the ConfigMap", func() bool {
		output, _ := o.run(t, "kubectl-shorthop doctor -o json")
		var report struct {
			Checks []struct{ Check, Status string }
		}
		if err := json.Unmarshal([]byte(output), &report); err != nil {
			t.Fatalf("what doctor prints: %v\n%s", err, output)
		}
		for _, check := range report.Checks {
			if check.Check == "policy" {
				return check.Status == "pass"
			}
		}
		return false
	})
}

// soon waits for a condition.
func (o *operator) soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, 3*time.Minute, true,
		func(context.Context) (bool, error) { return holds(), nil }); err != nil {
		t.Fatalf("it does not come to that: %s (%v)\n%s", what, err, suite.webhookLogs(t.Context()))
	}
}

func (o *operator) replicaNames(t *testing.T) []string {
	t.Helper()
	pods, err := suite.client.CoreV1().Pods(releaseNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range pods.Items {
		names = append(names, pods.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// outage creates one Deployment while Shorthop works, and one while it does not.
func (o *operator) outage(t *testing.T) {
	t.Helper()
	o.createDeployment(t, "injected")
	o.scale(t, 0)
	o.createDeployment(t, "missed")
	o.scale(t, 2)
}

// ownCertificate brings a certificate and the CA that has signed it, and creates pods from now on.
func (o *operator) ownCertificate(t *testing.T) {
	t.Helper()
	ca, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	pair := t.TempDir()
	if err := ca.WriteServingCert(pair, release+"."+releaseNamespace+".svc"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "ca.crt"), ca.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := fmt.Sprintf("kubectl create secret tls shorthop-provided --namespace %s --cert %s/tls.crt --key %[2]s/tls.key", releaseNamespace, pair)
	if output, code := o.run(t, commands); code != 0 {
		t.Fatalf("creating the Secret: %s", output)
	}
	o.replicas = o.replicaNames(t)
	var ctx context.Context
	ctx, o.endLoad = context.WithCancel(t.Context())
	o.load = startLoad(ctx, t)
}

func (o *operator) scale(t *testing.T, replicas int) {
	t.Helper()
	commands := fmt.Sprintf("kubectl scale deployment/shorthop -n %s --replicas %d && kubectl rollout status deployment/shorthop -n %[1]s", releaseNamespace, replicas)
	if output, code := o.run(t, commands); code != 0 {
		t.Fatalf("scaling to %d: %s", replicas, output)
	}
	o.soon(t, fmt.Sprintf("%d replicas", replicas), func() bool { return len(o.replicaNames(t)) == replicas })
	o.replicas = o.replicaNames(t)
}

func (o *operator) createDeployment(t *testing.T, name string) {
	t.Helper()
	pod := suite.pod("default", images.Musl, "pause")
	labels := map[string]string{"app": name}
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	manifest := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": name, "namespace": "default"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": pod.Spec},
		},
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.dir, name+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = suite.client.AppsV1().Deployments("default").Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	if output, code := o.run(t, "kubectl apply -f "+file+" && kubectl rollout status deployment/"+name+" -n default"); code != 0 {
		t.Fatalf("creating Deployment %s: %s", name, output)
	}
}
