package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/shorthop/shorthop/internal/app"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// hang guards against tests that never end; nothing is expected to take that
// long.
const hang = clustertest.Hang

// The tests of this file send signals to their own process, so they are not
// parallel, and the process must survive a signal that comes at a time when
// nobody waits for it.
func TestMain(m *testing.M) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	os.Exit(m.Run())
}

func terminate(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// webhook is an app that runs in this process.
type webhook struct {
	*testing.T
	policy                   string
	certDir                  string
	reviews, metrics, health string
	roots                    *x509.CertPool
	stderr                   cluster.LogBuffer
	code                     chan int
}

const examplePolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: first}
spec:
  serviceHost: {host: api.example.com}
`

// newWebhook prepares files and addresses.
func newWebhook(t *testing.T, document string) *webhook {
	t.Helper()
	dir, addresses := t.TempDir(), clustertest.FreeAddresses(t, 3)
	w := &webhook{
		T: t, policy: filepath.Join(dir, "policy.yaml"), certDir: filepath.Join(dir, "tls"),
		reviews: addresses[0], metrics: addresses[1], health: addresses[2],
		roots: x509.NewCertPool(), code: make(chan int, 1),
	}
	bundle, err := cluster.ServingCert(w.certDir, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w.roots.AppendCertsFromPEM(bundle)
	w.write(document)
	return w
}

func (w *webhook) write(document string) {
	w.Helper()
	if err := os.WriteFile(w.policy, []byte(document), 0o600); err != nil {
		w.Fatal(err)
	}
}

// args are the flags, the last of them win.
func (w *webhook) args(more ...string) []string {
	return append([]string{
		"--policy", w.policy, "--cert-dir", w.certDir, "--bind-address", w.reviews,
		"--metrics-bind-address", w.metrics, "--health-probe-bind-address", w.health, "--own-namespace=shorthop-system",
	}, more...)
}

// start runs the app.
func (w *webhook) start(more ...string) {
	w.Helper()
	go func() { w.code <- app.Main(w.args(more...), io.Discard, &w.stderr) }()
	w.Cleanup(func() {
		if w.Failed() {
			w.Logf("the app's log:\n%s", &w.stderr)
		}
	})
}

// ready waits until the app is ready.
func (w *webhook) ready() {
	w.Helper()
	clustertest.Eventually(w, "the app is ready", func() bool {
		status, _ := w.get(w.health, "/readyz")
		return status == http.StatusOK
	})
}

// ended waits for the exit code.
func (w *webhook) ended(want int) {
	w.Helper()
	select {
	case got := <-w.code:
		if got != want {
			w.Errorf("exit code %d, want %d", got, want)
		}
	case <-time.After(hang):
		w.Fatal("the app does not end")
	}
}

// get returns status 0 where there is no answer.
func (w *webhook) get(address, path string) (status int, body string) {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hang}
	response, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		w.Error(err)
	}
	return response.StatusCode, string(content)
}

// client is for HTTPS, with a connection for each request.
func (w *webhook) client() *http.Client {
	return &http.Client{Timeout: hang, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12},
	}}
}

func reviewOf(namespace string) string {
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",
"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","namespace":%q,
"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"dnsPolicy":"ClusterFirst","containers":[{"name":"web","image":"web"}]}}}}`, namespace)
}

// review sends a pod of the namespace over a new connection and returns the
// patch, empty where there is none.
func (w *webhook) review(namespace string) (patch string) {
	w.Helper()
	response, err := w.client().Post("https://"+w.reviews+"/mutate-v1-pod", "application/json", strings.NewReader(reviewOf(namespace)))
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	return w.patchIn(response)
}

func (w *webhook) patchIn(response *http.Response) string {
	w.Helper()
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		w.Fatalf("status %d: %v", response.StatusCode, err)
	}
	if answer.Response == nil || !answer.Response.Allowed || answer.Response.UID != "1" {
		w.Fatalf("answer %+v", answer.Response)
	}
	return string(answer.Response.Patch)
}

