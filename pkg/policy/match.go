package policy

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
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
	patternSuffix
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
	case text[0] == '*' && !strings.ContainsAny(text[1:], "*?"):
		return pattern{text[1:], patternSuffix}
	}
	return pattern{text, patternGlob}
}

// unslashed takes the slashes out of a name, or of a pattern for names: a
// pattern's * stops at them, and of a name with slashes it must not.
func unslashed(name string) string { return strings.ReplaceAll(name, "/", "\n") }

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
	case patternSuffix:
		return strings.HasSuffix(name, p.text)
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
	podSelector       *selector
	namespaceSelector *selector
	podAnnotations    []keyPattern
	nodeSelector      []keyPattern
	tolerations       []pattern
	runtimeClasses    []pattern
	priorityClasses   []pattern
	dnsPolicies       []string
	hostNetwork       *bool
}

// keyPattern is a condition on the value of one key. Values may hold slashes:
// see unslashed.
type keyPattern struct {
	key string
	pattern
}

func (p *keyPattern) matchValue(value string) bool {
	if p.shape != patternExact {
		value = unslashed(value)
	}
	return p.match(value)
}

func compileKeys(patterns map[string]string) []keyPattern {
	var compiled []keyPattern
	for _, key := range slices.Sorted(maps.Keys(patterns)) {
		p := compilePattern(patterns[key])
		if p.shape != patternExact {
			p.text = unslashed(p.text)
		}
		compiled = append(compiled, keyPattern{key, p})
	}
	return compiled
}

type ownerPattern struct {
	kind string
	name pattern
	any  bool // name is not named
}

func (o *ownerPattern) match(w Workload) bool {
	return (o.kind == "" || o.kind == w.Kind) && (o.any || o.name.match(w.Name))
}

// match reports whether all named conditions hold, the cheapest first. A selector of
// namespaces does not hold where the labels are not known: one that says NotIn or
// DoesNotExist would hold for no labels at all. workloads are those of the request's
// pod, which are the same for all rules.
func (m *matcher) match(r *Request, workloads []Workload) bool {
	if m.namespaces != nil && !matchAny(m.namespaces, r.Namespace) {
		return false
	}
	if m.serviceAccounts != nil && !matchAny(m.serviceAccounts, serviceAccount(r.Pod)) {
		return false
	}
	if m.owners != nil && !m.matchOwner(workloads) {
		return false
	}
	if m.podSelector != nil && !m.podSelector.match(r.Pod.Metadata.Labels) {
		return false
	}
	if m.namespaceSelector != nil && (!r.NamespaceKnown || !m.namespaceSelector.match(r.NamespaceLabels)) {
		return false
	}
	return m.matchSpec(r.Pod)
}

// matchSpec evaluates the conditions on annotations and on the pod's spec.
func (m *matcher) matchSpec(pod *Pod) bool {
	spec := &pod.Spec
	switch {
	case m.hostNetwork != nil && *m.hostNetwork != spec.HostNetwork,
		m.dnsPolicies != nil && !slices.Contains(m.dnsPolicies, cmp.Or(spec.DNSPolicy, "ClusterFirst")),
		m.runtimeClasses != nil && (spec.RuntimeClassName == "" || !matchAny(m.runtimeClasses, spec.RuntimeClassName)),
		m.priorityClasses != nil && (spec.PriorityClassName == "" || !matchAny(m.priorityClasses, spec.PriorityClassName)),
		m.tolerations != nil && !slices.ContainsFunc(spec.Tolerations, m.tolerates):
		return false
	}
	for i := range m.podAnnotations {
		if value, ok := pod.Metadata.Annotations[m.podAnnotations[i].key]; !ok || !m.podAnnotations[i].matchValue(value) {
			return false
		}
	}
	for i := range m.nodeSelector {
		if !spec.requiresNode(m.nodeSelector[i].key, m.nodeSelector[i].matchValue) {
			return false
		}
	}
	return true
}

func (m *matcher) tolerates(t Toleration) bool {
	return t.Key != "" && slices.ContainsFunc(m.tolerations, func(p pattern) bool { return p.match(unslashed(t.Key)) })
}

// matchOwner tries the patterns on the direct controller, the workload behind it
// and the one that a label names.
func (m *matcher) matchOwner(workloads []Workload) bool {
	for i := range m.owners {
		for _, workload := range workloads {
			if m.owners[i].match(workload) {
				return true
			}
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
	podLabels      []*selector
	podAnnotations []annotationHint
	nodeSelectors  []nodeHint
	tolerationKeys []string
	runtimeClasses []pattern
	schedulerNames []pattern
}

// annotationHint is the key of an annotation, and its value where any is true.
type annotationHint struct {
	key, value string
	any        bool
}

// match reports whether one hint says that the pod is meant for a virtual
// node.
func (v *virtualNodeHints) match(pod *Pod) bool {
	if selectAny(v.podLabels, pod.Metadata.Labels) {
		return true
	}
	if annotations := pod.Metadata.Annotations; len(annotations) > 0 {
		for i := range v.podAnnotations {
			hint := &v.podAnnotations[i]
			if value, ok := annotations[hint.key]; ok && (hint.any || value == hint.value) {
				return true
			}
		}
	}
	for i := range v.nodeSelectors {
		if v.nodeSelectors[i].match(&pod.Spec) {
			return true
		}
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

func selectAny(selectors []*selector, set map[string]string) bool {
	for _, selector := range selectors {
		if selector.match(set) {
			return true
		}
	}
	return false
}

// selector is a compiled label selector. What most of them ask for, single values,
// is compared here, without the interfaces of package labels, which has the rest:
// BenchmarkDecide tells the difference.
type selector struct {
	equal []label
	rest  labels.Requirements
}

// label is one label of an object.
type label struct{ key, value string }

func newSelector(of labels.Selector) *selector {
	oneOf := []selection.Operator{selection.Equals, selection.DoubleEquals, selection.In}
	compiled := new(selector)
	requirements, _ := of.Requirements()
	for _, r := range requirements {
		values := r.ValuesUnsorted()
		if len(values) == 1 && slices.Contains(oneOf, r.Operator()) {
			compiled.equal = append(compiled.equal, label{r.Key(), values[0]})
		} else {
			compiled.rest = append(compiled.rest, r)
		}
	}
	return compiled
}

func (s *selector) match(set map[string]string) bool {
	for i := range s.equal {
		if value, ok := set[s.equal[i].key]; !ok || value != s.equal[i].value {
			return false
		}
	}
	for i := range s.rest {
		if !s.rest[i].Matches(labels.Set(set)) {
			return false
		}
	}
	return true
}
