package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// Counts adds up pods.
type Counts struct {
	// Pods is how many were classified.
	Pods int `json:"pods"`
	// Classes has every class.
	Classes map[Class]int `json:"classes"`
	// Features has the same for each feature.
	Features map[policy.Feature]map[Class]int `json:"features"`
	// AdviceRaised is how many are stale because evidence has shown since that a name of
	// theirs needs more.
	AdviceRaised int `json:"adviceRaised,omitzero"`
	// LeftOut are pods that were not classified.
	LeftOut map[LeftOut]int `json:"leftOut"`
}

// NewCounts returns zeros.
func NewCounts() Counts {
	zeros := func() map[Class]int {
		classes := map[Class]int{}
		for _, class := range Classes() {
			classes[class] = 0
		}
		return classes
	}
	return Counts{
		Classes:  zeros(),
		Features: map[policy.Feature]map[Class]int{policy.FeatureServiceHost: zeros(), policy.FeatureDNS: zeros(), policy.FeatureFallthrough: zeros()},
		LeftOut:  map[LeftOut]int{LeftOutFinished: 0, LeftOutDeleting: 0, LeftOutMirror: 0},
	}
}

// Add counts a pod.
func (c *Counts) Add(v Verdict) {
	c.Pods++
	c.Classes[v.Class()]++
	c.Features[policy.FeatureServiceHost][v.ServiceHost.Class]++
	c.Features[policy.FeatureDNS][v.DNS.Class]++
	c.Features[policy.FeatureFallthrough][v.Fallthrough.Class]++
	if v.DNS.Reason == ReasonAdviceRaised || v.Fallthrough.Reason == ReasonAdviceRaised {
		c.AdviceRaised++
	}
}

// Actionable reports whether there is anything to act on.
func (c *Counts) Actionable() bool {
	return slices.ContainsFunc(Classes(), func(class Class) bool { return class.Actionable() && c.Classes[class] > 0 })
}

// Tally counts pods, and groups them by workload and by namespace. It grows with
// the number of these, not with that of pods.
type Tally struct {
	Counts
	workloads  map[key]*Workload
	namespaces map[string]*Progress
	reasons    map[WhyNot]int // without Pods
}

type key struct {
	namespace string
	policy.Workload
}

// NewTally returns an empty Tally.
func NewTally() *Tally {
	return &Tally{Counts: NewCounts(), workloads: map[key]*Workload{}, namespaces: map[string]*Progress{}, reasons: map[WhyNot]int{}}
}

// Workload is what was found out about the pods of a workload.
type Workload struct {
	Namespace string `json:"namespace"`
	policy.Workload
	// Pods is how many were classified.
	Pods     int     `json:"pods"`
	Findings []Group `json:"findings"`
	// Restart says how to have the pods created again. It is set where that is
	// due.
	Restart *Restart `json:"restart,omitzero"`
}

// Group are pods of a workload with the same finding about a feature.
type Group struct {
	Feature policy.Feature `json:"feature"`
	Class   Class          `json:"class"`
	Reason  Reason         `json:"reason"`
	Pods    int            `json:"pods"`
}

// Restart says how to have the pods of a workload created again: by a command,
// or else in words.
type Restart struct {
	// Command is the program and its arguments. All of them are valid names: no
	// shell takes them for anything else.
	Command []string `json:"command,omitzero"`
	Advice  string   `json:"advice,omitzero"`
}

// Add counts a pod, and adds it to its workload.
func (t *Tally) Add(pod *Pod, v Verdict) {
	t.Counts.Add(v)
	progress := t.namespaces[pod.Metadata.Namespace]
	if progress == nil {
		progress = &Progress{Namespace: pod.Metadata.Namespace}
		t.namespaces[pod.Metadata.Namespace] = progress
	}
	progress.add(v.Class())
	t.explain(policy.FeatureServiceHost, v.ServiceHost)
	t.explain(policy.FeatureDNS, v.DNS)
	t.explain(policy.FeatureFallthrough, v.Fallthrough)
	workload := pod.Workload()
	for _, s := range []*string{&workload.Group, &workload.Kind, &workload.Name} {
		*s = printable.Cut(*s, printable.MaxName) // what is kept of a reference of a megabyte
	}
	k := key{pod.Metadata.Namespace, workload}
	w := t.workloads[k]
	if w == nil {
		w = &Workload{Namespace: k.namespace, Workload: k.Workload}
		t.workloads[k] = w
	}
	w.Pods++
	w.add(policy.FeatureServiceHost, v.ServiceHost)
	w.add(policy.FeatureDNS, v.DNS)
	w.add(policy.FeatureFallthrough, v.Fallthrough)
}

// explain counts why a feature is not ok.
func (t *Tally) explain(f policy.Feature, finding Finding) {
	if finding.Class != OK {
		t.reasons[WhyNot{Feature: f, Class: finding.Class, Reason: finding.Reason}]++
	}
}

func (w *Workload) add(f policy.Feature, finding Finding) {
	for i := range w.Findings {
		if g := &w.Findings[i]; g.Feature == f && g.Class == finding.Class && g.Reason == finding.Reason {
			g.Pods++
			return
		}
	}
	w.Findings = append(w.Findings, Group{f, finding.Class, finding.Reason, 1})
}

// features in the order in which they are told: fall-through adds to DNS.
var features = []policy.Feature{policy.FeatureServiceHost, policy.FeatureDNS, policy.FeatureFallthrough}

func compareFeatures(a, b policy.Feature) int {
	return cmp.Compare(slices.Index(features, a), slices.Index(features, b))
}

func compareClasses(a, b Class) int {
	return cmp.Compare(slices.Index(Classes(), a), slices.Index(Classes(), b))
}

// Namespaces is how many have pods.
func (t *Tally) Namespaces() int { return len(t.namespaces) }

// Workloads returns those with a finding that some class is shown for, by
// namespace, kind and name, with their findings in the order of Classes.
func (t *Tally) Workloads(shown func(Class) bool) []*Workload {
	found := []*Workload{}
	for _, w := range t.workloads {
		if !slices.ContainsFunc(w.Findings, func(g Group) bool { return shown(g.Class) }) {
			continue
		}
		slices.SortFunc(w.Findings, func(a, b Group) int {
			return cmp.Or(compareClasses(a.Class, b.Class), strings.Compare(string(a.Reason), string(b.Reason)), compareFeatures(a.Feature, b.Feature))
		})
		if slices.ContainsFunc(w.Findings, func(g Group) bool { return g.Class.Actionable() }) {
			w.Restart = new(w.restart())
		}
		found = append(found, w)
	}
	slices.SortFunc(found, func(a, b *Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Group, b.Group))
	})
	return found
}
