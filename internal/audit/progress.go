package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Progress is how far a rollout has come in a namespace. Its counts are of pods,
// by the class of each:
//
//	injected    ok, pinned
//	stale       stale
//	missed      missed
//	opted out   opted_out
//	other       edited, unknown, skipped
type Progress struct {
	Namespace string `json:"namespace"`
	Pods      int    `json:"pods"`
	Injected  int    `json:"injected"`
	Stale     int    `json:"stale"`
	Missed    int    `json:"missed"`
	OptedOut  int    `json:"optedOut"`
	Other     int    `json:"other"`
	// Percent of the pods are injected, rounded down: 100 are all. Those that are
	// opted out or skipped do not count; where there are no others, it is 100.
	Percent int `json:"percent"`

	skipped int
}

func (p *Progress) add(class Class) {
	p.Pods++
	switch class {
	case OK, Pinned:
		p.Injected++
	case Stale:
		p.Stale++
	case Missed:
		p.Missed++
	case OptedOut:
		p.OptedOut++
	default:
		if class == Skipped {
			p.skipped++
		}
		p.Other++
	}
	p.Percent = 100
	if wanted := p.Pods - p.OptedOut - p.skipped; wanted > 0 {
		p.Percent = 100 * p.Injected / wanted
	}
}

// Concerned reports whether there are pods that are injected, or should be.
func (p *Progress) Concerned() bool { return p.Pods > p.OptedOut+p.skipped }

// Progress returns that of each namespace with pods, the least first.
func (t *Tally) Progress() []*Progress {
	all := []*Progress{}
	for _, p := range t.namespaces {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Progress) int {
		return cmp.Or(cmp.Compare(a.Percent, b.Percent), strings.Compare(a.Namespace, b.Namespace))
	})
	return all
}

// WhyNot is a reason for which a feature is not as it would be in a new pod, or
// is left out, and how many pods have it.
type WhyNot struct {
	Feature policy.Feature `json:"feature"`
	Class   Class          `json:"class"`
	Reason  Reason         `json:"reason"`
	Pods    int            `json:"pods"`
}

// WhyNot returns all reasons but those of what is ok, in the order of Classes, those
// with most pods first.
func (t *Tally) WhyNot() []WhyNot {
	all := []WhyNot{}
	for group, pods := range t.reasons {
		group.Pods = pods
		all = append(all, group)
	}
	slices.SortFunc(all, func(a, b WhyNot) int {
		return cmp.Or(compareClasses(a.Class, b.Class), cmp.Compare(b.Pods, a.Pods),
			strings.Compare(string(a.Reason), string(b.Reason)), compareFeatures(a.Feature, b.Feature))
	})
	return all
}
