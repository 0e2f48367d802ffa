//go:build chart

package chart_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/testfile"
)

func TestLint(t *testing.T) {
	for _, preset := range presets(t) {
		if _, err := output(t, os.Getenv("HELM"), "lint", "--strict", chartDir, "--values="+preset); err != nil {
			t.Errorf("%s: %v", preset, err)
		}
	}
}

// Installs the first edition of the chart with a webhook that manages its own certificates, upgrades it in both ways that
// Helm knows, and uninstalls it. The CA and the caBundle stay; then nothing does.
func TestInstallUpgradeUninstallSelfManaged(t *testing.T) {
	before := inventory(t, newest)
	newest.helm(t, "install", release, firstEdition, "--set=certificates.mode=self-managed")
	t.Cleanup(func() { newest.uninstall(t) })

	webhook := startSelfManaged(t, newest.Kubeconfig())
	secret, config := installed(t)
	if len(secret.Data) == 0 {
		t.Fatal("the webhook is ready, and its CA's Secret is empty")
	}
	bundle := caBundle(t, config)
	if len(bundle) == 0 {
		t.Fatal("the webhook is ready, and the webhook configuration has no caBundle")
	}
	template := deployment(t).Spec.Template

	// The webhook must not be what puts anything back.
	if _, err := webhook.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, flags := range [][]string{
		{"upgrade", release, firstEdition, "--server-side=true", "--set=policy.excludedNamespaces={kube-system}"},
		{"upgrade", release, firstEdition, "--server-side=false", "--set=policy.excludedNamespaces={kube-system,vault}"},
		{"upgrade", release, chartDir, "--server-side=true", "--set=policy.excludedNamespaces={kube-system,vault,a}"},
		{"upgrade", release, chartDir, "--server-side=true", "--force-conflicts", "--set=policy.excludedNamespaces={kube-system,vault,b}"},
		{"upgrade", release, chartDir, "--server-side=false", "--set=policy.excludedNamespaces={kube-system,vault,c}"},
		{"rollback", release, "1", "--server-side=true"},
	} {
		hash := config.Annotations[webhookconfig.AnnotationFilterHash]
		newest.helm(t, flags...)
		secretAfter, configAfter := installed(t)
		if diff := cmp.Diff(secret.Data, secretAfter.Data); diff != "" {
			t.Errorf("helm %s: CA (-before +after):\n%s", strings.Join(flags, " "), diff)
		}
		if after := caBundle(t, configAfter); !bytes.Equal(bundle, after) {
			t.Errorf("helm %s: caBundle was %q, is %q", strings.Join(flags, " "), bundle, after)
		}
		if configAfter.Annotations[webhookconfig.AnnotationFilterHash] == hash {
			t.Errorf("helm %s: the filter is the old one", strings.Join(flags, " "))
		}
		if i < 2 {
			if diff := cmp.Diff(template, deployment(t).Spec.Template); diff != "" {
				t.Errorf("helm %s: a new policy changes the pods (-before +after):\n%s", strings.Join(flags, " "), diff)
			}
		}
		config = configAfter
	}

	newest.helm(t, "uninstall", release)
	if diff := cmp.Diff(before, inventory(t, newest)); diff != "" {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
}

// A release that manages its own certificates goes on with it where cert-manager has come later; one that starts where
// cert-manager is uses it. Uninstalling removes either.
func TestAutomaticCertificateMode(t *testing.T) {
	before := inventory(t, newest)
	t.Cleanup(func() { newest.uninstall(t) })
	for _, test := range []struct{ explicit, want string }{
		{"self-managed", "--cert-source=self-managed"},
		{"cert-manager", "--cert-source=provided"},
		{"", "--cert-source=provided"}, // the cluster has its API
	} {
		newest.helm(t, "install", release, chartDir, "--set=certificates.mode="+orAuto(test.explicit), "--values="+presets(t)[0])
		newest.helm(t, "upgrade", release, chartDir, "--reset-values")
		if got := deployment(t).Spec.Template.Spec.Containers[0].Args; !slices.Contains(got, test.want) {
			t.Errorf("installed with mode %q, upgraded with auto: arguments are %q, want %s", test.explicit, got, test.want)
		}
		newest.helm(t, "uninstall", release)
		if diff := cmp.Diff(before, inventory(t, newest)); diff != "" {
			t.Errorf("installed with mode %q: objects (-before +after):\n%s", test.explicit, diff)
		}
	}
}

func orAuto(mode string) string {
	if mode == "" {
		return "auto"
	}
	return mode
}

// What somebody else writes to the Secrets and the webhook configuration, as cert-manager does, stays on upgrades.
func TestUpgradeKeepsWhatCertManagerWrote(t *testing.T) {
	before := inventory(t, newest)
	t.Cleanup(func() { newest.uninstall(t) })
	newest.helm(t, "install", release, chartDir, "--set=certificates.mode=cert-manager")
	secrets := newest.Client.CoreV1().Secrets(namespace)
	written := map[string][]byte{"tls.crt": []byte("certificate"), "tls.key": []byte("key"), "ca.crt": []byte("CA")}
	for _, name := range []string{release + "-tls", release + "-issuer-ca"} {
		secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = written
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{FieldManager: "cert-manager"}); err != nil {
			t.Fatal(err)
		}
	}
	bundle := writeCABundle(t)
	for _, serverSide := range []string{"true", "false"} {
		newest.helm(t, "upgrade", release, chartDir, "--set=certificates.mode=cert-manager", "--set=replicas=3", "--server-side="+serverSide)
		for _, name := range []string{release + "-tls", release + "-issuer-ca"} {
			secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(written, secret.Data); diff != "" {
				t.Errorf("--server-side=%s: Secret %s (-before +after):\n%s", serverSide, name, diff)
			}
		}
		_, config := webhookConfiguration(t)
		if after := caBundle(t, config); !bytes.Equal(bundle, after) {
			t.Errorf("--server-side=%s: caBundle was %q, is %q", serverSide, bundle, after)
		}
	}
	newest.helm(t, "uninstall", release)
	if diff := cmp.Diff(before, inventory(t, newest)); diff != "" {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
}

// writeCABundle puts a CA into the webhook configuration, as cainjector does, and returns it.
func writeCABundle(t *testing.T) []byte {
	t.Helper()
	bundle := read(t, writeBundle(t))
	name, config := webhookConfiguration(t)
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = bundle
	}
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Update(t.Context(), config, metav1.UpdateOptions{FieldManager: "cainjector"}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return bundle
}

// writeBundle makes a CA and returns the file with its certificate.
func writeBundle(t *testing.T) string {
	t.Helper()
	bundle, err := cluster.ServingCert(t.TempDir(), release+"."+namespace+".svc")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	testfile.Write(t, file, bundle)
	return file
}

// deployedArguments are those of the installed Deployment, without what is elsewhere on this machine.
func deployedArguments(t *testing.T) []string {
	t.Helper()
	arguments := []string{"--own-namespace", namespace}
	for _, argument := range deployment(t).Spec.Template.Spec.Containers[0].Args {
		switch name, _, _ := strings.Cut(argument, "="); name {
		case "--policy", "--cert-dir", "--bind-address", "--metrics-bind-address", "--health-probe-bind-address":
		case "--shutdown-delay":
			arguments = append(arguments, name+"=0s")
		default:
			arguments = append(arguments, argument)
		}
	}
	return arguments
}

// startSelfManaged runs the webhook with the arguments of the installed Deployment.
func startSelfManaged(t *testing.T, kubeconfig string, more ...string) *cluster.Webhook {
	t.Helper()
	webhook, err := cluster.StartProcess(t.Context(), cluster.WebhookOptions{
		Binary: webhookBinary, Policy: installedPolicy(t), Kubeconfig: kubeconfig,
		Args: append(append(deployedArguments(t), "--ca-settle=1s"), more...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(webhook.Kill)
	return webhook
}

// installedPolicy writes the release's policy to a file, as kubelet does.
func installedPolicy(t *testing.T) string {
	t.Helper()
	config, err := newest.Client.CoreV1().ConfigMaps(namespace).Get(t.Context(), release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	testfile.Write(t, file, config.Data["policy.yaml"])
	return file
}

func installed(t *testing.T) (*corev1.Secret, *admissionv1.MutatingWebhookConfiguration) {
	t.Helper()
	secret, err := newest.Client.CoreV1().Secrets(namespace).Get(t.Context(), release+"-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, config := webhookConfiguration(t)
	return secret, config
}

func webhookConfiguration(t *testing.T) (string, *admissionv1.MutatingWebhookConfiguration) {
	t.Helper()
	config, err := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return config.Name, config
}

func deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	found, err := newest.Client.AppsV1().Deployments(namespace).Get(t.Context(), release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// caBundle returns the one that all entries have.
func caBundle(t *testing.T, config *admissionv1.MutatingWebhookConfiguration) []byte {
	t.Helper()
	for i := range config.Webhooks {
		if !bytes.Equal(config.Webhooks[0].ClientConfig.CABundle, config.Webhooks[i].ClientConfig.CABundle) {
			t.Errorf("entries %s and %s have different caBundles", config.Webhooks[0].Name, config.Webhooks[i].Name)
		}
	}
	return config.Webhooks[0].ClientConfig.CABundle
}

// inventory names every object in the cluster, of every kind that it lists.
func inventory(t *testing.T, c *testCluster) []string {
	t.Helper()
	lists, err := discovery.ServerPreferredResources(c.Client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, list := range lists {
		groupVersion, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || resource.Name == "events" {
				continue
			}
			objects, err := c.objects.Resource(groupVersion.WithResource(resource.Name)).List(t.Context(), metav1.ListOptions{})
			if apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				t.Fatalf("listing %s of %s: %v", resource.Name, list.GroupVersion, err)
			}
			for i := range objects.Items {
				found[resource.Name+" "+objects.Items[i].GetNamespace()+"/"+objects.Items[i].GetName()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
