package rotation_test

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
	"github.com/shorthop/shorthop/test/testfile"
)

const (
	document = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: rotation}
spec:
  dns: {ndots: 2}
`
	siteLabel = "example.com/site"
	// shutdownDelay is that of every server.
	shutdownDelay = 2 * time.Second
)

// site is an installation of Shorthop in a namespace of its own, behind a
// balancer. Its name is that of the namespace, and of everything in it.
type site struct {
	*testing.T
	name     string
	policy   string
	balancer *rotation.Balancer
	// open and closed are namespaces with pods, one for each entry of the
	// webhook configuration.
	open, closed string
	servers      []*cluster.Webhook
}

// newSite prepares a site without servers.
func newSite(t *testing.T, name string) *site {
	t.Helper()
	s := &site{T: t, name: name, policy: filepath.Join(t.TempDir(), "policy.yaml"), open: name + "-open", closed: name + "-closed"}
	testfile.Write(t, s.policy, document)
	for namespace, labels := range map[string]map[string]string{
		name:     nil,
		s.open:   {siteLabel: name},
		s.closed: {siteLabel: name, policy.LabelInject: "disabled"},
	} {
		if err := shared.CreateNamespace(t.Context(), namespace, labels); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.balancer, err = rotation.NewBalancer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.balancer.Close() })
	// The API server verifies the name of the Service, as always, and connects
	// to this address instead of a cluster IP that nobody routes.
	_, err = shared.Client.CoreV1().Services(name).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "127.0.0.1"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hostname is what API servers expect in the serving certificate.
func (s *site) hostname() string { return s.name + "." + s.name + ".svc" }

// register creates the webhook configuration, or replaces it.
func (s *site) register(caBundle []byte) {
	s.Helper()
	parsed, err := policy.Parse([]byte(document))
	if err != nil {
		s.Fatal(err)
	}
	config := webhookconfig.New(parsed, webhookconfig.Options{Name: s.name, OwnNamespace: s.name, Service: s.name, CABundle: caBundle})
	for i := range config.Webhooks {
		webhook := &config.Webhooks[i]
		webhook.ClientConfig.Service.Port = new(int32(s.balancer.Port))
		webhook.NamespaceSelector.MatchLabels = map[string]string{siteLabel: s.name}
		// What is late because the machine is busy is not missed.
		webhook.TimeoutSeconds = new(int32(20))
	}
	if err := cluster.RegisterWebhook(s.Context(), shared.Client, config); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		// The test's context has ended by now. A second deletion finds nothing.
		_ = shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(
			context.WithoutCancel(s.Context()), s.name, metav1.DeleteOptions{})
	})
}

// configuration returns the webhook configuration as it is.
func (s *site) configuration() *admissionv1.MutatingWebhookConfiguration {
	s.Helper()
	config, err := shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(s.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return config
}

// start starts a server and returns once the balancer has it. A fault of it is
// shown with its log.
func (s *site) start(options cluster.WebhookOptions) *cluster.Webhook {
	s.Helper()
	options.Binary, options.Policy, options.ReadyTimeout = program, s.policy, hang
	options.Args = append([]string{"--own-namespace", s.name, "--shutdown-delay", shutdownDelay.String()}, options.Args...)
	webhook := clustertest.Webhook(s, options)
	if err := s.balancer.Add(webhook); err != nil {
		s.Fatal(err)
	}
	s.servers = append(s.servers, webhook)
	return webhook
}

// startUnready starts a server that need not become ready, and returns how to wait until its /readyz answers with a status and
// a text. It is killed when the test ends.
func (s *site) startUnready(options cluster.WebhookOptions) (await func(what string, status int, text string)) {
	s.Helper()
	// Somewhere else than StartProcess looks, which would not return before it is ready.
	health := clustertest.FreeAddresses(s.T, 1)[0]
	options.Binary, options.Policy, options.ReadyTimeout = program, s.policy, 10*time.Minute
	options.Args = append(slices.Clone(options.Args), "--own-namespace", s.name, "--health-probe-bind-address", health)
	ctx, stop := context.WithCancel(s.Context())
	var running sync.WaitGroup
	running.Go(func() { _, _ = cluster.StartProcess(ctx, options) })
	s.Cleanup(func() {
		stop()
		running.Wait()
	})
	readyz := func() (status int, body string) {
		request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+health+"/readyz", http.NoBody)
		if err != nil {
			s.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, err.Error()
		}
		return response.StatusCode, string(text)
	}
	return func(what string, status int, text string) {
		s.Helper()
		clustertest.Eventually(s.T, what, func() bool {
			got, body := readyz()
			return got == status && strings.Contains(body, text)
		})
	}
}

// stop ends a server as kubelet does.
func (s *site) stop(webhook *cluster.Webhook) {
	s.Helper()
	if code, err := webhook.Stop(s.Context()); err != nil || code != 0 {
		s.Errorf("a server ended with exit code %d and error %v", code, err)
	}
	s.balancer.Remove(webhook)
	s.servers = slices.DeleteFunc(s.servers, func(w *cluster.Webhook) bool { return w == webhook })
}

// served returns the certificates that the servers serve.
func (s *site) served() []*x509.Certificate {
	s.Helper()
	certs := make([]*x509.Certificate, len(s.servers))
	for i, webhook := range s.servers {
		var err error
		if certs[i], err = rotation.Served(s.Context(), webhook); err != nil {
			s.Fatal(err)
		}
	}
	return certs
}

// renewed waits until every server serves another certificate than before, and
// returns them.
func (s *site) renewed(before []*x509.Certificate) (now []*x509.Certificate) {
	s.Helper()
	clustertest.Eventually(s.T, "every server serves a new certificate", func() bool {
		now = s.served()
		return !slices.ContainsFunc(now, func(c *x509.Certificate) bool { return slices.ContainsFunc(before, c.Equal) })
	})
	return now
}

// underLoad creates pods while it runs cycle again and again, and checks that
// none was missed.
func (s *site) underLoad(cycle func()) {
	s.Helper()
	for _, namespace := range []string{s.open, s.closed} {
		err := cluster.WaitEffective(s.Context(), func(ctx context.Context) (bool, error) {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "trial", Labels: map[string]string{policy.LabelInject: "enabled"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
			}
			created, err := shared.Client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && rotation.Mutated(created), err
		})
		if err != nil {
			s.Fatal(err)
		}
	}
	load, err := rotation.StartLoad(s.Context(), shared.Config, s.balancer, *rate, s.open, s.closed)
	if err != nil {
		s.Fatal(err)
	}
	defer load.Stop() // of a test that gave up
	cycles := 0
	for started := time.Now(); cycles == 0 || time.Since(started) < *duration; cycles++ {
		cycle()
		s.Logf("after cycle %d: %s", cycles+1, load.SoFar())
	}
	result := load.Stop()
	s.Logf("in all: %s", result)
	if result.Created == 0 || result.NewConnections == 0 {
		s.Error("that is no load")
	}
	if result.Missed > 0 {
		s.Errorf("%d pods are not mutated", result.Missed)
	}
	for _, err := range result.Errors[:min(len(result.Errors), 5)] {
		s.Errorf("one of %d pods that were not created: %v", len(result.Errors), err)
	}
}
