package mutate

import (
	"slices"

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
	// ChangesServiceHost and ChangesResOptions report whether the operations change,
	// or move, the variables of the service host, or RES_OPTIONS.
	ChangesServiceHost, ChangesResOptions bool
	// RecordReason says why the pod's record is left out; empty where it is
	// written or where there is nothing to record.
	RecordReason policy.Reason
	// ServiceHostEarlier, DNSEarlier and FallthroughEarlier say what becomes of what
	// an earlier review put on the pod, for fall-through of RES_OPTIONS. They are
	// empty where it put nothing there, or where the feature is injected now.
	ServiceHostEarlier, DNSEarlier, FallthroughEarlier policy.Earlier
}

// DryRun reports whether the operations are only a preview.
func (r *Result) DryRun() bool { return r.Decision.DryRun }

// Review decides on a request and makes the operations. request.Pod is the pod
// as the API server sent it, whatever earlier reviews did to it; the decision
// is made on Undo of it.
//
//	feature now            earlier record       the pod                              its record
//	inject                 none, or lost        gets the feature                     has it
//	inject                 same values          keeps it                             has it, by this policy
//	inject                 other values         has ours replaced                    has it, by this policy
//	inject, container not  has the container    loses ours in that container         is without the container
//	skip, stays            has it               stays                                keeps it, by the earlier policy
//	skip, stays            none, or lost        stays                                is without it
//	skip, stays            dnsPolicy None is    loses None, with which the API       is without it
//	                       left without         server would refuse the pod
//	                       nameservers
//	skip, comes out        has it               loses ours                           is without it
//	skip, comes out        lost                 stays: all of it counts as the       is without it
//	                                            user's
//	skip, comes out        none                 stays                                is without it
//	all skip, stay         any                  stays, but for None as above         stays as it is, text and all
//
// The features are the service host, DNS, and RES_OPTIONS. RES_OPTIONS is injected
// where it carries fall-through, and comes out where resolv.conf does.
//
// policy.Reason.Earlier says which skips leave in place what an earlier review did.
// Whatever the reason, it stays where a label or mode asks to leave the pod alone
// (policy.Compiled.LeavesAlone).
//
// A record without any feature is taken out, and so is one that cannot be read. The
// label policy.LabelPinned follows the record: the pod gets it where the record has
// DNS in mode NodeLocal, and loses it elsewhere, whoever set it; only where a record
// may have been left out (mayLackRecord) does it stay. Nothing comes out of ephemeral
// containers.
func Review(compiled *policy.Compiled, request policy.Request) Result {
	actual := request.Pod
	earlier := ReadRecord(actual)
	request.Pod, request.Running = earlier.undo(actual), actual
	result := Result{Request: request, Decision: compiled.Decide(&request)}
	d := &result.Decision
	injects := d.ServiceHost.Injects() || d.DNS.Injects() || d.Fallthrough.ThroughEnvironment()
	if !injects && !hasOurKeys(actual) {
		return result
	}
	serviceHost := becomes(compiled, &request, policy.FeatureServiceHost, d.ServiceHost.Outcome)
	dns := becomes(compiled, &request, policy.FeatureDNS, d.DNS.Outcome)
	resOptions := becomes(compiled, &request, policy.FeatureFallthrough, d.Fallthrough.Outcome)
	if d.Fallthrough.Carrier == policy.CarrierResolvConf {
		resOptions = policy.EarlierComesOut
	}
	if dns == policy.EarlierStays && earlier.leftNone(actual) && mayMend(&request, d.DNS.Reason) {
		dns = policy.EarlierComesOut
	}
	if earlier.ServiceHost != "" {
		result.ServiceHostEarlier = serviceHost
	}
	if earlier.DNS != "" {
		result.DNSEarlier = dns
	}
	if earlier.ResOptions != "" {
		result.FallthroughEarlier = resOptions
	}
	if serviceHost == policy.EarlierStays && dns == policy.EarlierStays && resOptions == policy.EarlierStays {
		return result
	}

	w := rewrite{
		actual: actual, original: request.Pod, earlier: earlier.Record,
		keptServiceHost: result.ServiceHostEarlier == policy.EarlierStays,
		keptResOptions:  result.FallthroughEarlier == policy.EarlierStays,
	}
	record := &w.record
	if w.keptServiceHost {
		record.keepServiceHost(&earlier.Record)
	}
	if w.keptResOptions {
		record.keepResOptions(&earlier.Record)
	}
	w.setEnvironment(compiled, &request, d)
	result.ChangesServiceHost, result.ChangesResOptions = w.changesServiceHost, w.changesResOptions
	if request.Operation == policy.OperationAddEphemeralContainer {
		// The API server drops every other change to this subresource.
		result.Operations = w.ops
		return result
	}
	dnsConfig, keptDNS := actual.Spec.DNSConfig, false
	switch {
	case d.DNS.Injects():
		var dnsPolicy string
		dnsPolicy, dnsConfig = decidedDNS(&request, &d.DNS, record)
		w.setDNS(dnsPolicy, dnsConfig)
	case dns == policy.EarlierComesOut:
		w.setDNS(request.Pod.Spec.DNSPolicy, request.Pod.Spec.DNSConfig)
	case earlier.DNS != "":
		keptDNS = true
		record.keepDNS(&earlier.Record)
	}
	var annotation *string
	if record.ServiceHost != "" || record.DNS != "" || record.ResOptions != "" {
		var by *Provenance
		if injects {
			by = &Provenance{d.Rule, compiled.Hash()}
		}
		if d.Advice.Injects() {
			record.Advice = d.Advice.Reason
		}
		record.sign(by, &earlier.Record, w.keptServiceHost, keptDNS, w.keptResOptions)
		record.seal(dnsConfig)
		text := record.text()
		annotation = &text
		if !fits(actual.Metadata.Annotations, text) {
			annotation, result.RecordReason = nil, policy.ReasonAnnotationBudget
		}
	}
	if annotation != nil || !mayLackRecord(actual) {
		w.ops = mapOperations(w.ops, "/metadata/labels", actual.Metadata.Labels, policy.LabelPinned, pinned(record))
	}
	result.Operations = mapOperations(w.ops, "/metadata/annotations", actual.Metadata.Annotations, policy.AnnotationInjected, annotation)
	return result
}

