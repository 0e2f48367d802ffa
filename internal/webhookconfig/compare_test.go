package webhookconfig_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

func TestCompareFilters(t *testing.T) {
	t.Parallel()
	r := func(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	const in, notIn, exists, doesNotExist = metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist
	own := r("name", notIn, "a", "b")
	type requirements = []metav1.LabelSelectorRequirement
	type effects = []webhookconfig.Effect
	const more, only, drift = webhookconfig.LeavesOutMore, webhookconfig.TakesOnly, webhookconfig.Drift
	for name, c := range map[string]struct {
		got, want requirements
		effects   effects
	}{
		"the same":                            {requirements{own}, requirements{own}, nil},
		"another order of values":             {requirements{r("name", notIn, "b", "a")}, requirements{own}, nil},
		"the enforcer of AKS":                 {requirements{own, r("control-plane", notIn, "true"), r("kubernetes.azure.com/managedby", notIn, "aks")}, requirements{own}, effects{more, more}},
		"the enforcer of AKS, earlier":        {requirements{own, r("control-plane", doesNotExist)}, requirements{own}, effects{more}},
		"more values of our own requirement":  {requirements{r("name", notIn, "a", "b", "c")}, requirements{own}, effects{more}},
		"a second requirement of the key":     {requirements{own, r("name", notIn, "c")}, requirements{own}, effects{more}},
		"fewer values of our own requirement": {requirements{r("name", notIn, "a")}, requirements{own}, effects{drift}},
		"our requirement is missing":          {nil, requirements{own}, effects{drift}},
		"missing, beside an addition":         {requirements{r("control-plane", notIn, "true")}, requirements{own}, effects{more, drift}},
		"only what has a label":               {requirements{own, r("team", exists)}, requirements{own}, effects{only}},
		"only what has a value":               {requirements{own, r("team", in, "search")}, requirements{own}, effects{only}},
		"only some names that are not ours":   {requirements{r("name", in, "c")}, requirements{own}, effects{only}},
		"only some names, ours among them":    {requirements{r("name", in, "a", "c")}, requirements{own}, effects{only, drift}},
		"only fewer values than we take":      {requirements{r("inject", in, "off")}, requirements{r("inject", in, "off", "false")}, effects{only}},
		"more values than we take":            {requirements{r("inject", in, "off", "false")}, requirements{r("inject", in, "off")}, effects{drift}},
		"exists in place of not exists":       {requirements{r("a", exists)}, requirements{r("a", doesNotExist)}, effects{only, drift}},
		"a value where any would do":          {requirements{r("a", in, "b")}, requirements{r("a", exists)}, effects{only}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entry := func(all requirements) *admissionv1.MutatingWebhook {
				s := &metav1.LabelSelector{MatchExpressions: all}
				return &admissionv1.MutatingWebhook{NamespaceSelector: s, ObjectSelector: s}
			}
			var got effects
			for _, d := range webhookconfig.CompareFilters(entry(c.got), entry(c.want)) {
				if strings.HasPrefix(d.Text, "objectSelector") {
					got = append(got, d.Effect)
				}
			}
			if diff := cmp.Diff(c.effects, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCompareMatchConditions(t *testing.T) {
	t.Parallel()
	entry := func(conditions ...admissionv1.MatchCondition) *admissionv1.MutatingWebhook {
		return &admissionv1.MutatingWebhook{MatchConditions: conditions}
	}
	a, b := admissionv1.MatchCondition{Name: "a", Expression: "true"}, admissionv1.MatchCondition{Name: "b", Expression: "true"}
	got := webhookconfig.CompareFilters(entry(b, admissionv1.MatchCondition{Name: "c"}), entry(a, admissionv1.MatchCondition{Name: "b", Expression: "false"}))
	want := []webhookconfig.Difference{
		{Effect: webhookconfig.Drift, Text: `matchConditions lack "a"`},
		{Effect: webhookconfig.Drift, Text: `the matchCondition "b" has another expression`},
		{Effect: webhookconfig.TakesOnly, Text: `matchConditions have "c" besides: what it keeps out is not changed`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := webhookconfig.CompareFilters(entry(a, b), entry(b, a)); len(got) > 0 {
		t.Errorf("in another order: %v", got)
	}
}
