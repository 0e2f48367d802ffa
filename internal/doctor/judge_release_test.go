package doctor

import (
	"errors"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// releaseFaults are the cases of judge_release.go.
func releaseFaults() map[string]fault {
	return map[string]fault{
		"a second release": {
			func(_ *testing.T, f *Facts) { f.secondRelease(func(*admissionv1.MutatingWebhook) {}) },
			"other-installations", Fail, `webhook configuration shorthop-two is one of Shorthop's too, and calls Service shorthop-system/shorthop`, nil,
		},
		"a second release without our annotation": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(*admissionv1.MutatingWebhook) {})
				f.configurations.value[2].Annotations = nil
			},
			"other-installations", Fail, "are rewritten by each in turn", nil,
		},
		"a second release for other namespaces": {
			func(_ *testing.T, f *Facts) {
				team := func(name string) func(*admissionv1.MutatingWebhook) {
					return func(w *admissionv1.MutatingWebhook) {
						w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}
					}
				}
				f.secondRelease(team("a"))
				for i := range f.webhook.value.Webhooks {
					team("b")(&f.webhook.value.Webhooks[i])
				}
			},
			"other-installations", Pass, "selects other pods", []Check{"webhook-filter"},
		},
		"a second release for namespaces that are not there": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) {
					w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "search"}}
				})
			},
			"other-installations", Pass, "webhook configuration shorthop-two is one of Shorthop's too, and selects no namespace that is there and that this one selects", nil,
		},
		"a second release that is switched off": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) {
					w.MatchConditions = []admissionv1.MatchCondition{{Name: "mode-is-not-off", Expression: "false"}}
				})
			},
			"other-installations", Pass, "selects no namespace that is there", nil,
		},
		"a second release, and namespaces that may not be listed": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) {
					w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "search"}}
				})
				f.namespaces.err = errors.New("needs list namespaces")
			},
			"other-installations", Fail, "are rewritten by each in turn", []Check{"namespaces-opted-out", "namespace-names", "egress-policies"},
		},
		"a second release beside one that is apart": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) {
					w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "search"}}
				})
				f.secondRelease(func(*admissionv1.MutatingWebhook) {})
			},
			"other-installations", Fail, "are rewritten by each in turn", nil,
		},
		"somebody else's webhook with the same path": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) { w.Name = "mpod.kb.io" })
				f.configurations.value[2].Annotations = nil
			},
			"other-installations", Pass, "no other", nil,
		},
	}
}
