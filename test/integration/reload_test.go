package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

const reloadGauge = "shorthop_policy_last_reload_successful"

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
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
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

func TestABrokenPolicyLeavesTheLastGoodOneInForce(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("reload", nil)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	good := policyWithNdots(t, 1)
	replaceFile(t, file, good)
	webhook := s.startWebhook(file)
	s.registerAndWait(configuration(s.name, parse(t, good), webhook.endpoint), namespace, hasNdots(1))
	if got := webhook.metric(t, reloadGauge); got != 1 {
		t.Errorf("before the first reload: %s is %v, want 1", reloadGauge, got)
	}

	for name, content := range map[string]string{
		"not YAML":              "spec: [",
		"a field nobody knows":  good + "  color: blue\n",
		"a value out of bounds": good + "  rollout: {percent: 101}\n",
		"empty":                 "",
	} {
		replaceFile(t, file, content)
		webhook.waitGauge(t, 0)
		if pod := s.create(namespace, plainPod("broken-"+objectName(name))); !hasNdots(1)(pod) {
			t.Errorf("%s: the pod has the options %v, want those of the last good policy", name, injectionOf(pod).Options)
		}
		if !webhook.isReady(t) {
			t.Errorf("%s: the server is not ready", name)
		}
		replaceFile(t, file, good)
		webhook.waitGauge(t, 1)
	}

	replaceFile(t, file, policyWithNdots(t, 2))
	s.wait(namespace, hasNdots(2))
	compiled := compile(t, policyWithNdots(t, 2))
	if got := webhook.metric(t, fmt.Sprintf("shorthop_policy_info{hash=%q}", compiled.Hash())); got != 1 {
		t.Errorf("shorthop_policy_info does not name the new policy")
	}
}

// waitGauge waits until the reload gauge has a value.
func (p *process) waitGauge(t *testing.T, want float64) {
	t.Helper()
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		return p.metric(t, reloadGauge) == want, nil
	})
	if err != nil {
		t.Fatalf("%s does not become %v: %v", reloadGauge, want, err)
	}
}

// The kill switch must work without a restart, and so must a change of the labels that are understood.
func TestAReloadedPolicyCanSwitchEverythingOff(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("switch", nil)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	good := policyWithNdots(t, 1)
	replaceFile(t, file, good)
	webhook := s.startWebhook(file)
	s.registerAndWait(configuration(s.name, parse(t, good), webhook.endpoint), namespace, isPatched)
	for _, mode := range []policy.Mode{policy.ModeOff, policy.ModeDryRun} {
		replaceFile(t, file, good+fmt.Sprintf("  mode: %q\n", mode))
		s.wait(namespace, func(pod *corev1.Pod) bool { return !isPatched(pod) })
		replaceFile(t, file, good)
		s.wait(namespace, isPatched)
	}
}

// TestANewCertificateIsServedWithoutARestart rotates the CA as well as the leaf. Between the two steps the API server
// trusts only the new CA, so its calls fail and pods are created unpatched: this shows that the new leaf is what heals it.
func TestANewCertificateIsServedWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("rotation", nil)
	document := parse(t, policyWithNdots(t, 3))
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, policyWithNdots(t, 3))
	webhook := s.startWebhook(file)
	s.registerAndWait(configuration(s.name, document, webhook.endpoint), namespace, isPatched)

	next, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	s.register(configuration(s.name, document, endpoint{webhook.url, next.Bundle()}))
	s.waitFailsOpen(webhookconfig.OpenEntry, namespace)

	if err := next.WriteServingCert(webhook.certDir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s.wait(namespace, isPatched)
	for i := range 20 {
		if pod := s.create(namespace, plainPod(fmt.Sprintf("rotated-%d", i))); !isPatched(pod) {
			t.Errorf("pod %d after the rotation is not patched", i)
		}
	}
}

// TestALeafOfTheSameCAIsReplacedWithoutALoss is what cert-manager does every two months: no pod may miss it.
func TestALeafOfTheSameCAIsReplacedWithoutALoss(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("renewal", nil)
	document := parse(t, policyWithNdots(t, 3))
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, policyWithNdots(t, 3))
	webhook := s.startWebhook(file)
	s.registerAndWait(configuration(s.name, document, webhook.endpoint), namespace, isPatched)

	before := webhook.serial(t)
	for renewal := range 3 {
		if err := webhook.ca.WriteServingCert(webhook.certDir, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
			n++
			if pod := s.create(namespace, plainPod(fmt.Sprintf("renewed-%d-%d", renewal, n))); !isPatched(pod) {
				t.Errorf("renewal %d: pod %d is not patched", renewal, n)
			}
			return webhook.serial(t) != before, nil
		})
		if err != nil {
			t.Fatalf("renewal %d: the new certificate is not served: %v", renewal, err)
		}
		before = webhook.serial(t)
	}
}
