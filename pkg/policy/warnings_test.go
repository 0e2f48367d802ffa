package policy_test

import (
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/hostile"
)

// Warnings go to the terminal of whoever creates a pod, through the API server:
// printable, on one line each, bounded in length and number.
func TestWarningsRepeatValuesWithinBounds(t *testing.T) {
	t.Parallel()
	const (
		longest = 1000 // a value of 64 bytes, escaped, and the sentence around it
		most    = 45   // 32 options, and each label and annotation once
	)
	for name, document := range map[string]string{
		"where the policy allows overrides": header + "  dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.10]}}\n  podOverrides: {allowed: [ndots, mode, options]}\n",
		"where it does not":                 header + "  dns: {}\n  podOverrides: {allowed: []}\n",
	} {
		compiled := compile(t, strings.Replace(document, "spec:", "metadata: {name: w}\nspec:", 1))
		for _, text := range hostile.Texts() {
			t.Run(name+", "+text.Name, func(t *testing.T) {
				t.Parallel()
				s := text.Text
				labels := map[string]string{policy.LabelInject: s, policy.LabelServiceHost: s, policy.LabelDNS: s, "node-local-dns-injection": s}
				decision := compiled.Decide(&policy.Request{
					Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceLabels: labels, NamespaceKnown: true,
					Pod: &policy.Pod{Metadata: policy.PodMetadata{Name: s, Labels: labels, Annotations: map[string]string{
						policy.AnnotationNdots: s, policy.AnnotationDNSMode: s, policy.AnnotationDNSOptions: strings.Repeat(s+" ", 100),
					}}},
				})
				if len(decision.Warnings) < 4 || len(decision.Warnings) > most {
					t.Errorf("%d warnings", len(decision.Warnings))
				}
				for _, warning := range decision.Warnings {
					if raw := hostile.Raw([]byte(warning), ""); raw != "" || strings.Contains(warning, "\n") || len(warning) > longest {
						t.Errorf("a warning of %d bytes, with %s: %.200q", len(warning), raw, warning)
					}
				}
			})
		}
	}
}
