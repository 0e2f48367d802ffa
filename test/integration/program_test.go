package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	// The tests build the programs from source. `go test` must know what they are built from, or it would show the cached
	// result of an older build.
	_ "github.com/shorthop/shorthop/internal/app"
	_ "github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// The programs of this repository, built on first use.
var (
	webhookProgram = sync.OnceValues(func() (string, error) { return build("webhook") })
	kubectlProgram = sync.OnceValues(func() (string, error) { return build("kubectl-shorthop") })
)

// build compiles a program as `make build` does, so that what that has compiled is used again.
func build(name string) (path string, err error) {
	path = filepath.Join(programs, name)
	command := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/shorthop/shorthop/cmd/"+name)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s (make build shows the same): %w\n%s", name, err, output)
	}
	return path, nil
}

// process is the real webhook, running.
type process struct {
	*cluster.Webhook
	endpoint
}

// startWebhook runs the webhook with access to the API server until the end of the test.
func (s *scope) startWebhook(policyFile string, args ...string) *process {
	s.t.Helper()
	program, err := webhookProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	ca := clustertest.CA(s.t)
	certDir := s.t.TempDir()
	if err := ca.WriteServingCert(certDir, "127.0.0.1"); err != nil {
		s.t.Fatal(err)
	}
	webhook := clustertest.Webhook(s.t, cluster.WebhookOptions{
		Binary: program, Policy: policyFile, CertDir: certDir, Kubeconfig: shared.Kubeconfig(),
		Args: append([]string{"--own-namespace", ownNamespace, "--shutdown-delay", "0s"}, args...),
	})
	return &process{
		Webhook:  webhook,
		endpoint: endpoint{strings.TrimSuffix(webhook.URL, webhookconfig.Path), ca.Bundle()},
	}
}

// metric returns the value of a metric without labels, or with the labels as the text format writes them.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body := get(t, p.MetricsURL)
	for line := range strings.Lines(body) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), name+" "); found {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// reviews returns how many reviews the webhook has answered.
func (p *process) reviews(t *testing.T) float64 {
	t.Helper()
	return p.metric(t, "shorthop_review_duration_seconds_count")
}

// isReady reports whether the readiness probe would succeed.
func (p *process) isReady(t *testing.T) bool {
	t.Helper()
	status, _ := get(t, p.HealthURL+"/readyz")
	return status == http.StatusOK
}

// get reads one of our pages, also when the test is ending. The status is 0 where nobody answers.
func get(t *testing.T, address string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// kubectl runs kubectl-shorthop.
func kubectl(t *testing.T, args ...string) (stdout, stderr []byte, code int) {
	t.Helper()
	program, err := kubectlProgram()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	command := exec.CommandContext(t.Context(), program, args...)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		if _, failed := errors.AsType[*exec.ExitError](err); !failed {
			t.Fatal(err)
		}
	}
	return out.Bytes(), errs.Bytes(), command.ProcessState.ExitCode()
}

// runAsPod makes a process one of the cluster's pods, on a node of its own, so that it can be asked through the API server.
func runAsPod(t *testing.T, c *cluster.Cluster, kubelet *forwardingKubelet, webhook *cluster.Webhook, pod *corev1.Pod) {
	t.Helper()
	ctx, core := t.Context(), c.Client.CoreV1()
	kubelet.addresses.Store(pod.Name+":9443", strings.TrimPrefix(strings.TrimSuffix(webhook.URL, webhookconfig.Path), "https://"))
	kubelet.addresses.Store(pod.Name+":8081", strings.TrimPrefix(webhook.HealthURL, "http://"))
	node, err := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-of-" + pod.Name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = kubelet.port
	must[*corev1.Node](t)(core.Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}))
	pod.Labels, pod.Spec.NodeName = map[string]string{"app.kubernetes.io/name": "shorthop"}, node.Name
	if pod, err = core.Pods(doctorNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	must[*corev1.Pod](t)(core.Pods(doctorNamespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}))
}
