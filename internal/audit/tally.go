package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Counts adds up pods.
type Counts struct {
	// Pods is how many were classified.
	Pods int `json:"pods"`
	// Classes has every class.
	Classes map[Class]int `json:"classes"`
	// Features has the same for each feature.
	Features map[policy.Feature]map[Class]int `json:"features"`
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
		Features: map[policy.Feature]map[Class]int{policy.FeatureServiceHost: zeros(), policy.FeatureDNS: zeros()},
		LeftOut:  map[LeftOut]int{LeftOutFinished: 0, LeftOutDeleting: 0, LeftOutMirror: 0},
	}
}

// Add counts a pod.
func (c *Counts) Add(v Verdict) {
	c.Pods++
	c.Classes[v.Class()]++
	c.Features[policy.FeatureServiceHost][v.ServiceHost.Class]++
	c.Features[policy.FeatureDNS][v.DNS.Class]++
}

// Actionable reports whether there is anything to act on.
func (c *Counts) Actionable() bool {
	return slices.ContainsFunc(Classes(), func(class Class) bool { return class.Actionable() && c.Classes[class] > 0 })
}

// Tally counts pods, and groups them by workload. It grows with the number of
// workloads, not with that of pods.
type Tally struct {
	Counts
	workloads  map[key]*Workload
	namespaces map[string]bool
}

type key struct {
	namespace string
	policy.Workload
}

// NewTally returns an empty Tally.
func NewTally() *Tally {
	return &Tally{Counts: NewCounts(), workloads: map[key]*Workload{}, namespaces: map[string]bool{}}
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
	Command string `json:"command,omitzero"`
	Advice  string `json:"advice,omitzero"`
}

// Add counts a pod, and adds it to its workload.
func (t *Tally) Add(pod *Pod, v Verdict) {
	t.Counts.Add(v)
	t.namespaces[pod.Metadata.Namespace] = true
	k := key{pod.Metadata.Namespace, pod.Workload()}
	w := t.workloads[k]
	if w == nil {
		w = &Workload{Namespace: k.namespace, Workload: k.Workload}
		t.workloads[k] = w
	}
	w.Pods++
	w.add(policy.FeatureServiceHost, v.ServiceHost)
	w.add(policy.FeatureDNS, v.DNS)
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
			return cmp.Or(
				cmp.Compare(slices.Index(Classes(), a.Class), slices.Index(Classes(), b.Class)),
				strings.Compare(string(a.Reason), string(b.Reason)),
				strings.Compare(string(b.Feature), string(a.Feature))) // service_host, dns
		})
		if slices.ContainsFunc(w.Findings, func(g Group) bool { return g.Class.Actionable() }) {
			w.Restart = new(w.restart())
		}
		found = append(found, w)
	}
	slices.SortFunc(found, func(a, b *Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return found
}

// restart says how the pods of a workload are created again.
func (w *Workload) restart() Restart {
	switch w.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return Restart{Command: fmt.Sprintf("kubectl -n %s rollout restart %s/%s", w.Namespace, strings.ToLower(w.Kind), w.Name)}
	case "CronJob":
		return Restart{Advice: "its next run gets new pods; one that never ends must be deleted"}
	case "Job":
		return Restart{Advice: "let it end, or delete the Job and create it again"}
	case "Pod":
		return Restart{Advice: "nobody creates it again: delete it and create it from its manifest"}
	case "ReplicaSet", "ReplicationController":
		return Restart{Advice: "delete its pods one after the other: it creates new ones"}
	}
	return Restart{Advice: "restart it as its own controller wants it, or delete its pods one after the other"}
}
