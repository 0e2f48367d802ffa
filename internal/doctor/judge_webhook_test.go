package doctor

import (
	"errors"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// webhookFaults are the cases of judge_webhook.go.
func webhookFaults() map[string]fault {
	return map[string]fault{
		"the kill switch, in the policy and at the API server": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n")
				f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n")
			},
			"webhook-filter", Pass, "selectors and conditions are those of the policy in force", nil,
		},
		"the kill switch is left behind at the API server": {
			func(t *testing.T, f *Facts) { f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n") },
			"webhook-filter", Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the kill switch is in the policy only": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n") },
			"webhook-filter", Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the webhook configuration cannot be read": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value, f.webhook.err = nil, errors.New("needs get mutatingwebhookconfigurations")
			},
			"webhook-configuration", Unknown, "needs get mutatingwebhookconfigurations", []Check{"ca-bundle-writers", "webhook-filter", "serving-certificate", "unpatched-pods"},
		},
		"dry runs would be rejected": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].SideEffects = new(admissionv1.SideEffectClassSome)
			},
			"webhook-configuration", Fail, "sideEffects is Some", nil,
		},
		"it is not called for new pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[1:]
			},
			"webhook-configuration", Fail, "is not called for new pods", nil,
		},
		"it is not called for ephemeral containers": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[:1]
			},
			"webhook-configuration", Warn, "is not called for ephemeral containers", nil,
		},
		"it calls another path": {
			func(_ *testing.T, f *Facts) { f.webhook.value.Webhooks[0].ClientConfig.Service.Path = new("/") },
			"webhook-configuration", Fail, `calls the path "/"`, nil,
		},
		"an entry of somebody else": {
			func(_ *testing.T, f *Facts) {
				other := f.webhook.value.Webhooks[0].DeepCopy()
				other.Name = "other.example.com"
				f.webhook.value.Webhooks = append(f.webhook.value.Webhooks, *other)
				f.failOpen.value = nil
			},
			"webhook-configuration", Warn, "other.example.com is not one of Shorthop's", nil,
		},
		"it is called for updates of pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules[0].Operations = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
			},
			"webhook-filter", Fail, "must not include UPDATE for pods", nil,
		},
		"the order of requirements does not matter": {
			func(_ *testing.T, f *Facts) {
				for i := range f.webhook.value.Webhooks {
					e := f.webhook.value.Webhooks[i].NamespaceSelector.MatchExpressions
					e[0], e[1] = e[1], e[0]
				}
			},
			"webhook-filter", Pass, "", nil,
		},
		"a requirement is missing": {
			func(_ *testing.T, f *Facts) {
				s := f.webhook.value.Webhooks[0].NamespaceSelector
				s.MatchExpressions = s.MatchExpressions[1:]
			},
			"webhook-filter", Warn, "namespaceSelector lacks", nil,
		},
		"an objectSelector is added": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
			},
			"webhook-filter", Warn, `objectSelector has "a In [b]" besides`, nil,
		},
		"a platform leaves its own namespaces out": {
			func(_ *testing.T, f *Facts) { f.enforce("control-plane", "true") },
			"webhook-filter", Pass, `namespaceSelector has "control-plane NotIn [true]" besides: it leaves out more`, nil,
		},
		"a platform leaves its own namespaces out, and a requirement is missing": {
			func(_ *testing.T, f *Facts) {
				s := f.webhook.value.Webhooks[0].NamespaceSelector
				s.MatchExpressions = s.MatchExpressions[1:]
				f.enforce("control-plane", "true")
			},
			"webhook-filter", Warn, "namespaceSelector lacks", nil,
		},
	}
}
