//go:build chart

package chart_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
)

// majors are the versions of Helm that there are: 4 applies on the server's side, 3 on its own.
var majors = map[string]string{"Helm 4": "HELM", "Helm 3": "HELM3"}

// Beside the admissions enforcer of AKS, which takes the annotation for an answer, releases are installed and upgraded as
// everywhere, and the kill switch works.
func TestUpgradesBesideAnEnforcerThatCanBeSwitchedOff(t *testing.T) {
	for name, helm := range majors {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { newest.uninstall(t) })
			e := startEnforcer(t, true)
			newest.helmOf(t, helm, "install", release, chartDir, "--set=certificates.mode=self-managed")
			e.waitForOthers(t)
			for _, excluded := range []string{"a", "b"} {
				newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.excludedNamespaces={kube-system,"+excluded+"}")
				e.waitForOthers(t)
				_, config := webhookConfiguration(t)
				for i := range config.Webhooks {
					if enforced(&config.Webhooks[i]) {
						t.Errorf("the enforcer has edited entry %s", config.Webhooks[i].Name)
					}
					if !slices.Contains(config.Webhooks[i].NamespaceSelector.MatchExpressions[1].Values, excluded) {
						t.Errorf("entry %s does not exclude namespace %s", config.Webhooks[i].Name, excluded)
					}
				}
			}
			newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.mode=Off")
			wantFilter(t, "the kill switch", true)
			newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.mode=Enforce")
			wantFilter(t, "back in mode Enforce", false)
		})
	}
}

// Beside one that edits whatever there is, Helm 4 meets a conflict; the kill switch reaches the replicas all the same, and
// the API server by what docs/operations.md says.
func TestTheKillSwitchBesideAnEnforcerThatCannotBeSwitchedOff(t *testing.T) {
	for name, helm := range majors {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { newest.uninstall(t) })
			e := startEnforcer(t, false)
			upgrade := func(mode string, flags ...string) error {
				e.waitForRelease(t) // every time the selectors are not ours again
				_, err := newest.tryHelm(t, helm, append([]string{"upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.mode=" + mode}, flags...)...)
				return err
			}
			newest.helmOf(t, helm, "install", release, chartDir, "--set=certificates.mode=self-managed")
			policyFile := installedPolicy(t)
			webhook, err := cluster.StartProcess(t.Context(), cluster.WebhookOptions{
				Binary: webhookBinary, Policy: policyFile, Kubeconfig: newest.Kubeconfig(), Args: append(deployedArguments(t), "--ca-settle=1s"),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(webhook.Kill)
			if review(t, webhook.URL, "default").Patch == nil {
				t.Fatal("a pod is not injected: this test has lost its subject")
			}

			err = upgrade("Off")
			if conflict := err != nil && strings.Contains(err.Error(), `conflicts with "admissionsenforcer"`); conflict != (name == "Helm 4") {
				t.Fatalf("upgrade: %v", err)
			}
			// What kubelet does: the ConfigMap has come to that much.
			write(t, policyFile, read(t, installedPolicy(t)))
			if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
				return review(t, webhook.URL, "default").Patch == nil, nil
			}); err != nil {
				t.Errorf("the replica goes on injecting: %v", err)
			}
			wantFilter(t, "after the first upgrade", name == "Helm 3")

			// At the API server as well, and back.
			ways := [][]string{nil}
			if name == "Helm 4" {
				ways = [][]string{{"--force-conflicts"}, {"--server-side=false"}}
			}
			for _, way := range ways {
				for _, mode := range []string{"Enforce", "Off"} {
					if err := upgrade(mode, way...); err != nil {
						t.Errorf("mode %s, %q: %v", mode, way, err)
					}
					wantFilter(t, mode+" "+strings.Join(way, " "), mode == "Off")
				}
			}
			// Without Helm: the configuration goes, and the next upgrade makes it again, with the caBundle that the replica puts in.
			configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
			if err := configs.Delete(t.Context(), release, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values", "--set=policy.mode=Enforce")
			wantFilter(t, "made again", false)
			if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
				_, config := webhookConfiguration(t)
				return len(config.Webhooks[0].ClientConfig.CABundle) > 0, nil
			}); err != nil {
				t.Errorf("the webhook configuration has no caBundle: %v", err)
			}
		})
	}
}

// wantFilter says whether the API server should keep everything from the webhook.
func wantFilter(t *testing.T, when string, off bool) {
	t.Helper()
	_, config := webhookConfiguration(t)
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		got := slices.ContainsFunc(entry.MatchConditions, func(c admissionv1.MatchCondition) bool {
			return c.Name == webhookconfig.ConditionMode && c.Expression == "false"
		})
		if got != off {
			t.Errorf("%s: entry %s lets nothing pass: %t, want %t", when, entry.Name, got, off)
		}
	}
}

// enforcer does what the admissions enforcer of AKS does to webhook configurations: it adds a requirement to the selector of
// every entry, again whenever somebody takes it out.
type enforcer struct{}

// other is a configuration that the enforcer edits in any case. It comes last in a list: once it is edited, the enforcer has looked
// at those before.
const other = "watched-last"

// startEnforcer runs one until the test ends. One that honours leaves those alone that carry the annotation or label.
func startEnforcer(t *testing.T, honours bool) *enforcer {
	t.Helper()
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			list, err := configs.List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for i := range list.Items {
				config := &list.Items[i]
				const disabled = webhookconfig.AnnotationEnforcerDisabled
				if honours && (config.Annotations[disabled] == "true" || config.Labels[disabled] == "true") || !enforce(config) {
					continue
				}
				// A conflict means that somebody else was faster: next time.
				_, err := configs.Update(ctx, config, metav1.UpdateOptions{FieldManager: "admissionsenforcer"})
				if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
					t.Errorf("the enforcer: %v", err)
				}
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if err := configs.Delete(context.WithoutCancel(t.Context()), other, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return &enforcer{}
}

// enforce adds the requirement where it is missing.
func enforce(config *admissionv1.MutatingWebhookConfiguration) (changed bool) {
	for i := range config.Webhooks {
		if entry := &config.Webhooks[i]; !enforced(entry) {
			if entry.NamespaceSelector == nil {
				entry.NamespaceSelector = &metav1.LabelSelector{}
			}
			entry.NamespaceSelector.MatchExpressions = append(entry.NamespaceSelector.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: "control-plane", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}})
			changed = true
		}
	}
	return changed
}

func enforced(entry *admissionv1.MutatingWebhook) bool {
	return entry.NamespaceSelector != nil && slices.ContainsFunc(entry.NamespaceSelector.MatchExpressions,
		func(r metav1.LabelSelectorRequirement) bool { return r.Key == "control-plane" })
}

// waitForRelease returns once the release's configuration is edited.
func (*enforcer) waitForRelease(t *testing.T) { t.Helper(); waitEnforced(t, release) }

// waitForOthers returns once the enforcer has looked at all that there is now.
func (*enforcer) waitForOthers(t *testing.T) {
	t.Helper()
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := configs.Delete(t.Context(), other, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	none := admissionv1.SideEffectClassNone
	if _, err := configs.Create(t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: other},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "a.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			ClientConfig: admissionv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitEnforced(t, other)
}

func waitEnforced(t *testing.T, name string) {
	t.Helper()
	if err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		config, err := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for i := range config.Webhooks {
			if !enforced(&config.Webhooks[i]) {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		t.Fatalf("the enforcer does not edit %s: %v", name, err)
	}
}
