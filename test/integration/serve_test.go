package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// endpoint is where the API server can reach a webhook.
type endpoint struct {
	// url is scheme, host and port.
	url      string
	caBundle []byte
}

// serve serves a handler over TLS until the end of the test.
func serve(t *testing.T, handler http.Handler) endpoint {
	t.Helper()
	return serveAs(t, "127.0.0.1", handler)
}

// serveAs serves with a certificate for the host, whatever the address is.
func serveAs(t *testing.T, host string, handler http.Handler) endpoint {
	t.Helper()
	pair, caBundle := clustertest.ServingCert(t, host)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // aborted connections and wrong certificates are what we test
	server.StartTLS()
	t.Cleanup(server.Close)
	return endpoint{server.URL, caBundle}
}

// policyWithSpec is a policy document that lacks its spec.
const policyWithSpec = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec: %s
`

// compile parses and compiles a policy.
func compile(t *testing.T, document string) *policy.Compiled {
	t.Helper()
	compiled, err := policy.Compile(parse(t, document), "")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func parse(t *testing.T, document string) *policy.InjectionPolicy {
	t.Helper()
	return reviewtest.Parse(t, document)
}

// ownNamespace is where we would run.
const ownNamespace = "shorthop"

// patience replaces the timeout of webhooks, in seconds: tests share their machine with compilers, and a call that times
// out would look like a webhook that does not work.
const patience = 10

// configuration is the one that operators install, for the endpoint.
func configuration(name string, document *policy.InjectionPolicy, at endpoint) *admissionv1.MutatingWebhookConfiguration {
	config := webhookconfig.New(document, webhookconfig.Options{Name: name, OwnNamespace: ownNamespace, URL: at.url, CABundle: at.caBundle})
	for i := range config.Webhooks {
		config.Webhooks[i].TimeoutSeconds = new(int32(patience))
	}
	return config
}

// bareConfiguration has one webhook that is called for every new pod, with nothing that would keep a pod from it.
func bareConfiguration(name string, at endpoint) *admissionv1.MutatingWebhookConfiguration {
	config := configuration(name, new(policy.InjectionPolicy), at)
	config.Webhooks = config.Webhooks[:1]
	webhook := &config.Webhooks[0]
	webhook.Name = name + ".example.com"
	webhook.NamespaceSelector, webhook.ObjectSelector = nil, nil
	webhook.MatchConditions = nil
	return config
}

// policyWithNdots is a policy that shows on a pod which one it is.
func policyWithNdots(t *testing.T, ndots int) string {
	t.Helper()
	host, port, err := shared.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: reload}
spec:
  serviceHost: {host: %s, port: %d}
  dns: {ndots: %d}
`, host, port, ndots)
}

// replaceFile replaces a file's content at once, as people's editors and kubelet do.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	testfile.Write(t, next, content)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// hasNdots says of a pod whether it has this ndots.
func hasNdots(ndots int) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return slices.Contains(injectionOf(pod).Options, fmt.Sprintf("ndots:%d", ndots))
	}
}
