package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// document is a policy by which a pod shows whether the labels of its namespace were known: ndots is 1 with the label
// team=search, and 2 without.
const document = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: faults}
spec:
  dns: {ndots: 2}
  rules:
  - name: search
    match: {namespaceSelector: {matchLabels: {team: search}}}
    dns: {ndots: 1}
`

// simple is a policy that needs no access to the API server.
const simple = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: faults}
spec:
  dns: {ndots: 2}
`

// server is a running webhook.
type server struct {
	*testing.T
	*cluster.Webhook
	policy, certDir string
	ca              *cluster.CA
	roots           *x509.CertPool
}

// newServer prepares the files of a server that is not started yet.
func newServer(t *testing.T, document string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{T: t, policy: filepath.Join(dir, "policy.yaml"), certDir: filepath.Join(dir, "tls"), roots: x509.NewCertPool()}
	s.write(s.policy, document)
	s.ca = clustertest.CA(t)
	s.roots.AppendCertsFromPEM(s.ca.Bundle())
	s.sign()
	return s
}

// sign writes a new serving certificate.
func (s *server) sign() {
	s.Helper()
	if err := s.ca.WriteServingCert(s.certDir, "127.0.0.1"); err != nil {
		s.Fatal(err)
	}
}

func (s *server) write(path, content string) {
	s.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
}

// start starts it until the end of the test. The kubeconfig may be empty: then it has no access to the API server.
func (s *server) start(kubeconfig string, args ...string) {
	s.Helper()
	s.startAs(program, kubeconfig, args...)
}

// startAs starts another program, which is to become the webhook.
func (s *server) startAs(binary, kubeconfig string, args ...string) {
	s.Helper()
	webhook := clustertest.Webhook(s, cluster.WebhookOptions{
		Binary: binary, Policy: s.policy, CertDir: s.certDir, Kubeconfig: kubeconfig, ReadyTimeout: hang,
		Args: append([]string{"--own-namespace", "shorthop", "--shutdown-delay", "0s"}, args...),
	})
	s.Webhook = webhook
}

// running returns a server that runs. The kubeconfig may be empty.
func running(t *testing.T, document, kubeconfig string, args ...string) *server {
	t.Helper()
	s := newServer(t, document)
	s.start(kubeconfig, args...)
	return s
}

func (s *server) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.URL, "https://"), webhookconfig.Path)
}

// client has a connection of its own, which is kept, and speaks HTTP/2 as API servers do.
func (s *server) client() *http.Client {
	return &http.Client{Timeout: hang, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
	}}
}

// reviewOf is a review of the smallest pod.
func reviewOf(uid, namespace string) string {
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":%q,
"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","namespace":%q,
"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"dnsPolicy":"ClusterFirst","containers":[{"name":"web","image":"web"}]}}}}`, uid, namespace)
}

// post sends a body and returns what the answer is, which is an error unless it is a review that allows the pod.
func (s *server) post(ctx context.Context, client *http.Client, body string) (*admissionv1.AdmissionResponse, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{response.StatusCode, string(content)}
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(content, &review); err != nil {
		return nil, fmt.Errorf("%w: %s", err, content)
	}
	if review.Response == nil || !review.Response.Allowed {
		return nil, fmt.Errorf("the pod is not allowed: %s", content)
	}
	return review.Response, nil
}

// statusError is an answer that is no review.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// ndots reviews a pod of the namespace and returns the ndots that it gets; 0 without a patch, and then with the warnings.
func (s *server) ndots(client *http.Client, namespace string) (ndots int, warnings []string, err error) {
	answer, err := s.post(s.Context(), client, reviewOf("1", namespace))
	if err != nil {
		return 0, nil, err
	}
	return ndotsIn(answer.Patch), answer.Warnings, nil
}

// ndotsIn finds the option in a patch.
func ndotsIn(patch []byte) int {
	_, after, found := bytes.Cut(patch, []byte(`"name":"ndots","value":"`))
	if !found {
		return 0
	}
	text, _, _ := bytes.Cut(after, []byte(`"`))
	n, _ := strconv.Atoi(string(text))
	return n
}

