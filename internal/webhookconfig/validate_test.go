package webhookconfig_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

func byName(operator metav1.LabelSelectorOperator, names ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "kubernetes.io/metadata.name", Operator: operator, Values: names},
	}}
}

// TestValidate has what is refused, with the text that an operator sees.
func TestValidate(t *testing.T) {
	t.Parallel()
	const (
		updates = `webhooks[0].rules[0].operations: Invalid value: ["CREATE","UPDATE"]: must not include UPDATE for pods: what Shorthop patches is immutable; use UPDATE for pods/ephemeralcontainers only`
		all     = `webhooks[0].rules[0].operations: Invalid value: ["*"]: must not include UPDATE for pods: what Shorthop patches is immutable; use UPDATE for pods/ephemeralcontainers only`
	)
	own := func(selector string) string {
		return `webhooks[0].namespaceSelector: Invalid value: "` + selector + `": selects shorthop, the namespace Shorthop runs in; add {key: kubernetes.io/metadata.name, operator: NotIn, values: [shorthop]}`
	}
	excluded := func(selector, namespace string) string {
		return `webhooks[0].namespaceSelector: Invalid value: "` + selector + `": selects ` + namespace + `, which the policy excludes; add it to the values of {key: kubernetes.io/metadata.name, operator: NotIn}`
	}
	safe := byName(metav1.LabelSelectorOpNotIn, "shorthop", "kube-system")
	ofPods := func(operations ...admissionv1.OperationType) []admissionv1.RuleWithOperations {
		return rules("", "pods", operations...)
	}
	tests := map[string]struct {
		selector *metav1.LabelSelector
		rules    []admissionv1.RuleWithOperations
		want     []string
	}{
		"no selector":    {nil, nil, []string{own("{}"), excluded("{}", "kube-system")}},
		"empty selector": {&metav1.LabelSelector{}, nil, []string{own("{}"), excluded("{}", "kube-system")}},
		"own namespace": {
			byName(metav1.LabelSelectorOpNotIn, "kube-system"), nil,
			[]string{own("kubernetes.io/metadata.name notin (kube-system)")},
		},
		"excluded namespace": {
			byName(metav1.LabelSelectorOpNotIn, "shorthop"), nil,
			[]string{excluded("kubernetes.io/metadata.name notin (shorthop)", "kube-system")},
		},
		"named by In": {
			byName(metav1.LabelSelectorOpIn, "shorthop", "shop"), nil,
			[]string{own("kubernetes.io/metadata.name in (shop,shorthop)")},
		},
		"named by a label": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}}, nil,
			[]string{excluded("kubernetes.io/metadata.name=kube-system", "kube-system")},
		},
		"only a label that may change": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}, nil,
			[]string{own("team=shop"), excluded("team=shop", "kube-system")},
		},
		"the label's existence": {
			byName(metav1.LabelSelectorOpExists), nil,
			[]string{own("kubernetes.io/metadata.name"), excluded("kubernetes.io/metadata.name", "kube-system")},
		},
		"safe by NotIn":     {safe, nil, nil},
		"safe by In":        {byName(metav1.LabelSelectorOpIn, "shop"), nil, nil},
		"safe by the label": {&metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "shop"}}, nil, nil},

		"creation of pods":                {safe, ofPods(admissionv1.Create), nil},
		"update of pods":                  {safe, ofPods(admissionv1.Create, admissionv1.Update), []string{updates}},
		"every operation on pods":         {safe, ofPods(admissionv1.OperationAll), []string{all}},
		"update of every resource":        {safe, rules("", "*", admissionv1.Create, admissionv1.Update), []string{updates}},
		"update of everything":            {safe, rules("*", "*/*", admissionv1.Create, admissionv1.Update), []string{updates}},
		"update of every subresource":     {safe, rules("", "pods/*", admissionv1.Create, admissionv1.Update), []string{updates}},
		"update of the status":            {safe, rules("", "pods/status", admissionv1.Create, admissionv1.Update), []string{updates}},
		"update of ephemeral containers":  {safe, rules("", "pods/ephemeralcontainers", admissionv1.Update), nil},
		"update of pods of another group": {safe, rules("example.com", "pods", admissionv1.Update), nil},
		"update of other resources":       {safe, rules("", "configmaps", admissionv1.Update), nil},
		"deletion of pods":                {safe, ofPods(admissionv1.Delete), nil},
		"both faults":                     {nil, ofPods(admissionv1.Create, admissionv1.Update), []string{own("{}"), excluded("{}", "kube-system"), updates}},
	}
	p := &policy.InjectionPolicy{Spec: policy.Spec{ExcludedNamespaces: []string{"kube-system"}}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{
				{NamespaceSelector: test.selector, Rules: test.rules},
			}}
			var got []string
			for _, err := range webhookconfig.Validate(config, "shorthop", p) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func rules(group, resource string, operations ...admissionv1.OperationType) []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: operations,
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}
}

// TestValidateEveryEntry names the entry and the rule that are at fault.
func TestValidateEveryEntry(t *testing.T) {
	t.Parallel()
	p := parse(t, "")
	config := webhookconfig.New(p, inCluster)
	config.Webhooks[1].NamespaceSelector = byName(metav1.LabelSelectorOpNotIn, append(p.Spec.ExcludedNamespaces, "other")...)
	config.Webhooks[1].Rules[1].Resources = []string{"pods/ephemeralcontainers", "pods"}
	var got []string
	for _, err := range webhookconfig.Validate(config, "shorthop", p) {
		got = append(got, err.Field)
	}
	if diff := cmp.Diff([]string{"webhooks[1].namespaceSelector", "webhooks[1].rules[1].operations"}, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// TestValidatePrefixes wants the condition in every entry, and the own namespace in
// a selector whatever the condition keeps out.
func TestValidatePrefixes(t *testing.T) {
	t.Parallel()
	p := parse(t, "  excludedNamespaces: [short*, openshift-*]\n")
	const condition = `{name: namespace-is-not-excluded, expression: "!request.namespace.startsWith('short') && !request.namespace.startsWith('openshift-')"}`
	const missing = ".matchConditions: Required value: nothing keeps out namespaces that begin with short or openshift-, which the policy excludes; add " + condition
	for name, test := range map[string]struct {
		change func(*admissionv1.MutatingWebhookConfiguration)
		want   []string
	}{
		"as it is made": {func(*admissionv1.MutatingWebhookConfiguration) {}, nil},
		"no condition":  {func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].MatchConditions = nil }, []string{"webhooks[0]" + missing}},
		"a condition of another": {func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Webhooks[2].MatchConditions[0].Expression = "true"
		}, []string{"webhooks[2]" + missing}},
		"only a prefix keeps out the own namespace": {
			func(c *admissionv1.MutatingWebhookConfiguration) {
				c.Webhooks[1].NamespaceSelector = byName(metav1.LabelSelectorOpNotIn, "other")
			},
			[]string{`webhooks[1].namespaceSelector: Invalid value: "kubernetes.io/metadata.name notin (other)": selects shorthop, the namespace Shorthop runs in; add {key: kubernetes.io/metadata.name, operator: NotIn, values: [shorthop]}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := webhookconfig.New(p, inCluster)
			test.change(config)
			var got []string
			for _, err := range webhookconfig.Validate(config, "shorthop", p) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestValidateOffline checks only what is known.
func TestValidateOffline(t *testing.T) {
	t.Parallel()
	config := &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{}}}
	if errs := webhookconfig.Validate(config, "", nil); len(errs) > 0 {
		t.Errorf("without a namespace and a policy: %v", errs)
	}
}
