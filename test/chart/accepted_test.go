//go:build chart

package chart_test

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// everything switches on whatever is optional.
const everything = `
image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", pullSecrets: [{name: registry}]}
tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]
podAnnotations: {example.com/a: b}
metrics:
  serviceMonitor: {enabled: true, labels: {team: platform}}
  prometheusRule: {enabled: true}
  dashboard: {enabled: true}
networkPolicy:
  enabled: true
  reviewsFrom: [{ipBlock: {cidr: 10.0.0.0/28, except: [10.0.0.8/29]}}, {ipBlock: {cidr: "2001:db8::/64"}}, {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]
priorityClassName: system-cluster-critical
webhook: {labels: {team: platform}}
tenantNetworkPolicy: {namespaces: [default], nodeNetworks: [192.0.2.0/24, "2001:db8::/64"]}
certificates: {provided: {secretName: mine, caBundle: ""}}
`

// Every object of every preset, example and certificate mode is accepted by the oldest and the newest supported API server, which
// validate it as on a real create.
func TestEveryObjectIsAccepted(t *testing.T) {
	oldest, err := startCluster(t.Context(), "OLDEST_ASSETS", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := oldest.Stop(); err != nil {
			t.Error(err)
		}
	})
	caBundle := "--set-file=certificates.provided.caBundle=" + writeBundle(t)
	on := values(t, everything)
	for _, c := range []*testCluster{oldest, newest} {
		// A pod is admitted only where its service account is.
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: release + "-test"}}
		if _, err := c.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		accepted := 0
		accept := func(what string, flags ...string) {
			for key, o := range render(t, append(flags, caBundle, "--kube-version="+c.version)...) {
				if key == "ServiceAccount "+namespace+"/"+release+"-test" {
					continue // it exists
				}
				if o.GetKind() == "Pod" {
					o.Object["spec"].(object)["serviceAccountName"] = account.Name // under another name it is not there
				}
				options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
				if _, err := c.resource(t, o).Create(t.Context(), o, options); err != nil {
					t.Errorf("%s, %s: %s: %v", c.version, what, key, err)
				}
				accepted++
			}
		}
		for _, mode := range []string{"cert-manager", "self-managed", "service-ca", "provided"} {
			accept("mode "+mode, on, "--set=certificates.mode="+mode)
			for _, preset := range presets(t) {
				accept(filepath.Base(preset)+", mode "+mode, "--values="+preset, on, "--set=certificates.mode="+mode)
			}
		}
		for _, file := range examples(t) {
			accept(filepath.Base(file), "--values="+file)
		}
		if err := c.Client.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), account.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d objects", c.version, accepted)
	}
}
