//go:build chart

package chart_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissionregistration "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
)

// writers are who writes the caBundle in each mode, by what they call themselves; in mode provided it is Helm.
var writers = map[string]string{"cert-manager": "cainjector", "self-managed": "shorthop-ca-bundle", "service-ca": "service-ca-operator"}

// A release changes from every mode of certificates to every other one, and is uninstalled without a trace. Helm 3 just does
// it. Helm 4 meets a conflict where the caBundle becomes its own that another has written, and then only: that is what
// docs/operations.md has --force-conflicts for. Whoever writes it next finds room for it, and the earlier CA until then.
func TestEveryChangeOfCertificateMode(t *testing.T) {
	modes := []string{"cert-manager", "self-managed", "service-ca", "provided"}
	bundle := writeBundle(t)
	caFlag := "--set-file=certificates.provided.caBundle=" + bundle
	before := inventory(t, newest)
	for name, helm := range majors {
		for _, from := range modes {
			for _, to := range modes {
				if from == to || name == "Helm 3" && to != "provided" { // nobody owns fields there: those that Helm 4 refuses will do
					continue
				}
				t.Run(name+" "+from+" to "+to, func(t *testing.T) {
					flags := []string{release, chartDir, "--set=certificates.provided.secretName=mine", caFlag}
					newest.helmOf(t, helm, slices.Concat([]string{"install"}, flags, []string{"--set=certificates.mode=" + from})...)
					t.Cleanup(func() { newest.uninstall(t) })
					earlier := writeAs(t, writers[from])
					if from == "provided" {
						earlier = read(t, bundle)
						ownBundle(t)
					}
					upgrade := slices.Concat([]string{"upgrade"}, flags, []string{"--set=certificates.mode=" + to})
					_, err := newest.tryHelm(t, helm, upgrade...)
					if conflict := name == "Helm 4" && to == "provided"; conflict {
						if err == nil || !strings.Contains(err.Error(), `conflicts with "`+writers[from]+`"`) {
							t.Fatalf("upgrade: %v", err)
						}
						newest.helmOf(t, helm, append(upgrade, "--force-conflicts")...)
					} else if err != nil {
						t.Fatal(err)
					}
					_, config := webhookConfiguration(t)
					switch got := caBundle(t, config); {
					case to == "provided" && !bytes.Equal(got, read(t, bundle)):
						t.Errorf("the caBundle is %q", got)
					case to != "provided" && !bytes.Equal(got, earlier):
						t.Errorf("the caBundle of the earlier mode is gone before there is another: %q", got)
					}
					later := writeAs(t, writers[to])
					// The next upgrade changes nothing of that.
					newest.helmOf(t, helm, append(upgrade, "--set=replicas=3")...)
					if _, config = webhookConfiguration(t); later != nil && !bytes.Equal(caBundle(t, config), later) {
						t.Error("an upgrade has changed the caBundle")
					}
				})
			}
		}
	}
	if left := slices.DeleteFunc(inventory(t, newest), func(o string) bool { return slices.Contains(before, o) }); len(left) > 0 {
		t.Errorf("uninstalling leaves %q", left)
	}
}

// ownBundle owns the caBundle beside Helm, as docs/operations.md says: Helm then leaves it there when the release has none.
func ownBundle(t *testing.T) {
	t.Helper()
	_, config := webhookConfiguration(t)
	handOver := admissionregistration.MutatingWebhookConfiguration(config.Name)
	for i := range config.Webhooks {
		webhook := &config.Webhooks[i]
		handOver.WithWebhooks(admissionregistration.MutatingWebhook().WithName(webhook.Name).
			WithClientConfig(admissionregistration.WebhookClientConfig().WithCABundle(webhook.ClientConfig.CABundle...)))
	}
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Apply(t.Context(), handOver, metav1.ApplyOptions{FieldManager: "hand-over"}); err != nil {
		t.Fatal(err)
	}
}

// writeAs puts a CA into every entry, and returns it; nil for Helm, which has done so.
func writeAs(t *testing.T, manager string) []byte {
	t.Helper()
	if manager == "" {
		return nil
	}
	bundle := read(t, writeBundle(t))
	_, config := webhookConfiguration(t)
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = bundle
	}
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Update(t.Context(), config, metav1.UpdateOptions{FieldManager: manager}); err != nil {
		t.Fatal(err)
	}
	return bundle
}

// What renders stays what it was when others have written into the objects: the same values make the same objects twice, and an
// upgrade with the same values changes nothing but what Helm writes about itself.
func TestAnUpgradeWithTheSameValuesChangesNothing(t *testing.T) {
	for name, helm := range majors {
		t.Run(name, func(t *testing.T) {
			newest.helmOf(t, helm, "install", release, chartDir, "--set=certificates.mode=self-managed", values(t, allOn))
			t.Cleanup(func() { newest.uninstall(t) })
			writeAs(t, writers["self-managed"])
			// As somebody with kubectl, a controller, and an autoscaler of labels would.
			patch := []byte(`{"metadata": {"annotations": {"example.com/by-hand": "a"}}}`)
			if _, err := newest.Client.AppsV1().Deployments(namespace).Patch(t.Context(), release, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
				t.Fatal(err)
			}
			manifest := newest.helmOf(t, helm, "get", "manifest", release)
			versions := resourceVersions(t)
			newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values")
			if again := newest.helmOf(t, helm, "get", "manifest", release); again != manifest {
				t.Error("the same values are rendered differently")
			}
			for key, version := range resourceVersions(t) {
				if versions[key] != version {
					t.Errorf("%s was changed", key)
				}
			}
		})
	}
}

// resourceVersions are those of the release's objects, by kind and name.
func resourceVersions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for key, o := range render(t, values(t, allOn)) {
		if strings.Contains(o.GetAnnotations()["helm.sh/hook"], "test") {
			continue
		}
		stored, err := newest.resource(t, o).Get(context.WithoutCancel(t.Context()), o.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		found[key] = stored.GetResourceVersion()
	}
	return found
}