func TestServeWithoutACluster(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	w.start("--cluster-access=false", "--shutdown-delay=0s")
	w.ready()

	if patch := w.review("default"); !strings.Contains(patch, "api.example.com") {
		t.Errorf("patch %q", patch)
	}
	if patch := w.review("shorthop-system"); patch != "" {
		t.Errorf("a pod of our own namespace gets patch %q", patch)
	}
	for path, want := range map[string]string{
		"/healthz":      "ok",
		"/readyz":       "[+]certificate ok\n[+]policy ok\n[+]namespaces ok\n[+]webhook ok\n[+]shutdown ok\n",
		"/debug/policy": `"name": "first"`,
	} {
		if status, body := w.get(w.health, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, want %q in\n%s", path, status, want, body)
		}
	}
	metrics := func(lines ...string) bool {
		status, body := w.get(w.metrics, "/metrics")
		if status != http.StatusOK {
			t.Fatalf("/metrics: status %d\n%s", status, body)
		}
		for _, line := range lines {
			if !strings.Contains(body, "\n"+line) {
				return false
			}
		}
		return true
	}
	if !metrics(
		"shorthop_policy_last_reload_successful 1",
		"shorthop_serving_cert_not_after_timestamp_seconds ",
		"shorthop_review_duration_seconds_count ",
		"certwatcher_read_certificate_total ",
		"go_goroutines ", "process_open_fds ",
	) {
		_, body := w.get(w.metrics, "/metrics")
		t.Errorf("a metric is missing:\n%s", body)
	}

	if _, body := w.get(w.metrics, "/metrics"); strings.Contains(body, "controller_runtime_webhook_") {
		t.Error("controller-runtime counts handlers that are not ours, and says that all is well")
	}

	// A client that knows only HTTP/1.1.
	if conn, err := tls.Dial("tcp", w.reviews, &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}

	// A broken policy, and one that needs the cluster, change nothing.
	for refused, why := range map[string]string{"garbage": "not a policy", examplePolicy + "  dns: {mode: NodeLocal}\n": "spec.cluster.domain"} {
		w.write(refused)
		clustertest.Eventually(w, "the policy is refused", func() bool { return strings.Contains(w.stderr.String(), why) })
		if !metrics("shorthop_policy_last_reload_successful 0") {
			t.Error("that the policy is refused is no metric")
		}
		if patch := w.review("default"); !strings.Contains(patch, "api.example.com") {
			t.Errorf("under a policy that is refused: patch %q", patch)
		}
	}
	w.write(strings.ReplaceAll(examplePolicy, "api.example.com", "new.example.com"))
	clustertest.Eventually(w, "a new policy is in force", func() bool { return strings.Contains(w.review("default"), "new.example.com") })
	if !metrics("shorthop_policy_last_reload_successful 1") {
		t.Error("that the policy is good again is no metric")
	}
	terminate(t)
	w.ended(0)
}

