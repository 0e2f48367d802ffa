package mutate

import (
	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Result is what a review comes to.
type Result struct {
	// Request is what was decided on: the request as it came, with Undo of its
	// pod.
	Request  policy.Request
	Decision policy.Decision
	// Operations is empty where nothing changes. Where DryRun is true it holds
	// what mode Enforce would do, and must not be applied.
	Operations []jsonpatch.Operation
	// RecordReason says why the pod's record is left out; empty where it is
	// written or where there is nothing to record.
	RecordReason policy.Reason
}

// DryRun reports whether the operations are only a preview.
func (r *Result) DryRun() bool {
	return r.Decision.ServiceHost.Action == policy.ActionDryRun || r.Decision.DNS.Action == policy.ActionDryRun
}

// Review decides on a request and makes the operations. request.Pod is the pod
// as the API server sent it, whatever earlier reviews did to it; the decision
// is made on Undo of it.
//
//	feature now   earlier record   the pod
//	inject        none             gets the feature
//	inject        same values      stays
//	inject        other values     has ours replaced: it came from another cluster or policy
//	skip          any              stays: what we were asked to leave alone we leave alone
func Review(compiled *policy.Compiled, request policy.Request) Result {
	actual := request.Pod
	request.Pod = Undo(actual)
	result := Result{Request: request, Decision: compiled.Decide(&request)}
	d := &result.Decision
	if !d.ServiceHost.Injects() && !d.DNS.Injects() {
		return result
	}
	earlier, _ := ReadRecord(actual)
	record := Record{Rule: d.Rule, Policy: compiled.Hash()}
	var ops []jsonpatch.Operation
	if d.ServiceHost.Injects() {
		ops = serviceHostOperations(ops, actual, &request, &d.ServiceHost, &earlier, &record)
	} else {
		record.keepServiceHost(&earlier)
	}
	if request.Operation == policy.OperationAddEphemeralContainer {
		// Of this subresource the API server drops every other change.
		result.Operations = ops
		return result
	}
	dnsConfig := actual.Spec.DNSConfig
	if d.DNS.Injects() {
		ops, dnsConfig = dnsOperations(ops, actual, &request, &d.DNS, &earlier, &record)
		ops = mapOperations(ops, "/metadata/labels", actual.Metadata.Labels, policy.LabelPinned, pinned(&d.DNS))
	} else {
		record.keepDNS(&earlier)
	}
	record.seal(dnsConfig)

	text := record.text()
	annotation := &text
	if !fits(actual.Metadata.Annotations, text) {
		annotation, result.RecordReason = nil, policy.ReasonAnnotationBudget
	}
	result.Operations = mapOperations(ops, "/metadata/annotations", actual.Metadata.Annotations, policy.AnnotationInjected, annotation)
	return result
}

// pinned is the value of policy.LabelPinned, nil where the pod has none.
func pinned(d *policy.DNSDecision) *string {
	if d.Mode != policy.DNSModeNodeLocal {
		return nil
	}
	value := policy.PinnedNodeLocal
	return &value
}
