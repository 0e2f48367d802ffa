package integration_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestOnlyTheAPIServerMayCall has an API server that shows webhooks a certificate, another one for each address, and a
// webhook that wants one. Which user of the kubeconfig the API server is depends on the webhook's host and port.
func TestOnlyTheAPIServerMayCall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trusted := clustertest.CA(t)
	other := clustertest.CA(t)
	callers := map[string]struct {
		ca      *cluster.CA // nil: no certificate
		name    string
		patched bool
	}{
		"the API server":           {trusted, "kube-apiserver", true},
		"nobody":                   {nil, "", false},
		"another user of its CA":   {trusted, "developer", false},
		"its name, by another CA":  {other, "kube-apiserver", false},
		"the API server once more": {trusted, "kube-apiserver", true},
	}
	// All of them lead to the same webhook, which is not there yet.
	ways := map[string]*clustertest.Way{}
	users := clientcmdapi.NewConfig()
	for caller, test := range callers {
		ways[caller] = clustertest.NewWay(t, "127.0.0.1:0")
		if test.ca == nil {
			continue
		}
		certDir := filepath.Join(dir, objectName(caller))
		if err := test.ca.WriteClientCert(certDir, test.name); err != nil {
			t.Fatal(err)
		}
		users.AuthInfos[ways[caller].Address] = &clientcmdapi.AuthInfo{
			ClientCertificate: filepath.Join(certDir, "tls.crt"), ClientKey: filepath.Join(certDir, "tls.key"),
		}
	}
	control := startWithWebhookUsers(t, dir, users)

	policyFile, caFile, certDir := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "client-ca.crt"), filepath.Join(dir, "serving")
	document := fmt.Sprintf(policyWithSpec, "{serviceHost: {hostFrom: NodeIP}}")
	replaceFile(t, policyFile, document)
	replaceFile(t, caFile, string(trusted.Bundle()))
	serving, err := cluster.ServingCert(certDir, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	program, err := webhookProgram()
	if err != nil {
		t.Fatal(err)
	}
	webhook := clustertest.Webhook(t, cluster.WebhookOptions{
		Binary: program, Policy: policyFile, CertDir: certDir, Kubeconfig: control.Kubeconfig(),
		Args: []string{"--own-namespace", ownNamespace, "--shutdown-delay", "0s", "--client-ca-file", caFile, "--client-names", "kube-apiserver,standby"},
	})
	address := strings.TrimSuffix(strings.TrimPrefix(webhook.URL, "https://"), webhookconfig.Path)
	server := &process{Webhook: webhook}

	for caller := range callers {
		ways[caller].Lead(t, address)
		name := objectName(caller)
		at := endpoint{"https://" + ways[caller].Address, serving}
		// One entry is enough, and it is limited to a namespace: the callers do not share their pods.
		config := bareConfiguration(name, at)
		config.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}}
		if err := cluster.RegisterWebhook(t.Context(), control.Client, config); err != nil {
			t.Fatal(err)
		}
		if err := control.CreateNamespace(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for caller, test := range callers {
		create := func(ctx context.Context) (*corev1.Pod, error) {
			return control.Client.CoreV1().Pods(objectName(caller)).Create(ctx, plainPod("trial"), dryRun)
		}
		before := refusedHandshakes(webhook)
		err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
			pod, err := create(ctx)
			if err != nil {
				return false, fmt.Errorf("the pod is rejected: %w", err)
			}
			if test.patched {
				return hasRecord(pod), nil
			}
			// Not only not yet called, but refused.
			return hasRecord(pod) || refusedHandshakes(webhook) > before, nil
		})
		if err != nil {
			t.Errorf("%s: %v", caller, err)
			continue
		}
		for range 5 {
			if pod, err := create(t.Context()); err != nil || hasRecord(pod) != test.patched {
				t.Errorf("%s: the pod is patched: %t, want %t (%v)", caller, err == nil && hasRecord(pod), test.patched, err)
			}
		}
	}

	t.Run("probes and scrapes need no certificate", func(t *testing.T) {
		if !server.isReady(t) {
			t.Error("the webhook is not ready")
		}
		if n := server.reviews(t); n == 0 {
			t.Error("the metrics count no review")
		}
	})
	// Its handshake shows what is served, which is all it needs.
	t.Run("doctor verifies the serving certificate", func(t *testing.T) {
		i := &installation{Cluster: control}
		results, _ := i.doctor(t, control.Kubeconfig(), "--webhook-configuration", objectName("the API server"))
		if got := results["serving-certificate"]; got.Status != doctor.Pass {
			t.Errorf("doctor says %+v", got)
		}
	})
	t.Run("a CA that is withdrawn does not let in any more", func(t *testing.T) {
		replaceFile(t, caFile, string(other.Bundle()))
		err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
			return strings.Contains(webhook.Logs(), "clients are verified by a new CA"), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// An open connection stays, so this one is new.
		client := http.Client{Transport: clientTransport(t, serving, filepath.Join(dir, objectName("the API server")))}
		if response, err := client.Post(webhook.URL, "application/json", strings.NewReader("{}")); err == nil {
			response.Body.Close()
			t.Errorf("a client of the withdrawn CA is answered: %s", response.Status)
		}
		client = http.Client{Transport: clientTransport(t, serving, filepath.Join(dir, objectName("its name, by another CA")))}
		response, err := client.Post(webhook.URL, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("a client of the new CA gets %s, want that {} is no review", response.Status)
		}
	})
}

// clientTransport verifies by the bundle, and has the certificate in certDir.
func clientTransport(t *testing.T, bundle []byte, certDir string) *http.Transport {
	t.Helper()
	pair := clustertest.LoadCert(t, certDir)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, DisableKeepAlives: true}
}

func hasRecord(pod *corev1.Pod) bool { return pod.Annotations[policy.AnnotationInjected] != "" }

// refusedHandshakes counts them in the log.
func refusedHandshakes(webhook *cluster.Webhook) int {
	return strings.Count(webhook.Logs(), "TLS handshake error")
}

// startWithWebhookUsers starts a control plane whose API server is, to each webhook, the user of that address.
func startWithWebhookUsers(t *testing.T, dir string, users *clientcmdapi.Config) *cluster.Cluster {
	t.Helper()
	kubeconfig, admission := filepath.Join(dir, "webhook-users.yaml"), filepath.Join(dir, "admission.json")
	if err := clientcmd.WriteToFile(*users, kubeconfig); err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "AdmissionConfiguration",
		"plugins": []any{map[string]any{
			"name": "MutatingAdmissionWebhook",
			"configuration": map[string]any{
				"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	testfile.Write(t, admission, content)
	control := clustertest.Start(t, cluster.Options{APIServerArgs: map[string][]string{"admission-control-config-file": {admission}}})
	return control
}
