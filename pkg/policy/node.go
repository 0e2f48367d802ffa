package policy

import "k8s.io/apimachinery/pkg/labels"

// What a pod says of the node that it is meant for. Required node affinity
// means a label only if every one of its terms has In for it, with nothing but
// values that match: a pod that may run elsewhere as well is not meant for such
// a node. Preferred affinity means nothing.

// requiresNode reports whether the pod goes only to nodes with a label whose
// value matches.
func (p *PodSpec) requiresNode(key string, match func(value string) bool) bool {
	if value, ok := p.NodeSelector[key]; ok && match(value) {
		return true
	}
	terms := p.Affinity.NodeAffinity.Required.NodeSelectorTerms
	for i := range terms {
		if !terms[i].requires(key, match) {
			return false
		}
	}
	return len(terms) > 0
}

// requires reports whether the term holds only for nodes with such a label.
func (t *NodeSelectorTerm) requires(key string, match func(value string) bool) bool {
	for i := range t.MatchExpressions {
		e := &t.MatchExpressions[i]
		if e.Key != key || e.Operator != "In" || len(e.Values) == 0 {
			continue
		}
		all := true
		for _, value := range e.Values {
			all = all && match(value)
		}
		if all {
			return true
		}
	}
	return false
}

// nodeHint is a compiled label selector for nodes.
type nodeHint struct {
	selector     *selector
	requirements labels.Requirements
}

func newNodeHint(selector labels.Selector) nodeHint {
	requirements, _ := selector.Requirements()
	return nodeHint{newSelector(selector), requirements}
}

// match tries the selector on spec.nodeSelector, and on required node affinity
// beside it.
func (h *nodeHint) match(spec *PodSpec) bool {
	if h.selector.match(spec.NodeSelector) {
		return true
	}
	terms := spec.Affinity.NodeAffinity.Required.NodeSelectorTerms
	for i := range terms {
		for j := range h.requirements {
			if !terms[i].fits(&h.requirements[j], spec.NodeSelector) {
				return false
			}
		}
	}
	return len(terms) > 0
}

// fits reports whether nodes for which the term holds, and that have the labels
// of nodeSelector, meet a requirement. What neither says anything about a node
// may have or not: that meets no requirement.
func (t *NodeSelectorTerm) fits(r *labels.Requirement, nodeSelector map[string]string) bool {
	if _, ok := nodeSelector[r.Key()]; ok && r.Matches(labels.Set(nodeSelector)) {
		return true
	}
	return t.requires(r.Key(), func(value string) bool { return r.Matches(label{r.Key(), value}) })
}

// Has implements labels.Labels.
func (l label) Has(key string) bool { return key == l.key }

// Get implements labels.Labels.
func (l label) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}

// Lookup implements labels.Labels.
func (l label) Lookup(key string) (value string, exists bool) {
	if key != l.key {
		return "", false
	}
	return l.value, true
}
