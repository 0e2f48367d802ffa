package integration_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	// The tests build the programs from source. `go test` must know what they are built from, or it would show the cached
	// result of an older build.
	_ "github.com/shorthop/shorthop/internal/app"
	_ "github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
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

// processes are the webhooks that run, so that none is left behind when the tests are interrupted.
var processes sync.Map // of *cluster.Webhook to nothing

func killProcesses() {
	processes.Range(func(process, _ any) bool {
		process.(*cluster.Webhook).Kill()
		return true
	})
}

// process is the real webhook, running.
type process struct {
	*cluster.Webhook
	endpoint
	// ca has signed what is in certDir.
	ca      *cluster.CA
	certDir string
}

// startWebhook runs the webhook with access to the API server until the end of the test.
func (s *scope) startWebhook(policyFile string, args ...string) *process {
	s.t.Helper()
	program, err := webhookProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	ca, err := cluster.NewCA()
	if err != nil {
		s.t.Fatal(err)
	}
	certDir := s.t.TempDir()
	if err := ca.WriteServingCert(certDir, "127.0.0.1"); err != nil {
		s.t.Fatal(err)
	}
	webhook, err := cluster.StartProcess(s.t.Context(), cluster.WebhookOptions{
		Binary: program, Policy: policyFile, CertDir: certDir, Kubeconfig: shared.Kubeconfig(),
		Args: append([]string{"--own-namespace", ownNamespace, "--shutdown-delay", "0s"}, args...),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	processes.Store(webhook, nil)
	s.t.Cleanup(func() {
		webhook.Kill()
		processes.Delete(webhook)
		if s.t.Failed() {
			s.t.Logf("the webhook's output:\n%s", webhook.Logs())
		}
	})
	return &process{
		Webhook:  webhook,
		endpoint: endpoint{strings.TrimSuffix(webhook.URL, webhookconfig.Path), ca.Bundle()},
		ca:       ca, certDir: certDir,
	}
}

// metric returns the value of a metric without labels, or with the labels as the text format writes them.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.MetricsURL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
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
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.HealthURL+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// serial returns the serial number of the certificate that new connections get.
func (p *process) serial(t *testing.T) string {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // whoever signed it
	connection, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
