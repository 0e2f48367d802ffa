package policy

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// pattern is a compiled name pattern: * stands for any characters, ? for one.
type pattern struct {
	text  string
	shape patternShape
}

type patternShape int8

const (
	patternExact patternShape = iota
	patternPrefix
	patternGlob
)

// compilePattern expects a pattern that validation has accepted.
func compilePattern(text string) pattern {
	wildcard := strings.IndexAny(text, "*?")
	switch {
	case wildcard < 0:
		return pattern{text, patternExact}
	case wildcard == len(text)-1 && text[wildcard] == '*':
		return pattern{text[:wildcard], patternPrefix}
	}
	return pattern{text, patternGlob}
}

func compilePatterns(texts []string) []pattern {
	if len(texts) == 0 {
		return nil
	}
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		patterns[i] = compilePattern(text)
	}
	return patterns
}

func (p pattern) match(name string) bool {
	switch p.shape {
	case patternExact:
		return name == p.text
	case patternPrefix:
		return strings.HasPrefix(name, p.text)
	case patternGlob:
	}
	// Names hold no slash, so path.Match's * is any sequence of characters.
	ok, _ := path.Match(p.text, name)
	return ok
}

func matchAny(patterns []pattern, name string) bool {
	for i := range patterns {
		if patterns[i].match(name) {
			return true
		}
	}
	return false
}

// matcher is a compiled Match. A nil field is a condition that is not named.
type matcher struct {
	namespaces        []pattern
	serviceAccounts   []pattern
	owners            []ownerPattern
	podSelector       labels.Selector
	namespaceSelector labels.Selector
}

type ownerPattern struct {
	kind string
	name pattern
	any  bool // name is not named
}

func (o *ownerPattern) match(w Workload) bool {
	return (o.kind == "" || o.kind == w.Kind) && (o.any || o.name.match(w.Name))
}

// match reports whether all named conditions hold, the cheapest first.
func (m *matcher) match(r *Request) bool {
	if m.namespaces != nil && !matchAny(m.namespaces, r.Namespace) {
		return false
	}
	if m.serviceAccounts != nil && !matchAny(m.serviceAccounts, serviceAccount(r.Pod)) {
		return false
	}
	if m.owners != nil && !m.matchOwner(r.Pod) {
		return false
	}
	if m.podSelector != nil && !m.podSelector.Matches(labels.Set(r.Pod.Metadata.Labels)) {
		return false
	}
	return m.namespaceSelector == nil || m.namespaceSelector.Matches(labels.Set(r.NamespaceLabels))
}

// matchOwner asks about the direct controller and the workload behind it.
func (m *matcher) matchOwner(pod *Pod) bool {
	workload := pod.Workload()
	owner, owned := pod.Owner()
	for i := range m.owners {
		if m.owners[i].match(workload) || owned && m.owners[i].match(owner) {
			return true
		}
	}
	return false
}

// serviceAccount is the pod's account. The API server defaults it before
// webhooks are called; a manifest may leave it out.
func serviceAccount(pod *Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return "default"
	}
	return pod.Spec.ServiceAccountName
}

// virtualNodeHints is a compiled VirtualNodes.
type virtualNodeHints struct {
	podLabels      []labels.Selector
	nodeSelectors  []labels.Selector
	tolerationKeys []string
	runtimeClasses []pattern
	schedulerNames []pattern
}

// match reports whether one hint says that the pod is meant for a virtual
// node.
func (v *virtualNodeHints) match(pod *Pod) bool {
	if len(pod.Metadata.Labels) > 0 && selectAny(v.podLabels, pod.Metadata.Labels) {
		return true
	}
	if len(pod.Spec.NodeSelector) > 0 && selectAny(v.nodeSelectors, pod.Spec.NodeSelector) {
		return true
	}
	for i := range pod.Spec.Tolerations {
		for _, key := range v.tolerationKeys {
			if pod.Spec.Tolerations[i].Key == key {
				return true
			}
		}
	}
	return pod.Spec.RuntimeClassName != "" && matchAny(v.runtimeClasses, pod.Spec.RuntimeClassName) ||
		pod.Spec.SchedulerName != "" && matchAny(v.schedulerNames, pod.Spec.SchedulerName)
}

func selectAny(selectors []labels.Selector, set map[string]string) bool {
	for _, selector := range selectors {
		if selector.Matches(labels.Set(set)) {
			return true
		}
	}
	return false
}
