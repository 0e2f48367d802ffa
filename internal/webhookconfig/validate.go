package webhookconfig

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/shorthop/shorthop/pkg/policy"
)

// metadataName is the label that every namespace carries with its own name.
const metadataName = corev1.LabelMetadataName

// Validate finds what makes a configuration dangerous, whoever wrote it: an
// entry that selects Shorthop's own namespace (its pods would wait for
// themselves) or an excluded one, and one that is called for updates of pods or
// of their status, most of which cannot be patched.
func Validate(config *admissionv1.MutatingWebhookConfiguration, ownNamespace string, p *policy.InjectionPolicy) field.ErrorList {
	var errs field.ErrorList
	for i := range config.Webhooks {
		webhook, at := &config.Webhooks[i], field.NewPath("webhooks").Index(i)
		selector := at.Child("namespaceSelector")
		if ownNamespace != "" && !excludes(webhook.NamespaceSelector, ownNamespace) {
			errs = append(errs, field.Invalid(selector, describe(webhook.NamespaceSelector),
				fmt.Sprintf("selects %s, the namespace Shorthop runs in; add {key: %s, operator: NotIn, values: [%s]}", ownNamespace, metadataName, ownNamespace)))
		}
		if p != nil {
			excluded := policy.NewExcluded(p.Spec.ExcludedNamespaces)
			if len(excluded.Prefixes) > 0 && !slices.Contains(webhook.MatchConditions, notExcluded(excluded.Prefixes)) {
				errs = append(errs, field.Required(at.Child("matchConditions"), fmt.Sprintf("nothing keeps out namespaces that begin with %s, which the policy excludes; add {name: %s, expression: %q}",
					strings.Join(excluded.Prefixes, " or "), ConditionExcluded, notExcluded(excluded.Prefixes).Expression)))
			}
			for _, namespace := range excluded.Names {
				if !excludes(webhook.NamespaceSelector, namespace) {
					errs = append(errs, field.Invalid(selector, describe(webhook.NamespaceSelector),
						fmt.Sprintf("selects %s, which the policy excludes; add it to the values of {key: %s, operator: NotIn}", namespace, metadataName)))
				}
			}
		}
		for j := range webhook.Rules {
			errs = append(errs, validateRule(&webhook.Rules[j], at.Child("rules").Index(j))...)
		}
	}
	return errs
}

// excludes reports whether a selector can never select a namespace. Only its
// name counts: every other label may change.
func excludes(selector *metav1.LabelSelector, namespace string) bool {
	if selector == nil {
		return false
	}
	if name, ok := selector.MatchLabels[metadataName]; ok && name != namespace {
		return true
	}
	return slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		if r.Key != metadataName {
			return false
		}
		listed := slices.Contains(r.Values, namespace)
		return r.Operator == metav1.LabelSelectorOpNotIn && listed || r.Operator == metav1.LabelSelectorOpIn && !listed
	})
}

func describe(selector *metav1.LabelSelector) string {
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return "{}"
	}
	return metav1.FormatLabelSelector(selector)
}

func validateRule(r *admissionv1.RuleWithOperations, at *field.Path) field.ErrorList {
	pods := slices.ContainsFunc(r.APIGroups, func(group string) bool {
		return group == "" || group == "*"
	}) && slices.ContainsFunc(r.Resources, func(resource string) bool {
		name, subresource, _ := strings.Cut(resource, "/")
		return (name == "pods" || name == "*") && subresource != "ephemeralcontainers"
	})
	updates := slices.ContainsFunc(r.Operations, func(operation admissionv1.OperationType) bool {
		return operation == admissionv1.Update || operation == admissionv1.OperationAll
	})
	if pods && updates {
		return field.ErrorList{field.Invalid(at.Child("operations"), r.Operations,
			"must not include UPDATE for pods: what Shorthop patches is immutable; use UPDATE for pods/ephemeralcontainers only")}
	}
	return nil
}
