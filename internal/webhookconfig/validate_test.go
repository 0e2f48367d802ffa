package webhookconfig_test

import (
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestValidate has what is refused, with the text that an operator sees. Case files: testdata/validate/<what there is>.txtar.
// The sections:
//
//	spec.yaml      what the policy's spec has; it excludes kube-system if there is none
//	webhooks.yaml  the entries of a configuration, for a server in namespace shorthop
//	errors         expected; `go test ./internal/webhookconfig -update` rewrites it
func TestValidate(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/validate", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "spec.yaml", "webhooks.yaml", "errors")
		spec := c.Section("spec.yaml")
		if spec == nil {
			spec = []byte("  excludedNamespaces: [kube-system]\n")
		}
		var config admissionv1.MutatingWebhookConfiguration
		readYAML(t, c, "webhooks.yaml", &config.Webhooks)
		var got []byte
		for _, err := range webhookconfig.Validate(&config, "shorthop", parse(t, string(spec))) {
			got = fmt.Appendln(got, err)
		}
		c.Expect(t, "errors", got)
	})
}

// TestValidateOffline checks only what is known.
func TestValidateOffline(t *testing.T) {
	t.Parallel()
	config := &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{}}}
	if errs := webhookconfig.Validate(config, "", nil); len(errs) > 0 {
		t.Errorf("without a namespace and a policy: %v", errs)
	}
}
