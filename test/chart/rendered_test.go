//go:build chart

package chart_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/testfile"
)

const (
	webhookBinary = root + "/bin/webhook"
	pluginBinary  = root + "/bin/kubectl-shorthop"
)

// oddPolicies are values whose filters differ from those of the presets.
var oddPolicies = map[string]string{
	"no values":                  `{}`,
	"Final opt-out":              `policy: {namespaceOptOut: Final}`,
	"aliases off":                `policy: {labelAliases: []}`,
	"nothing excluded":           `policy: {excludedNamespaces: []}`,
	"own namespace excluded":     `policy: {excludedNamespaces: [kube-system, ` + namespace + `, vault]}`,
	"more excluded, other kind":  `policy: {excludedNamespaces: [a, b, c-d], labelAliases: [{label: example.com/x, feature: DNS}, {label: plain, feature: ServiceHost, disableOnly: true}]}`,
	"prefixes excluded":          `policy: {excludedNamespaces: [openshift-*, kube-system, a*, vault]}`,
	"prefixes only, own as well": `policy: {excludedNamespaces: [` + namespace[:3] + `*], namespaceOptOut: Final}`,
	"prefixes in mode Off":       `policy: {excludedNamespaces: [openshift-*, vault], mode: Off}`,
	"disableOnly said to be no":  `policy: {labelAliases: [{label: z, feature: DNS, disableOnly: false}], namespaceOptOut: Final}`,
	"mode Off":                   `policy: {mode: Off}`,
	"another name":               `fullnameOverride: other`,
}

// The filter that the template writes is the one that the code makes from the rendered policy, for every preset and for
// odd policies.
func TestWebhookConfigurationIsTheOneOfTheCode(t *testing.T) {
	bundle, err := cluster.ServingCert(t.TempDir(), release+"."+namespace+".svc")
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	testfile.Write(t, caFile, bundle)
	cases := map[string]string{}
	for _, file := range presets(t) {
		cases["preset "+filepath.Base(file)] = "--values=" + file
	}
	for name, content := range oddPolicies {
		cases[name] = values(t, content)
	}
	for name, flag := range cases {
		t.Run(name, func(t *testing.T) {
			var config *admissionv1.MutatingWebhookConfiguration
			var policies *corev1.ConfigMap
			for _, o := range render(t, flag, "--set=certificates.mode=provided", "--set=certificates.provided.secretName=mine",
				"--set-file=certificates.provided.caBundle="+caFile) {
				switch o.GetKind() {
				case "MutatingWebhookConfiguration":
					convert(t, o.Object, &config)
				case "ConfigMap":
					convert(t, o.Object, &policies)
				}
			}
			policyFile := filepath.Join(t.TempDir(), "policy.yaml")
			testfile.Write(t, policyFile, policies.Data["policy.yaml"])
			text, err := output(t, pluginBinary, "webhook-config", "--policy", policyFile, "--own-namespace", namespace,
				"--service", config.Name, "--ca-bundle", caFile)
			if err != nil {
				t.Fatal(err)
			}
			want := new(admissionv1.MutatingWebhookConfiguration)
			if err := sigsyaml.UnmarshalStrict([]byte(text), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Webhooks, config.Webhooks); diff != "" {
				t.Errorf("webhooks (-code +chart):\n%s", diff)
			}
			if diff := cmp.Diff(want.Annotations, config.Annotations); diff != "" {
				t.Errorf("annotations (-code +chart):\n%s", diff)
			}
			if want.Labels["app.kubernetes.io/name"] != config.Labels["app.kubernetes.io/name"] {
				t.Errorf("labels are %v, those of the code %v", config.Labels, want.Labels)
			}
		})
	}
}

// Every cert source has flags that the server accepts, as far as it can tell without a cluster.
func TestServerAcceptsItsFlags(t *testing.T) {
	help, err := output(t, webhookBinary, "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"cert-manager", "self-managed", "provided"} {
		for _, argument := range podTemplate(t, withClientCA(t, mode)...).Spec.Containers[0].Args {
			name, _, _ := strings.Cut(argument, "=")
			if !strings.Contains(help, "      "+name+" ") {
				t.Errorf("mode %s: the server has no flag %s", mode, name)
			}
		}
	}
}

// The rendered pod is admitted where restricted Pod Security is enforced, and so is the pod of `helm test`.
func TestPodsAreAdmittedUnderRestrictedPodSecurity(t *testing.T) {
	const restricted = "restricted"
	if err := newest.CreateNamespace(t.Context(), restricted, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"cert-manager", "self-managed", "provided"} {
		template := podTemplate(t, withClientCA(t, mode)...)
		var test corev1.Pod
		convert(t, render(t, modeFlags(t, mode)...)["Pod "+namespace+"/"+release+"-test"].Object, &test)
		for name, spec := range map[string]corev1.PodSpec{"Deployment": template.Spec, "helm test": test.Spec} {
			spec.ServiceAccountName = "default" // the namespace has no other
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-"}, Spec: spec}
			if _, err := newest.Client.CoreV1().Pods(restricted).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
				t.Errorf("mode %s: the pod of %s: %v", mode, name, err)
			}
			// The namespace really enforces it.
			pod.Spec.Containers[0].SecurityContext = nil
			if _, err := newest.Client.CoreV1().Pods(restricted).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
				t.Error("a pod without a security context is admitted: this test has lost its subject")
			}
		}
	}
}

// On termination there is time for the shutdown delay and for what is in flight.
func TestGracePeriodExceedsTheShutdownDelay(t *testing.T) {
	for _, delay := range []string{"0", "10", "45"} {
		template := podTemplate(t, "--set=shutdownDelaySeconds="+delay)
		var seconds int64
		for _, argument := range template.Spec.Containers[0].Args {
			if value, ok := strings.CutPrefix(argument, "--shutdown-delay="); ok {
				parsed, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				seconds = int64(parsed.Seconds())
			}
		}
		if grace := *template.Spec.TerminationGracePeriodSeconds; grace < seconds+15 {
			t.Errorf("shutdown delay %d s, grace period %d s", seconds, grace)
		}
	}
}

// A new policy reaches the pods that run: it must not restart them.
func TestPolicyIsNotPartOfThePod(t *testing.T) {
	before := podTemplate(t)
	after := podTemplate(t, values(t, "policy: {mode: DryRun, dns: {ndots: 2}, excludedNamespaces: [a], rules: [{name: one}]}"))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("pod template (-before +after):\n%s", diff)
	}
}

func podTemplate(t *testing.T, args ...string) corev1.PodTemplateSpec {
	t.Helper()
	var deployment appsv1.Deployment
	convert(t, render(t, args...)["Deployment "+namespace+"/"+release].Object, &deployment)
	return deployment.Spec.Template
}

// modeFlags chooses a certificate mode.
func modeFlags(t *testing.T, mode string) []string {
	t.Helper()
	flags := []string{"--set=certificates.mode=" + mode}
	if mode == "provided" {
		flags = append(flags, values(t, `certificates: {provided: {secretName: mine, caBundle: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}}`))
	}
	return flags
}

// withClientCA has every flag and volume that the mode can have.
func withClientCA(t *testing.T, mode string) []string {
	t.Helper()
	return append(modeFlags(t, mode), values(t, "clientCA: {configMap: callers, names: [kube-apiserver]}"))
}
