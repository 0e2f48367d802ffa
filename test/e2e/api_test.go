//go:build e2e

package e2e

import (
	"net"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
)

// apiResult is what the probe for the API server prints for each client.
type apiResult struct {
	Client, Host, Address, User, Error string
}

// TestAPIServerIsReached runs client-go and a plain HTTPS client in pods. Both verify the API server's certificate for
// the host that they were given, and the API server tells them which service account it takes them for.
func TestAPIServerIsReached(t *testing.T) {
	tests := []struct {
		name, namespace string
		// host is what KUBERNETES_SERVICE_HOST must be; empty: the node's address.
		host string
		// address is where the connection must lead. On an existing cluster only the API server's people know it.
		address string
	}{
		{"by the DNS name", "options-2", serviceHost(t), node.APIServerIP},
		{"by the DNS name, through the node-local cache", "node-local", serviceHost(t), node.APIServerIP},
		{"by the node's address", "node-ip", "", node.IP},
		{"not injected: by the Service", "plain", suite.serviceHost, suite.serviceHost},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod := suite.pod(test.namespace, images.API)
			created, err := suite.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
			if err != nil {
				t.Fatalf("creating the pod: %v", err)
			}
			t.Cleanup(func() { deletePod(t, created) })
			done := waitPod(t, created, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
			results := decodeLines[apiResult](t, []byte(podLogs(t, done)))
			if len(results) != 2 {
				t.Fatalf("%d results, want those of 2 clients", len(results))
			}
			host := test.host
			if host == "" {
				host = done.Status.HostIP
			}
			for _, got := range results {
				want := apiResult{
					Client:  got.Client,
					Host:    "https://" + net.JoinHostPort(host, suite.servicePort),
					Address: got.Address,
					User:    "system:serviceaccount:" + pod.Namespace + ":default",
				}
				if suite.node != nil {
					want.Address = net.JoinHostPort(test.address, suite.servicePort)
				}
				if got != want {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
				t.Logf("%s: %s at %s as %s", got.Client, got.Host, got.Address, got.User)
			}
		})
	}
}

// serviceHost is the host of the policy.
func serviceHost(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := policy.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Spec.ServiceHost.Host
}
