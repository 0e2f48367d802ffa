package policy

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ruleIndex finds the first rule that matches a request without asking all of
// them, so that a decision does not become slower with every team that adds a
// rule. Each rule is filed under one of its conditions, one that only requests
// with a certain name or label can fulfil:
//
//	filed under                   where every entry of the condition is
//	namespaces                    a name, or a prefix and *
//	podSelector.matchLabels       (one of the labels, the one with the fewest rules so far)
//	owners                        named, by a name, or a prefix and *
//	serviceAccounts               a name, or a prefix and *
//	namespaceSelector.matchLabels (one of the labels)
//	always                        no condition can be filed under
//
// A request looks up its own names and labels and asks the rules it finds
// there, in whatever order, for the lowest that matches.
type ruleIndex struct {
	rules           []rule
	always          []int
	namespaces      nameIndex
	owners          nameIndex
	accounts        nameIndex
	podLabels       map[label][]int
	namespaceLabels map[label][]int
}

type label struct{ key, value string }

// nameIndex files rules under names and under prefixes of names.
type nameIndex struct {
	exact    map[string][]int
	prefixes map[string][]int
	lengths  []int // of the prefixes, distinct
}

// newRuleIndex indexes rules, of which matches are the uncompiled conditions.
func newRuleIndex(rules []rule, matches []*Match) ruleIndex {
	x := ruleIndex{rules: rules, podLabels: map[label][]int{}, namespaceLabels: map[label][]int{}}
	for i, m := range matches {
		compiled := &rules[i].matcher
		switch {
		case x.namespaces.file(i, compiled.namespaces):
		case fileLabel(x.podLabels, i, m.PodSelector):
		case x.owners.file(i, compiled.ownerNames()):
		case x.accounts.file(i, compiled.serviceAccounts):
		case fileLabel(x.namespaceLabels, i, m.NamespaceSelector):
		default:
			x.always = append(x.always, i)
		}
	}
	return x
}

// ownerNames are the patterns of the rule's owners, nil if one of them is not
// named.
func (m *matcher) ownerNames() []pattern {
	names := make([]pattern, 0, len(m.owners))
	for i := range m.owners {
		if m.owners[i].any {
			return nil
		}
		names = append(names, m.owners[i].name)
	}
	return names
}

// file reports whether rule i could be filed under all of the patterns.
func (x *nameIndex) file(i int, patterns []pattern) bool {
	if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p pattern) bool { return p.shape == patternGlob }) {
		return false
	}
	if x.exact == nil {
		x.exact, x.prefixes = map[string][]int{}, map[string][]int{}
	}
	for _, p := range patterns {
		if p.shape == patternExact {
			x.exact[p.text] = append(x.exact[p.text], i)
			continue
		}
		x.prefixes[p.text] = append(x.prefixes[p.text], i)
		if !slices.Contains(x.lengths, len(p.text)) {
			x.lengths = append(x.lengths, len(p.text))
		}
	}
	return true
}

// fileLabel reports whether rule i could be filed under a label that the
// selector demands.
func fileLabel(index map[label][]int, i int, selector *metav1.LabelSelector) bool {
	if selector == nil || len(selector.MatchLabels) == 0 {
		return false
	}
	var under label
	for n, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		if candidate := (label{key, selector.MatchLabels[key]}); n == 0 || len(index[candidate]) < len(index[under]) {
			under = candidate
		}
	}
	index[under] = append(index[under], i)
	return true
}

// first returns the settings of the first rule that matches, nil if none does.
func (x *ruleIndex) first(r *Request) *settings {
	if len(x.rules) == 0 {
		return nil
	}
	best := x.ask(r, x.always, len(x.rules))
	best = x.askName(r, &x.namespaces, r.Namespace, best)
	if len(x.podLabels) > 0 {
		for key, value := range r.Pod.Metadata.Labels {
			best = x.ask(r, x.podLabels[label{key, value}], best)
		}
	}
	if x.owners.exact != nil {
		workload := r.Pod.Workload()
		best = x.askName(r, &x.owners, workload.Name, best)
		if owner, owned := r.Pod.Owner(); owned && owner != workload {
			best = x.askName(r, &x.owners, owner.Name, best)
		}
	}
	best = x.askName(r, &x.accounts, serviceAccount(r.Pod), best)
	if len(x.namespaceLabels) > 0 {
		for key, value := range r.NamespaceLabels {
			best = x.ask(r, x.namespaceLabels[label{key, value}], best)
		}
	}
	if best == len(x.rules) {
		return nil
	}
	return &x.rules[best].settings
}

// ask returns the lowest of best and the rules in the list, which ascends,
// that match.
func (x *ruleIndex) ask(r *Request, list []int, best int) int {
	for _, i := range list {
		if i >= best {
			break
		}
		if x.rules[i].match(r) {
			return i
		}
	}
	return best
}

func (x *ruleIndex) askName(r *Request, index *nameIndex, name string, best int) int {
	if index.exact == nil {
		return best
	}
	best = x.ask(r, index.exact[name], best)
	for _, length := range index.lengths {
		if length <= len(name) {
			best = x.ask(r, index.prefixes[name[:length]], best)
		}
	}
	return best
}
