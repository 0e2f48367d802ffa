package webhookconfig

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Filter is for which new pods the API server calls a configuration, as far as
// selectors say it. Match conditions can only leave out more, and but for one that
// is always false (ConditionMode) they are taken to be met.
type Filter struct{ entries []selectors }

// selectors are those of an entry that is called for new pods at all.
type selectors struct{ namespaces, pods labels.Selector }

// FilterOf reads the filter of a configuration as it is in the cluster.
func FilterOf(config *admissionv1.MutatingWebhookConfiguration) (*Filter, error) {
	f := &Filter{}
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		closed := slices.ContainsFunc(entry.MatchConditions, func(c admissionv1.MatchCondition) bool { return c.Expression == "false" })
		if closed || !CalledFor(entry.Rules, admissionv1.Create, "pods") {
			continue
		}
		var s selectors
		var err error
		if s.namespaces, err = selectorOf(entry.NamespaceSelector); err != nil {
			return nil, fmt.Errorf("entry %s: namespaceSelector: %w", entry.Name, err)
		}
		if s.pods, err = selectorOf(entry.ObjectSelector); err != nil {
			return nil, fmt.Errorf("entry %s: objectSelector: %w", entry.Name, err)
		}
		f.entries = append(f.entries, s)
	}
	return f, nil
}

// selectorOf reads a selector; none selects everything.
func selectorOf(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Calls reports whether an entry selects a new pod, by the labels of its namespace
// and its own.
func (f *Filter) Calls(namespace, pod map[string]string) bool {
	return slices.ContainsFunc(f.entries, func(s selectors) bool {
		return s.namespaces.Matches(labels.Set(namespace)) && s.pods.Matches(labels.Set(pod))
	})
}

// CallsIn reports whether an entry selects pods of a namespace with these labels.
func (f *Filter) CallsIn(namespace map[string]string) bool {
	return slices.ContainsFunc(f.entries, func(s selectors) bool { return s.namespaces.Matches(labels.Set(namespace)) })
}

// CalledFor reports whether rules have the API server call for an operation on a
// resource of the core group.
func CalledFor(rules []admissionv1.RuleWithOperations, operation admissionv1.OperationType, resource string) bool {
	has := func(values []string, wanted ...string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(values, w) })
	}
	resources := []string{resource, "*/*", "*"}
	if name, sub, isSub := strings.Cut(resource, "/"); isSub {
		resources = []string{resource, "*/*", name + "/*", "*/" + sub}
	}
	return slices.ContainsFunc(rules, func(r admissionv1.RuleWithOperations) bool {
		called := slices.Contains(r.Operations, operation) || slices.Contains(r.Operations, admissionv1.OperationAll)
		return called && has(r.APIGroups, "", "*") && has(r.APIVersions, "v1", "*") && has(r.Resources, resources...)
	})
}
