// Package audit compares running pods with what the policy would do to them
// now: it finds those that missed injection, and those that still carry an
// old decision. The decision itself is the server's (mutate.Review).
//
// classify.go and restart.go are pure; Counts and Tally (tally.go) add up the
// verdicts. The caller reads the pods, one at a time, with internal/podlist;
// CheckRestarts reads workloads.
package audit

import (
	"cmp"
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Class says how a pod, or one feature of it, relates to the policy in force.
type Class string

// The classes. The names are API: they are never reworded.
const (
	// Pinned points at something whose health gate is closed.
	Pinned Class = "pinned"
	// Missed carries nothing, and a new pod would be injected.
	Missed Class = "missed"
	// Stale carries an old decision: a new pod would look different.
	Stale Class = "stale"
	// Edited has a record that does not describe the pod.
	Edited Class = "edited"
	// Unknown differs from a new pod for a reason that may be temporary.
	Unknown Class = "unknown"
	// OK is as a new pod would be, and injected.
	OK Class = "ok"
	// OptedOut is left alone because a label says so.
	OptedOut Class = "opted_out"
	// Skipped is left alone for another reason.
	Skipped Class = "skipped"
)

// Classes lists them in the order of their precedence: the class of a pod is the
// first in this list that any of its features has.
func Classes() []Class {
	return []Class{Pinned, Missed, Stale, Edited, Unknown, OK, OptedOut, Skipped}
}

// Actionable reports whether the workloads of a class's pods should be restarted, so
// that their pods are created again.
func (c Class) Actionable() bool { return c == Pinned || c == Missed || c == Stale }

// Reason says why a feature is in its class: one of this package's, or the
// policy's reason for what would be done to a new pod.
type Reason string

// The reasons besides the policy's. The codes are API.
const (
	ReasonNotInjected       Reason = "not_injected"
	ReasonBeforeInstall     Reason = "before_installation"
	ReasonOlderPolicy       Reason = "older_policy"
	ReasonChangedSince      Reason = "changed_since"
	ReasonGateClosed        Reason = "gate_closed"
	ReasonGateWasClosed     Reason = "gate_was_closed"
	ReasonDiscovery         Reason = "discovery_unknown"
	ReasonRolloutInProgress Reason = "rollout_in_progress"
	ReasonDryRun            Reason = "dry_run"
	ReasonRecordEdited      Reason = "record_edited"
	ReasonRecordVersion     Reason = "record_version_unknown"
	ReasonAdviceRaised      Reason = "advice_raised"
	ReasonAdviceLower       Reason = "advice_lower"
	ReasonFilter            Reason = "left_out_by_filter"
)

// Sentence says what a reason means.
func (r Reason) Sentence() string {
	switch r {
	case ReasonNotInjected:
		return "A new pod would be injected, and this one carries nothing: the webhook was not asked, or the settings of that time left the pod alone."
	case ReasonBeforeInstall:
		return "The pod was created before Shorthop was installed."
	case ReasonOlderPolicy:
		return "An older policy decided, and a new pod would look different."
	case ReasonChangedSince:
		return "This policy decided, and a new pod would look different: since then labels, annotations, containers or the cluster's DNS have changed."
	case ReasonGateClosed:
		return "The pod has something whose health gate is closed at the moment, or that the gate of the DNS servers would not give it now."
	case ReasonGateWasClosed:
		return "This policy decided while a health gate was closed or the cluster domain was not known; a new pod would get more."
	case ReasonDiscovery:
		return "The policy leaves the cluster's DNS to discovery, and what was discovered is not known here."
	case ReasonRolloutInProgress:
		return "rollout.percent is below 100, and may not have included the workload when the pod was created."
	case ReasonDryRun:
		return "The mode of the policy, or of the rule that matches, is DryRun: a new pod would be left as it is."
	case ReasonAdviceRaised:
		return "The pod has a lower ndots than a new one: evidence has shown a name that needs more, or the advice that the pod had is withdrawn."
	case ReasonAdviceLower:
		return "Advice would give a new pod a lower ndots, which saves queries: nothing is wrong with this one."
	case ReasonFilter:
		return "The selectors of the webhook configuration leave the pod out: a new one is not reviewed, and a restart brings it nothing."
	case ReasonRecordVersion:
		return "The annotation shorthop.dev/injected is of a version that is not known here: a newer Shorthop has reviewed the pod, or somebody has written it. What is ours on the pod is not known."
	case ReasonRecordEdited:
		return "The annotation shorthop.dev/injected does not describe the pod, so what is ours cannot be told from what is the user's."
	}
	return policy.Reason(r).Sentence()
}

// Finding is the class of one feature of a pod.
type Finding struct {
	Class  Class
	Reason Reason
}

// Verdict has the classes of the features of a pod.
type Verdict struct {
	ServiceHost, DNS, Fallthrough Finding
}

// Class is that of the pod: see Classes.
func (v Verdict) Class() Class {
	rank := func(c Class) int { return slices.Index(Classes(), cmp.Or(c, Skipped)) }
	return slices.MinFunc([]Class{v.ServiceHost.Class, v.DNS.Class, v.Fallthrough.Class}, func(a, b Class) int {
		return cmp.Compare(rank(a), rank(b))
	})
}