func TestEveryLogLineIsJSON(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	w.start("--cluster-access=false", "--shutdown-delay=0s", "--log-level=debug")
	w.ready()
	// net/http logs this to the standard logger.
	if conn, err := tls.Dial("tcp", w.reviews, &tls.Config{MinVersion: tls.VersionTLS12}); err == nil {
		conn.Close()
		t.Fatal("a client trusts an unknown CA")
	}
	clustertest.Eventually(w, "the failed handshake is logged", func() bool { return strings.Contains(w.stderr.String(), "TLS handshake error") })
	terminate(t)
	w.ended(0)
	for line := range strings.Lines(w.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestShutdownServesDuringTheDelay(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	w.start("--cluster-access=false", "--shutdown-delay=1h")
	w.ready()
	terminate(t)
	clustertest.Eventually(w, "readiness is false", func() bool {
		status, body := w.get(w.health, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "[-]shutdown failed: the server is ending")
	})
	for range 5 {
		if patch := w.review("default"); !strings.Contains(patch, "api.example.com") {
			t.Errorf("patch %q", patch)
		}
	}
	if status, _ := w.get(w.health, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: status %d", status)
	}
	select {
	case code := <-w.code:
		t.Fatalf("ended with %d during the delay", code)
	default:
	}
	terminate(t) // the second one
	w.ended(2)
}

func TestShutdownFinishesRequestsInFlight(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	w.start("--cluster-access=false", "--shutdown-delay=10ms")
	w.ready()

	body := reviewOf("default")
	rest, upload := io.Pipe()
	request, err := http.NewRequest(http.MethodPost, "https://"+w.reviews+"/mutate-v1-pod", rest)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answered := make(chan string)
	go func() {
		defer close(answered)
		response, err := w.client().Do(request)
		if err != nil {
			t.Errorf("the request in flight: %v", err)
			return
		}
		defer response.Body.Close()
		answered <- w.patchIn(response)
	}()
	if _, err := io.WriteString(upload, body[:100]); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(w, "the request is in flight", func() bool {
		_, metrics := w.get(w.metrics, "/metrics")
		return strings.Contains(metrics, "shorthop_reviews_in_flight 1\n")
	})

	terminate(t)
	clustertest.Eventually(w, "no new connection is accepted", func() bool {
		conn, err := net.Dial("tcp", w.reviews)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	// What reports on us outlives the request.
	if status, _ := w.get(w.health, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: status %d", status)
	}
	if _, err := io.WriteString(upload, body[100:]); err != nil {
		t.Fatal(err)
	}
	upload.Close()
	if patch := <-answered; !strings.Contains(patch, "api.example.com") {
		t.Errorf("patch %q", patch)
	}
	w.ended(0)
}

func TestExitCodes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // not in a pod
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	offline := "--cluster-access=false"
	for name, test := range map[string]struct {
		document string
		args     []string
		code     int
		stderr   string
	}{
		"a wrong flag":                       {examplePolicy, []string{offline, "--log-level=loud"}, 1, "--log-level"},
		"no certificate":                     {examplePolicy, []string{offline, "--cert-dir=nowhere"}, 2, filepath.Join("nowhere", "tls.crt")},
		"no kubeconfig, and not in a pod":    {examplePolicy, nil, 2, "--cluster-access=false"},
		"a kubeconfig that is not there":     {examplePolicy, []string{"--kubeconfig=nowhere"}, 2, "nowhere"},
		"the address for reviews is taken":   {examplePolicy, []string{offline, "--bind-address=" + taken.Addr().String()}, 2, "serving reviews"},
		"the address for metrics is taken":   {examplePolicy, []string{offline, "--metrics-bind-address=" + taken.Addr().String()}, 2, "serving metrics"},
		"the address for probes is taken":    {examplePolicy, []string{offline, "--health-probe-bind-address=" + taken.Addr().String()}, 2, "serving health"},
		"an address that is not this host's": {examplePolicy, []string{offline, "--bind-address=192.0.2.1:9443"}, 2, "serving reviews"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWebhook(t, test.document)
			w.start(test.args...)
			w.ended(test.code)
			lines := strings.Split(strings.TrimSpace(w.stderr.String()), "\n")
			_, problem, found := strings.Cut(w.stderr.String(), "webhook: ")
			if !found || !strings.Contains(problem, test.stderr) {
				t.Errorf("want %q in the end of\n%s", test.stderr, strings.Join(lines, "\n"))
			}
		})
	}
}

// TestABrokenPolicyAtTheStart keeps the server up, not ready, and tells why, until the file is mended.
func TestABrokenPolicyAtTheStart(t *testing.T) {
	for name, test := range map[string]struct{ document, why string }{
		"a policy that is not there":       {"", "no such file"},
		"a policy with wrong values":       {examplePolicy + "  mode: Maybe\n  dns: {ndots: 99}\n", "spec.dns.ndots"},
		"a policy that needs the cluster":  {examplePolicy + "  dns: {mode: NodeLocal}\n", "spec.cluster.domain"},
		"a policy with an endless value":   {examplePolicy + "  mode: \"" + strings.Repeat("x", 10_000) + "\"\n", "spec.mode"},
		"a policy with control characters": {examplePolicy + "  mode: \"\\x1b[2J\"\n", "spec.mode"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWebhook(t, test.document)
			if test.document == "" {
				if err := os.Remove(w.policy); err != nil {
					t.Fatal(err)
				}
			}
			w.start("--cluster-access=false", "--shutdown-delay=0s")
			var ready string
			clustertest.Eventually(w, "it serves without a policy", func() (serves bool) {
				_, ready = w.get(w.health, "/readyz")
				return strings.Contains(ready, "[+]webhook ok")
			})
			status, _ := w.get(w.health, "/readyz")
			if why := "[-]policy failed: policy_invalid: "; status != http.StatusServiceUnavailable || !strings.Contains(ready, why) ||
				!strings.Contains(ready, test.why) || len(ready) > 1500 || strings.ContainsRune(ready, '\x1b') {
				t.Errorf("/readyz: status %d, want %q and %q in\n%s", status, why, test.why, ready)
			}
			if status, body := w.get(w.health, "/debug/policy"); status != http.StatusServiceUnavailable || !strings.Contains(body, test.why) {
				t.Errorf("/debug/policy: status %d\n%s", status, body)
			}
			response, err := w.client().Post("https://"+w.reviews+"/mutate-v1-pod", "application/json", strings.NewReader(reviewOf("default")))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" {
				t.Errorf("a review is answered with status %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
			}
			_, metrics := w.get(w.metrics, "/metrics")
			for _, want := range []string{"shorthop_policy_invalid 1", "shorthop_policy_last_reload_successful 0", `shorthop_errors_total{stage="policy_invalid"} 1`} {
				if !strings.Contains(metrics, "\n"+want+"\n") {
					t.Errorf("the metrics lack %s", want)
				}
			}
			w.write(examplePolicy)
			w.ready()
			if patch := w.review("default"); !strings.Contains(patch, "api.example.com") {
				t.Errorf("mended: patch %q", patch)
			}
			if _, metrics := w.get(w.metrics, "/metrics"); !strings.Contains(metrics, "\nshorthop_policy_invalid 0\n") {
				t.Error("the metrics do not tell that the policy is mended")
			}
			terminate(t)
			w.ended(0)
		})
	}
}

func TestServeInACluster(t *testing.T) {
	control := clustertest.Start(t, cluster.Options{})
	for name, labels := range map[string]map[string]string{"shop": {"team": "shop"}, "unhealthy": nil} {
		if err := control.CreateNamespace(t.Context(), name, labels); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := control.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	// Hosts that do not answer are not injected.
	w := newWebhook(t, strings.Replace(examplePolicy, "api.example.com", fmt.Sprintf("%q, port: %d", host, port), 1)+`  rules:
  - name: shop
    match: {namespaceSelector: {matchLabels: {team: shop}}}
    serviceHost: {host: localhost}
  - name: gone
    match: {namespaces: [unhealthy]}
    serviceHost: {host: api.example.com}
`)
	w.start("--kubeconfig", control.Kubeconfig(), "--shutdown-delay=0s", "--metrics-bind-address=0")
	w.ready()
	if patch := w.review("shop"); !strings.Contains(patch, "localhost") {
		t.Errorf("patch %q", patch)
	}
	if patch := w.review("default"); !strings.Contains(patch, host) {
		t.Errorf("patch %q", patch)
	}
	if patch := w.review("unhealthy"); patch != "" {
		t.Errorf("a host that does not exist is injected: patch %q", patch)
	}
	if patch := w.review("nowhere"); patch != "" {
		t.Errorf("a pod of an unknown namespace gets patch %q", patch)
	}
	if status, _ := w.get(w.metrics, "/metrics"); status != 0 {
		t.Errorf("disabled metrics answer with status %d", status)
	}
	terminate(t)
	w.ended(0)
}

func TestNotReadyWithoutTheAPIServer(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://%s"}}]
contexts: [{name: c, context: {cluster: c, user: ""}}]
current-context: c
`, clustertest.FreeAddresses(t, 1)[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start("--kubeconfig", kubeconfig, "--shutdown-delay=0s")
	clustertest.Eventually(w, "only the namespaces are missing", func() bool {
		status, body := w.get(w.health, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body,
			"[+]certificate ok\n[+]policy ok\n[-]namespaces failed: the namespaces have not been read yet\n[+]webhook ok\n[+]shutdown ok\n")
	})
	if status, _ := w.get(w.health, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: status %d", status)
	}
	if patch := w.review("default"); patch != "" {
		t.Errorf("a pod of an unknown namespace gets patch %q", patch)
	}
	terminate(t)
	w.ended(0)
}
