package explain

import "github.com/shorthop/shorthop/pkg/policy"

// Advice is what is done by what query logs have shown.
type Advice struct {
	Outcome
	// Ndots of resolv.conf, and Fallthrough in the place of the policy's, where advice
	// gives them.
	Ndots       int32 `json:"ndots,omitzero"`
	Fallthrough int32 `json:"fallthrough,omitzero"`
	// Document is the hash of the advice that was asked, and Evidence what it rests on;
	// both are left out where there is none.
	Document string    `json:"document,omitzero"`
	Evidence *Evidence `json:"evidence,omitzero"`
}

// Evidence says how old the evidence of advice is, and how much of the cluster it is
// of.
type Evidence struct {
	policy.AdviceStatus
	// Known is how many workloads something is known of.
	Known int `json:"known"`
}

func adviceOf(a *policy.Advice) (hash string, evidence *Evidence) {
	if a == nil {
		return "", nil
	}
	status := *a.Status()
	status.Changes, status.MoreChanges = nil, 0 // of other workloads
	return a.Hash(), &Evidence{status, a.Len()}
}
