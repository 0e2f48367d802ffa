package webhookconfig_test

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

// TestFilterOf asks of pods whether they are sent to the webhook.
func TestFilterOf(t *testing.T) {
	t.Parallel()
	named := func(name string) map[string]string { return map[string]string{"kubernetes.io/metadata.name": name} }
	off := map[string]string{"shorthop.dev/inject": "disabled"}
	for name, c := range map[string]struct {
		policy         string
		change         func(*admissionv1.MutatingWebhookConfiguration)
		namespace, pod map[string]string
		want           bool
	}{
		"a pod":                                  {"", nil, named("shop"), nil, true},
		"of an excluded namespace":               {"  excludedNamespaces: [shop]\n", nil, named("shop"), nil, false},
		"of Shorthop's namespace":                {"", nil, named("shorthop"), nil, false},
		"that is opted out, and may ask for one": {"", nil, named("shop"), off, true},
		"of a namespace that is opted out":       {"", nil, off, nil, true},
		"of a namespace that is opted out for good": {
			"  namespaceOptOut: Final\n", nil, off, nil, false,
		},
		"under the kill switch": {"  mode: Off\n", nil, named("shop"), nil, false},
		"that a platform leaves out": {"", func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].NamespaceSelector.MatchLabels = map[string]string{"team": "search"}
			}
		}, named("shop"), nil, false},
		"that an objectSelector leaves out": {"", func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
			}
		}, named("shop"), map[string]string{"app": "db"}, false},
		"without selectors": {"", func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Webhooks = c.Webhooks[:1]
			c.Webhooks[0].NamespaceSelector, c.Webhooks[0].ObjectSelector = nil, nil
		}, nil, nil, true},
		"for whom it is not called": {"", func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].Rules = c.Webhooks[i].Rules[1:]
			}
		}, named("shop"), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := webhookconfig.New(parse(t, c.policy), inCluster)
			if c.change != nil {
				c.change(config)
			}
			filter, err := webhookconfig.FilterOf(config)
			if err != nil {
				t.Fatal(err)
			}
			if got := filter.Calls(c.namespace, c.pod); got != c.want {
				t.Errorf("it is called: %t, want %t", got, c.want)
			}
			if filter.Calls(c.namespace, c.pod) && !filter.CallsIn(c.namespace) {
				t.Error("called for a pod of a namespace that is not selected")
			}
		})
	}
}

func TestFilterOfNoSelector(t *testing.T) {
	t.Parallel()
	config := webhookconfig.New(parse(t, ""), inCluster)
	config.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
	if _, err := webhookconfig.FilterOf(config); err == nil {
		t.Error("a selector that is none is read")
	}
}
