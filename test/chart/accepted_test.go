//go:build chart

package chart_test

import (
	"path/filepath"
	"slices"
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
networkPolicy: {enabled: true}
tenantNetworkPolicy: {namespaces: [default], nodeNetworks: [192.0.2.0/24, "2001:db8::/64"]}
certificates: {provided: {secretName: mine, caBundle: ""}}
`

// Every object of every preset and certificate mode is accepted by the oldest and the newest supported API server, which
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
		for _, preset := range append(presets(t), "") {
			for _, mode := range []string{"cert-manager", "self-managed", "provided"} {
				flags := []string{on, caBundle, "--set=certificates.mode=" + mode, "--kube-version=" + c.version}
				if preset != "" {
					flags = slices.Insert(flags, 0, "--values="+preset)
				}
				for key, o := range render(t, flags...) {
					if key == "ServiceAccount "+namespace+"/"+release+"-test" {
						continue // it exists
					}
					options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
					if _, err := c.resource(t, o).Create(t.Context(), o, options); err != nil {
						t.Errorf("%s, preset %q, mode %s: %s: %v", c.version, filepath.Base(preset), mode, key, err)
					}
					accepted++
				}
			}
		}
		if err := c.Client.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), account.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d objects", c.version, accepted)
	}
}