// mustReview reviews that many pods of a namespace, each of which must get that ndots.
func (s *server) mustReview(client *http.Client, n int, namespace string, want int) {
	s.Helper()
	for i := range n {
		got, warnings, err := s.ndots(client, namespace)
		if err != nil || got != want {
			s.Fatalf("review %d of %d of namespace %s: ndots %d, want %d, warnings %q, error %v", i+1, n, namespace, got, want, warnings, err)
		}
	}
}

// metric returns the sum of a metric over all labels, 0 where it is not there.
func (s *server) metric(name string) (sum float64) {
	s.Helper()
	status, body := s.get(s.MetricsURL)
	if status != http.StatusOK {
		s.Fatalf("/metrics: status %d", status)
	}
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), name)
		if !found || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			s.Fatal(err)
		}
		sum += value
	}
	return sum
}

// ready checks the readiness probe.
func (s *server) ready() {
	s.Helper()
	if status, body := s.get(s.HealthURL + "/readyz"); status != http.StatusOK {
		s.Errorf("not ready: %d %s", status, body)
	}
}

func (s *server) get(url string) (status int, body string) {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		s.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// memory returns what the process has in RAM that is its own, in MiB, and the most that it ever had, its program included.
func (s *server) memory() (anonymous, peak float64) {
	s.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*float64{"RssAnon": &anonymous, "VmHWM": &peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			s.Fatal(err)
		}
		*into = kib / 1024
	}
	return anonymous, peak
}

// namespaceLabel selects the namespaces of a server's webhook configuration.
const namespaceLabel = "example.com/faults"

// namespace creates a namespace whose pods are reviewed once the server is registered under the name.
func namespace(t *testing.T, name, registered string, labels ...string) {
	t.Helper()
	all := map[string]string{namespaceLabel: registered}
	for i := 0; i < len(labels); i += 2 {
		all[labels[i]] = labels[i+1]
	}
	if err := shared.CreateNamespace(t.Context(), name, all); err != nil {
		t.Fatal(err)
	}
}

// label changes a label of a namespace.
func label(t *testing.T, namespace, key, value string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value)
	if _, err := shared.Client.CoreV1().Namespaces().Patch(t.Context(), namespace, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// register lets the API server call a server for the namespaces of that name until the end of the test.
func (s *server) register(name string, change ...func(*registrationv1.MutatingWebhook)) {
	s.Helper()
	content, err := os.ReadFile(s.policy)
	if err != nil {
		s.Fatal(err)
	}
	parsed, err := policy.Parse(content)
	if err != nil {
		s.Fatal(err)
	}
	config := webhookconfig.New(parsed, webhookconfig.Options{
		Name: name, OwnNamespace: "shorthop", URL: "https://" + s.address(), CABundle: s.ca.Bundle(),
	})
	for i := range config.Webhooks {
		webhook := &config.Webhooks[i]
		webhook.NamespaceSelector.MatchLabels = map[string]string{namespaceLabel: name}
		// What is late because the machine is busy has not failed.
		webhook.TimeoutSeconds = new(int32(20))
		for _, change := range change {
			change(webhook)
		}
	}
	if err := cluster.RegisterWebhook(s.Context(), shared.Client, config); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		// The test's context has ended by now.
		_ = shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.WithoutCancel(s.Context()), name, metav1.DeleteOptions{})
	})
}

// create creates a pod for good.
func create(ctx context.Context, namespace string) (*corev1.Pod, error) {
	return shared.Client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web"}}},
	}, metav1.CreateOptions{})
}

// injected waits until pods of a namespace are injected.
func injected(t *testing.T, namespace string) {
	t.Helper()
	clustertest.Eventually(t, "pods of namespace "+namespace+" are injected", func() bool {
		pod, err := create(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		return isInjected(pod)
	})
}

func isInjected(pod *corev1.Pod) bool { return pod.Annotations[policy.AnnotationInjected] != "" }

var errNotInjected = errors.New("a pod is created, and not injected")
