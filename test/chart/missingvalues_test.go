//go:build chart

package chart_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// firstEdition is the packaged chart that came before values were added: `helm package` of charts/shorthop at 6d5e9a3.
const firstEdition = "testdata/first-edition.tgz"

// withoutMeansNone are values whose absence says that there is none, whatever values.yaml has.
var withoutMeansNone = []string{"nodeSelector", "topologySpreadConstraints", "resources"}

// oneValue are groups of which nothing is filled in where they are there.
var oneValue = []string{"annotations", "labels", "podSecurityContext", "securityContext", "dnsConfig", "strategy", "issuerRef", "namespaceSelector", "objectSelector"}

// allOn renders what is optional as well, as far as the groups that switch it on are there.
const allOn = `
metrics:
  serviceMonitor: {enabled: true}
  prometheusRule: {enabled: true}
  dashboard: {enabled: true}
networkPolicy: {enabled: true}
`

// Every value, and every group of values, may be missing, as after an upgrade with --reuse-values from a chart that did not
// have it yet: the chart is rendered with what values.yaml has.
func TestValuesThatAreMissing(t *testing.T) {
	var all object
	if err := sigsyaml.UnmarshalStrict(read(t, chartDir+"/values.yaml"), &all); err != nil {
		t.Fatal(err)
	}
	want, tried := render(t, values(t, allOn)), 0
	for _, path := range paths("", all) {
		if strings.HasPrefix(path, "policy.") {
			continue // a field of the policy that is left out means that; those that the filter needs are asked for by the schema
		}
		tried++
		var without object
		if err := sigsyaml.UnmarshalStrict([]byte(allOn), &without); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(without, nil, strings.Split(path, ".")...); err != nil {
			t.Fatal(err)
		}
		encoded := jsontest.YAML(t, without)
		flag := values(t, string(encoded))
		if path == "certificates" || path == "certificates.mode" {
			// The default looks at the cluster.
			if _, err := output(t, os.Getenv("HELM"), "template", release, chartDir, "--namespace", namespace, flag); err == nil || !strings.Contains(err.Error(), "certificates.mode auto looks at the cluster") {
				t.Errorf("without %s: %v", path, err)
			}
			continue
		}
		got := render(t, flag)
		switch {
		case slices.Contains(withoutMeansNone, path):
			continue
		case path == "policy":
			if diff := cmp.Diff(renderedPolicy(t, want), renderedPolicy(t, got)); diff != "" {
				t.Errorf("without policy (-with +without):\n%s", diff)
			}
			delete(got, "ConfigMap "+namespace+"/"+release)
		}
		for key, o := range got {
			if diff := cmp.Diff(want[key].Object, o.Object); diff != "" {
				t.Errorf("without %s: %s (-with +without):\n%s", path, key, diff)
			}
		}
	}
	t.Logf("%d values", tried)
}

// paths are those of all values, groups included.
func paths(prefix string, values object) (all []string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		path := prefix + key
		all = append(all, path)
		if group, ok := values[key].(object); ok && !slices.Contains(oneValue, key) && !slices.Contains(withoutMeansNone, key) {
			all = append(all, paths(path+".", group)...)
		}
	}
	return all
}

func renderedPolicy(t *testing.T, objects map[string]*unstructured.Unstructured) *policy.InjectionPolicy {
	t.Helper()
	var config corev1.ConfigMap
	convert(t, objects["ConfigMap "+namespace+"/"+release].Object, &config)
	return reviewtest.Parse(t, config.Data["policy.yaml"])
}

// Who takes an annotation out does not get it back.
func TestAnAnnotationCanBeTakenOut(t *testing.T) {
	for _, flag := range []string{`--set-json=webhook.annotations={"admissions.enforcer/disabled":null}`, `--set-json=webhook={"annotations":{"admissions.enforcer/disabled":null,"a":"b"}}`} {
		got := render(t, flag)["MutatingWebhookConfiguration /"+release].GetAnnotations()
		if _, ok := got[webhookconfig.AnnotationEnforcerDisabled]; ok {
			t.Errorf("%s: annotations are %v", flag, got)
		}
	}
}

// A release of the first edition becomes one of today's in both ways to keep one's values, with Helm 4 and Helm 3.
func TestUpgradeFromTheFirstEdition(t *testing.T) {
	for name, helm := range majors {
		for _, test := range []struct{ flag, priority string }{
			{"--reset-then-reuse-values", ""},
			{"--reuse-values", "system-cluster-critical"}, // the old default, with the quota that it needs
		} {
			t.Run(fmt.Sprintf("%s %s", name, test.flag), func(t *testing.T) {
				before := inventory(t, newest)
				t.Cleanup(func() { newest.uninstall(t) })
				newest.helmOf(t, helm, "install", release, firstEdition, "--set=replicas=3,policy.serviceHost.host=api.example.com", "--set=certificates.mode=self-managed")
				newest.helmOf(t, helm, "upgrade", release, chartDir, test.flag, "--set=policy.mode=DryRun")
				installed := deployment(t)
				if *installed.Spec.Replicas != 3 || installed.Spec.Template.Spec.PriorityClassName != test.priority {
					t.Errorf("%d replicas of priority class %q", *installed.Spec.Replicas, installed.Spec.Template.Spec.PriorityClassName)
				}
				quotas, err := newest.Client.CoreV1().ResourceQuotas(namespace).List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got := len(quotas.Items) == 1; got != (test.priority != "") {
					t.Errorf("%d ResourceQuotas", len(quotas.Items))
				}
				_, config := webhookConfiguration(t)
				if config.Annotations[webhookconfig.AnnotationEnforcerDisabled] != "true" {
					t.Errorf("annotations of the webhook configuration are %v", config.Annotations)
				}
				if slices.ContainsFunc(config.Webhooks, func(w admissionv1.MutatingWebhook) bool { return *w.TimeoutSeconds != 2 }) {
					t.Error("an entry has another timeout")
				}
				parsed := reviewtest.Parse(t, read(t, installedPolicy(t)))
				if parsed.Spec.Mode != policy.ModeDryRun || parsed.Spec.ServiceHost.Host != "api.example.com" {
					t.Errorf("the policy has mode %s and service host %+v", parsed.Spec.Mode, parsed.Spec.ServiceHost)
				}
				newest.helmOf(t, helm, "uninstall", release)
				if diff := cmp.Diff(before, inventory(t, newest)); diff != "" {
					t.Errorf("objects (-before +after):\n%s", diff)
				}
			})
		}
	}
}