// rewrite turns the pod as it is into the pod as decided.
type rewrite struct {
	// actual is the pod as the API server sent it, original the same without what an
	// earlier review did.
	actual, original *policy.Pod
	// earlier is the record of that review, and record the one that is written now.
	earlier Record
	record  Record
	ops     []jsonpatch.Operation
	// keptServiceHost and keptResOptions are true where those variables stay as the
	// earlier review left them.
	keptServiceHost, keptResOptions bool
	// changesServiceHost and changesResOptions are as in Result.
	changesServiceHost, changesResOptions bool
}

// hasOurKeys reports whether the pod has a record or the pinned label, whoever
// wrote them.
func hasOurKeys(pod *policy.Pod) bool {
	_, recorded := pod.Metadata.Annotations[policy.AnnotationInjected]
	_, pinned := pod.Metadata.Labels[policy.LabelPinned]
	return recorded || pinned
}

// becomes says what becomes of what an earlier review may have put on the pod
// for a feature; empty where the feature is injected.
func becomes(compiled *policy.Compiled, r *policy.Request, f policy.Feature, now policy.Outcome) policy.Earlier {
	switch {
	case now.Injects():
		return ""
	case r.Operation == policy.OperationAddEphemeralContainer, compiled.LeavesAlone(f, r):
		return policy.EarlierStays
	}
	return now.Reason.Earlier()
}

// mayMend reports whether our dnsPolicy None may be taken out of a pod whose DNS is to
// be left alone, because the API server would refuse the pod otherwise. A person who
// opts out by a label does not ask for a pod that is refused; under the reasons of
// neverPatched nothing is patched even then.
func mayMend(r *policy.Request, reason policy.Reason) bool {
	return r.Operation == policy.OperationCreatePod && !slices.Contains(neverPatched, reason)
}

var neverPatched = []policy.Reason{policy.ReasonModeOff, policy.ReasonOperation, policy.ReasonExcludedNamespace, policy.ReasonMirrorPod}

// pinned is the value of policy.LabelPinned, nil where the pod has none.
func pinned(record *Record) *string {
	if record.DNS != policy.DNSModeNodeLocal {
		return nil
	}
	value := policy.PinnedNodeLocal
	return &value
}
