package main

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

func inNamespace(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{name}},
	}}
}

var podsOnCreate = admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
}

// plainWebhook has no conditions to evaluate, unlike ours.
func plainWebhook(namespace, url string, caBundle []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    namespace + ".bench.example.com",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: caBundle},
			Rules:                   []admissionregistrationv1.RuleWithOperations{podsOnCreate},
			NamespaceSelector:       inNamespace(namespace),
			FailurePolicy:           new(admissionregistrationv1.Ignore),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// withPrefix is the policy with a prefix among its excluded namespaces: the filter then has a condition for every pod.
func withPrefix(document *policy.InjectionPolicy) *policy.InjectionPolicy {
	prefixed := *document
	prefixed.Spec.ExcludedNamespaces = append(slices.Clone(document.Spec.ExcludedNamespaces), "openshift-*")
	return &prefixed
}

// ourWebhook is the configuration that the chart installs, narrowed down to a namespace.
func (b *bench) ourWebhook(document *policy.InjectionPolicy, namespace, url string) *admissionregistrationv1.MutatingWebhookConfiguration {
	config := webhookconfig.New(document, webhookconfig.Options{
		Name: namespace, OwnNamespace: ownNamespace, URL: strings.TrimSuffix(url, webhookconfig.Path), CABundle: b.caBundle,
	})
	for i := range config.Webhooks {
		selector := config.Webhooks[i].NamespaceSelector
		selector.MatchExpressions = append(selector.MatchExpressions, inNamespace(namespace).MatchExpressions...)
	}
	return config
}
