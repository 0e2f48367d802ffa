package policy

import (
	"crypto/sha256"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindAdvice is the kind of a document of advice.
const KindAdvice = "DNSAdvice"

// DNSAdvice is what query logs have shown of the names that workloads look up: a
// document beside the policy, which advise writes and the server follows. It is
// used where the policy, or the rule of a pod, says dns.advice: Apply.
type DNSAdvice struct {
	metav1.TypeMeta `json:",inline"`
	// Metadata carries the name, which must be a DNS subdomain.
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     AdviceSpec        `json:"spec"`
	// Status says what the advice rests on. Nothing is decided by it.
	Status AdviceStatus `json:"status,omitzero"`

	// sum is of the text that it was parsed from.
	sum [sha256.Size]byte
}

// AdviceSpec is the advice.
type AdviceSpec struct {
	// Part is there where the workloads are too many for one document.
	Part AdvicePart `json:"part,omitzero"`
	// Workloads of which something is known, each once.
	Workloads []AdvisedWorkload `json:"workloads"`
}

// AdvicePart says which part of a document this is. Parts are used together or
// not at all.
type AdvicePart struct {
	// Number, from 1, of Of parts.
	Number int32 `json:"number"`
	Of     int32 `json:"of"`
	// Document is the same in all parts, and in those of no other document.
	Document string `json:"document"`
}

// Date is a day, as in 2026-11-29.
type Date string

// AdvisedWorkload is what is known of a workload.
type AdvisedWorkload struct {
	// Namespace, Kind and Name are the workload's, as rules name owners. The kind
	// is of whatever API group.
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Ndots, 1 to 5, of resolv.conf: the lowest under which every name that was
	// seen keeps its answer with every resolver, musl among them. Left out while too
	// little was seen.
	Ndots *int32 `json:"ndots,omitzero"`
	// Fallthrough, 1 to 5, is for containers whose resolver falls through
	// (dns.fallthrough). Left out while too little was seen.
	Fallthrough *int32 `json:"fallthrough,omitzero"`
	// Confidence of both, medium or high.
	Confidence Confidence `json:"confidence,omitzero"`
	// Needed has the values of ndots that a name has shown to be needed, "2" to "5",
	// with the last day of the week in which it was seen last. No pod gets less than
	// the highest of them, whatever the confidence.
	Needed map[string]Date `json:"needed,omitzero"`
	// FallthroughNeeded is the same of Fallthrough.
	FallthroughNeeded map[string]Date `json:"fallthroughNeeded,omitzero"`
	// References are the images and commands that Ndots holds for: a whole start of
	// a pod with them was seen. Other pods get Fallthrough only. At most 64.
	References []AdviceReference `json:"references,omitzero"`
	// Covered is the minutes that were observed of each day, by the confidence of
	// what was seen.
	Covered map[Confidence]map[Date]int32 `json:"covered,omitzero"`
	// CoveredUntil is up to when: what was observed before does not count again.
	CoveredUntil metav1.Time `json:"coveredUntil,omitzero"`
}

// AdviceReference is what a container ran when it was seen.
type AdviceReference struct {
	// Image as the pod names it.
	Image string `json:"image"`
	// Command is a digest of command and args, 16 hex digits. Left out: the
	// container names neither.
	Command string `json:"command,omitzero"`
	// Seen is the last day of the week in which it was seen last.
	Seen Date `json:"seen,omitzero"`
}

// AdviceStatus says what a document of advice rests on, as of the last run that
// changed it.
type AdviceStatus struct {
	// From and To are the first and the last query of that run's logs.
	From metav1.Time `json:"from,omitzero"`
	To   metav1.Time `json:"to,omitzero"`
	// CoveredSeconds is what these logs really cover: without their holes.
	CoveredSeconds int64 `json:"coveredSeconds,omitzero"`
	// Observed is how many workloads they told of, and Workloads how many there are.
	Observed  int32 `json:"observed,omitzero"`
	Workloads int32 `json:"workloads,omitzero"`
	// Incomplete says what these logs lack.
	Incomplete []string `json:"incomplete,omitzero"`
	// Changes are what that run changed, the first hundred, and MoreChanges how many
	// there were besides.
	Changes     []AdviceChange `json:"changes,omitzero"`
	MoreChanges int32          `json:"moreChanges,omitzero"`
}

// AdviceChange is what a run changed for a workload, and why.
type AdviceChange struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Change in words, and whether it raises a value that pods had.
	Change string `json:"change"`
	Raised bool   `json:"raised,omitzero"`
	Why    string `json:"why,omitzero"`
}
