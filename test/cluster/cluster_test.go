package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// The tests of this file run one after the other: they look for leftovers of the whole process.

func TestClusterServesPodsAndLeavesNothingBehind(t *testing.T) {
	clustertest.NotShort(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	auditLog := filepath.Join(t.TempDir(), "audit.log")
	ctx := t.Context()

	began := time.Now()
	c, err := cluster.Start(ctx, cluster.Options{
		AuditLog:      auditLog,
		APIServerArgs: map[string][]string{"profiling": {"false"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop() // for a test that fails half way; stopping twice is harmless
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))

	if got := len(children(t)); got != 2 {
		t.Errorf("%d child processes, want etcd and kube-apiserver", got)
	}
	if err := c.CreateNamespace(ctx, "team-a", map[string]string{"team": "a"}); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"default", "team-a"} {
		pod, err := createDryRun(ctx, c.Client, namespace)
		if err != nil {
			t.Fatal(err)
		}
		if len(pod.Spec.Volumes) != 1 {
			t.Errorf("pod in %s has volumes %v, want the token of its service account", namespace, pod.Spec.Volumes)
		}
	}
	checkKubeconfig(t, c.Kubeconfig())

	t.Run("a registered webhook is called", func(t *testing.T) { checkWebhookIsCalled(t, c) })

	began = time.Now()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
	checkNothingLeft(t, tmp)
	if err := c.Stop(); err != nil {
		t.Errorf("stopping a second time: %v", err)
	}

	events := testfile.Read(t, auditLog)
	if !strings.Contains(string(events), `"requestObject"`) {
		t.Errorf("the audit log has no request body:\n%.500s", events)
	}
}

// checkWebhookIsCalled registers a webhook that nobody serves, first so that pods are rejected and then, under the same
// name, so that they are not.
func checkWebhookIsCalled(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx := t.Context()
	for _, policy := range []admissionregistrationv1.FailurePolicyType{
		admissionregistrationv1.Fail, admissionregistrationv1.Ignore,
	} {
		if err := cluster.RegisterWebhook(ctx, c.Client, unreachableWebhook(policy)); err != nil {
			t.Fatal(err)
		}
		if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
			_, err := createDryRun(ctx, c.Client, "team-a")
			rejected := err != nil
			return rejected == (policy == admissionregistrationv1.Fail), nil
		}); err != nil {
			t.Errorf("failurePolicy %s: %v", policy, err)
		}
	}
}

func TestClusterStartThatFailsLeavesNothingBehind(t *testing.T) {
	clustertest.NotShort(t)
	t.Run("ctx is cancelled before the start", func(t *testing.T) {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := cluster.Start(ctx, cluster.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		checkNothingLeft(t, tmp)
	})
	t.Run("ctx is cancelled during the start", func(t *testing.T) {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil && len(children(t)) == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		}()
		if _, err := cluster.Start(ctx, cluster.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		checkNothingLeft(t, tmp)
	})
	t.Run("kube-apiserver refuses a flag", func(t *testing.T) {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		_, err := cluster.Start(t.Context(), cluster.Options{
			APIServerArgs: map[string][]string{"no-such-flag": {"1"}},
		})
		if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
			t.Errorf("got %v, want what kube-apiserver said", err)
		}
		checkNothingLeft(t, tmp)
	})
	t.Run("there are no binaries", func(t *testing.T) {
		_, err := cluster.Start(t.Context(), cluster.Options{BinaryAssetsDirectory: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "run make control-plane first") {
			t.Errorf("got %v, want what to do about it", err)
		}
	})
}

func createDryRun(ctx context.Context, client kubernetes.Interface, namespace string) (*corev1.Pod, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	return client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func unreachableWebhook(policy admissionregistrationv1.FailurePolicyType) *admissionregistrationv1.MutatingWebhookConfiguration {
	url, sideEffects := "https://127.0.0.1:1/", admissionregistrationv1.SideEffectClassNone
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "unreachable"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "unreachable.example.com",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url},
			FailurePolicy:           &policy,
			SideEffects:             &sideEffects,
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
				},
			}},
		}},
	}
}

func checkKubeconfig(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("the kubeconfig has mode %o, want 600: it holds the administrator's key", got)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("using the kubeconfig: %v", err)
	}
}

func checkNothingLeft(t *testing.T, tmp string) {
	t.Helper()
	if left := children(t); len(left) > 0 {
		t.Errorf("child processes left: %v", left)
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left in the temporary folder: %s", entry.Name())
	}
}

// children returns the names of this process's child processes, by their ids. The ones that have ended but have not been
// waited for count as well.
func children(t *testing.T) map[int]string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("cannot list processes, which these tests do through /proc: %v", err)
	}
	found := map[int]string{}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		// "PID (NAME) STATE PPID ...", and NAME may hold anything, parentheses included.
		stat := string(content)
		first, last := strings.Index(stat, "("), strings.LastIndex(stat, ")")
		fields := strings.Fields(stat[last+1:])
		if fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(stat[:first]))
		if err != nil {
			t.Errorf("reading %s: %v", path, err)
		}
		found[pid] = stat[first+1 : last]
	}
	return found
}
