//go:build chart

package chart_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/jsontest"
)

// recordedPolicy is the one under which the server of the first edition reviewed the pods in testdata/first-edition-pods.json.
const recordedPolicy = `
policy:
  cluster: {domain: cluster.local, dnsServers: [10.96.0.10]}
  serviceHost: {host: api.example.com}
  dns: {mode: NodeLocal, ndots: 2, options: [{name: timeout, value: "1"}], nodeLocal: {servers: [169.254.20.10], daemonSet: ""}}
  rules:
  - {name: options, match: {podSelector: {matchLabels: {mode: options}}}, dns: {mode: Options}}
`

// Pods that the first edition's own server has injected (at 6d5e9a3) are taken for what they are after the upgrade: injected, and
// as they should be. Nobody is told to restart them.
func TestRecordsOfTheFirstEditionAreUnderstood(t *testing.T) {
	newest.helm(t, "install", release, firstEdition, "--set=certificates.mode=self-managed", values(t, recordedPolicy))
	t.Cleanup(func() { newest.uninstall(t) })
	pods := jsontest.Decode[corev1.PodList](t, read(t, "testdata/first-edition-pods.json"))
	running := newest.Client.CoreV1().Pods("default") // where they were reviewed: it is in their search list
	for i := range pods.Items {
		if _, err := running.Create(t.Context(), &pods.Items[i], metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := running.Delete(context.WithoutCancel(t.Context()), pods.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
				t.Error(err)
			}
		})
	}
	// Without a gate of the host, which nothing here would open.
	newest.helm(t, "upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.serviceHost.probe.enabled=false")
	report, err := output(t, pluginBinary, "audit", "--kubeconfig", newest.Kubeconfig(), "--namespace", "default", "-o", "json")
	if err != nil {
		t.Errorf("audit: %v", err)
	}
	var got struct {
		Pods    int
		Classes map[string]int
	}
	jsontest.Unmarshal(t, []byte(report), &got)
	if got.Pods != len(pods.Items) || got.Classes["ok"] != len(pods.Items) {
		t.Errorf("audit finds %d pods, %d of them ok, want %d:\n%s", got.Pods, got.Classes["ok"], len(pods.Items), report)
	}
}
