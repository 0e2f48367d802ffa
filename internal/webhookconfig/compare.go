package webhookconfig

import (
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// FilterHashes returns the hash that a configuration with these annotations was
// made with, "" for none, and the one that fits the policy. Where they differ,
// the filters are those of another policy.
func FilterHashes(annotations map[string]string, p *policy.InjectionPolicy) (got, want string) {
	return annotations[AnnotationFilterHash], FilterHash(p)
}

// Effect is what a difference between two filters makes of them.
type Effect int

// The effects. Operators and platforms add to the filters of every webhook
// (admissions enforcer of AKS, GKE Autopilot): what only leaves out more does
// what the policy says with all the rest.
//
//	difference                                          effect
//	a requirement besides that leaves out what has a    LeavesOutMore
//	label: NotIn, DoesNotExist
//	a requirement besides that takes only what has a    TakesOnly
//	label: In, Exists, matchLabels
//	a match condition besides                           TakesOnly
//	a requirement or condition is missing, or is not    Drift
//	as strict; a condition has another expression
const (
	// LeavesOutMore: narrower by what it names.
	LeavesOutMore Effect = iota
	// TakesOnly: narrower by everything that it does not name.
	TakesOnly
	// Drift: it is not known to be narrower.
	Drift
)

// Difference is one between two filters.
type Difference struct {
	Effect Effect
	// Text says what it is and what follows.
	Text string
}

// CompareFilters compares the filters of an entry with those it should have,
// whatever the order of requirements and conditions.
func CompareFilters(got, want *admissionv1.MutatingWebhook) []Difference {
	differences := slices.Concat(
		compareSelectors("namespaceSelector", got.NamespaceSelector, want.NamespaceSelector),
		compareSelectors("objectSelector", got.ObjectSelector, want.ObjectSelector),
	)
	has, needs := conditions(got), conditions(want)
	for _, c := range want.MatchConditions {
		switch expression, found := has[c.Name]; {
		case !found:
			differences = append(differences, Difference{Drift, fmt.Sprintf("matchConditions lack %q", c.Name)})
		case expression != c.Expression:
			differences = append(differences, Difference{Drift, fmt.Sprintf("the matchCondition %q has another expression", c.Name)})
		}
	}
	for _, c := range got.MatchConditions {
		if _, found := needs[c.Name]; !found {
			differences = append(differences, Difference{TakesOnly, fmt.Sprintf("matchConditions have %q besides: what it keeps out is not changed", c.Name)})
		}
	}
	return differences
}

func conditions(entry *admissionv1.MutatingWebhook) map[string]string {
	m := make(map[string]string, len(entry.MatchConditions))
	for _, c := range entry.MatchConditions {
		m[c.Name] = c.Expression
	}
	return m
}

func compareSelectors(field string, got, want *metav1.LabelSelector) []Difference {
	var differences []Difference
	has, needs := requirements(got), requirements(want)
	for i := range has {
		r := &has[i]
		if slices.ContainsFunc(needs, func(needed metav1.LabelSelectorRequirement) bool { return implies(&needed, r) }) {
			continue // as it should be, or an error that is told below
		}
		d := Difference{LeavesOutMore, fmt.Sprintf("%s has %q besides: it leaves out more, and pods there are not changed", field, text(r))}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists {
			d = Difference{TakesOnly, fmt.Sprintf("%s has %q besides: what has no such label is not changed", field, text(r))}
		}
		differences = append(differences, d)
	}
	for i := range needs {
		r := &needs[i]
		if !slices.ContainsFunc(has, func(had metav1.LabelSelectorRequirement) bool { return implies(&had, r) }) {
			differences = append(differences, Difference{Drift, fmt.Sprintf("%s lacks %q: what should be kept out reaches Shorthop", field, text(r))})
		}
	}
	return differences
}

// requirements are those of a selector, matchLabels among them, in the order of
// their texts.
func requirements(s *metav1.LabelSelector) []metav1.LabelSelectorRequirement {
	if s == nil {
		return nil
	}
	all := slices.Clone(s.MatchExpressions)
	for key, value := range s.MatchLabels {
		all = append(all, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
	}
	slices.SortFunc(all, func(a, b metav1.LabelSelectorRequirement) int {
		if text(&a) < text(&b) {
			return -1
		}
		return 1
	})
	return all
}

func text(r *metav1.LabelSelectorRequirement) string {
	return fmt.Sprintf("%s %s %v", r.Key, r.Operator, slices.Sorted(slices.Values(r.Values)))
}

// implies reports whether whatever meets a meets b, as far as one requirement
// can say it.
func implies(a, b *metav1.LabelSelectorRequirement) bool {
	if a.Key != b.Key {
		return false
	}
	contains := func(all, some []string) bool {
		return !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
	}
	switch b.Operator {
	case metav1.LabelSelectorOpIn:
		return a.Operator == metav1.LabelSelectorOpIn && contains(b.Values, a.Values)
	case metav1.LabelSelectorOpNotIn:
		return a.Operator == metav1.LabelSelectorOpNotIn && contains(a.Values, b.Values) ||
			a.Operator == metav1.LabelSelectorOpDoesNotExist ||
			a.Operator == metav1.LabelSelectorOpIn && !overlap(a.Values, b.Values)
	case metav1.LabelSelectorOpExists:
		return a.Operator == metav1.LabelSelectorOpExists || a.Operator == metav1.LabelSelectorOpIn
	case metav1.LabelSelectorOpDoesNotExist:
		return a.Operator == metav1.LabelSelectorOpDoesNotExist
	}
	return false
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(v string) bool { return slices.Contains(b, v) })
}
