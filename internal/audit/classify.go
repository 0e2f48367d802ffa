package audit

import (
	"slices"
	"strings"
	"time"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Conditions are what a decision depends on besides the pod and its namespace.
// Policy is required.
type Conditions struct {
	Policy *policy.Compiled
	// Gates are the health gates as they are now. Defaults to nil: they are not
	// known, and taken to be open.
	Gates *policy.Gates
	// Discovered is what is known of the cluster's DNS. Defaults to nil: nobody
	// could be asked.
	Discovered *policy.Discovered
	// Advice is the advice in force. Defaults to none.
	Advice *policy.Advice
	// Installed is when the webhook was registered. Defaults to not known.
	Installed time.Time
	// Called reports whether the API server calls the webhook for a new pod, by the
	// labels of its namespace and its own. Defaults to nil: for every pod.
	Called func(namespace, pod map[string]string) bool
}

// Classifier says how pods relate to a policy.
type Classifier struct {
	Conditions
	// percents has the share of each rule, and of policy.DefaultRule.
	percents map[string]int32
	// whole is the policy without a rollout.
	whole *policy.Compiled
}

// NewClassifier prepares for many pods.
func NewClassifier(c Conditions) *Classifier {
	classifier := &Classifier{Conditions: c, percents: map[string]int32{}, whole: c.Policy.WithoutRollout()}
	for e := range c.Policy.Document().Spec.Effective() {
		classifier.percents[e.Name()] = e.Percent
	}
	return classifier
}

// Classify compares a running pod with what the policy would do to it if it
// were created now. namespace is its own, which means nothing
// unless known is true.
//
// For each feature, the first line that applies. "carries" is what a valid
// record on the pod says; "same" is a pod that a review would not change, and
// that carries the feature if and only if it would be injected.
//
//	the pod                                              class       reason
//	its namespace's labels are not known                 unknown     namespace_unknown
//	has a record of a version that is not known here     unknown     record_version_unknown
//	has a record that does not describe the feature      edited      record_edited
//	same, carries it                                     ok          the policy's
//	same, because of a closed gate or the rollout        unknown     the policy's
//	same, because of a label                             opted_out   the policy's
//	same, for any other reason                           skipped     the policy's
//	points at what a new pod would get, were it not for  pinned      gate_closed
//	  a closed gate, whether in the rollout or not
//	carries it, and would not be in the rollout: a       unknown     rollout
//	  restart would take it away
//	would be injected if it were not for DryRun          unknown     dry_run
//	has no record, rollout below 100 %, no label asks    unknown     rollout_in_progress
//	has no record, is older than the webhook             missed      before_installation
//	has no record                                        missed      not_injected
//	would be the same if the gate of the DNS servers     unknown     gate_closed
//	  were open, or a namespace (not) public
//	has a lower ndots than a new pod, and nothing else,  stale       advice_raised
//	  and advice gave the one or the other (where only
//	  one of them has RES_OPTIONS, it is held against
//	  the other's resolv.conf)
//	has a higher one than advice would give, and nothing ok          advice_lower
//	  else, or the same by RES_OPTIONS that the other
//	  has in resolv.conf
//	would be the same with its own cluster DNS, and      unknown     discovery_unknown
//	  what was discovered is not known here
//	has a record of another policy                       stale       older_policy
//	would be the same with closed gates, or without      unknown     gate_was_closed
//	  what was discovered
//	otherwise                                            stale       changed_since
//
// Where the webhook is not called for a new pod, a restart brings nothing of what
// the policy would inject:
//
//	does not carry it, and is missed or unknown          skipped     left_out_by_filter
//	carries it, and is ok or stale                       unknown     left_out_by_filter
//
// Fall-through in resolv.conf is part of DNS, and has DNS's finding. In
// environments each feature is told by its own variables.
//
// What a gate did in the past is kept by nobody but the pods that were
// reviewed then: one without a record counts as missed.
func (c *Classifier) Classify(pod *Pod, namespace policy.Namespace, known bool) Verdict {
	v := &view{Classifier: c, pod: pod, namespace: namespace, known: known, record: mutate.ReadRecord(&pod.Pod)}
	v.called = c.Called == nil || !known || c.Called(namespace.Labels, pod.Metadata.Labels)
	now := v.review(c.Gates, c.Discovered)
	verdict := Verdict{
		ServiceHost: v.classify(policy.FeatureServiceHost, &now),
		DNS:         v.classify(policy.FeatureDNS, &now),
	}
	if now.Decision.Fallthrough.Carrier == policy.CarrierResolvConf && v.record.ResOptions == "" {
		verdict.Fallthrough = verdict.DNS
	} else {
		verdict.Fallthrough = v.classify(policy.FeatureFallthrough, &now)
	}
	return verdict
}

// view is a pod that is being classified.
type view struct {
	*Classifier
	pod       *Pod
	namespace policy.Namespace
	known     bool
	record    mutate.Reading
	called    bool // the webhook, for a new pod
}

// review is what the server would do to the pod under these conditions.
func (v *view) review(gates *policy.Gates, discovered *policy.Discovered) mutate.Result {
	return v.reviewBy(v.Policy, gates, discovered)
}

func (v *view) reviewBy(compiled *policy.Compiled, gates *policy.Gates, discovered *policy.Discovered) mutate.Result {
	return mutate.Review(compiled, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       v.pod.Metadata.Namespace,
		NamespaceLabels: v.namespace.Labels, NamespaceAnnotations: v.namespace.Annotations,
		NamespaceKnown: v.known,
		Pod:            &v.pod.Pod,
		ObjectSize:     v.pod.Size,
		Gates:          gates,
		Discovered:     discovered,
		Advice:         v.Advice,
	})
}

func (v *view) classify(f policy.Feature, now *mutate.Result) Finding {
	found := v.compare(f, now)
	if v.called || !outcomeOf(f, now).Injects() {
		return found
	}
	switch carries := v.carries(f); {
	case v.record.UnknownVersion != 0:
		return found
	case !carries && (found.Class == Missed || found.Class == Unknown):
		return Finding{Skipped, ReasonFilter}
	case carries && (found.Class == OK || found.Class == Stale):
		return Finding{Unknown, ReasonFilter}
	}
	return found
}

// compare is the table of Classify for a pod that the webhook is called for.
func (v *view) compare(f policy.Feature, now *mutate.Result) Finding {
	o := outcomeOf(f, now)
	same := v.same(f, now)
	advised := v.advised(f, now)
	switch {
	case o.Reason == policy.ReasonNamespaceUnknown:
		return Finding{Unknown, Reason(o.Reason)}
	case v.record.UnknownVersion != 0:
		return Finding{Unknown, ReasonRecordVersion}
	case v.edited(f):
		return Finding{Edited, ReasonRecordEdited}
	case same && !o.Injects():
		return skipped(o.Reason)
	case same:
		return Finding{OK, Reason(o.Reason)}
	case v.pinned(f, o.Reason):
		return Finding{Pinned, ReasonGateClosed}
	case o.Reason == policy.ReasonRollout && v.carries(f):
		return Finding{Unknown, Reason(o.Reason)}
	case o.Action == policy.ActionDryRun:
		return Finding{Unknown, ReasonDryRun}
	case !v.record.Found:
		return v.missed(now.Decision.Rule, o.Reason)
	case f != policy.FeatureServiceHost && v.sameWithOtherUpstreams(f):
		return Finding{Unknown, ReasonGateClosed}
	case advised != Finding{}:
		return advised
	case v.Discovered == nil && v.sameUnder(f, v.Gates, v.carriedDNS()):
		return Finding{Unknown, ReasonDiscovery}
	case v.record.By(f).Policy != v.Policy.Hash():
		return Finding{Stale, ReasonOlderPolicy}
	case v.sameUnder(f, &policy.Gates{}, v.Discovered), v.sameUnder(f, &policy.Gates{}, nil):
		return Finding{Unknown, ReasonGateWasClosed}
	}
	return Finding{Stale, ReasonChangedSince}
}

// skipped is the class of a feature that the pod does not carry and would not
// get.
func skipped(reason policy.Reason) Finding {
	switch reason {
	case policy.ReasonServiceHostUnhealthy, policy.ReasonRollout,
		policy.ReasonUpstreamSlow, policy.ReasonUpstreamFails, policy.ReasonUpstreamInventsAnswers:
		return Finding{Unknown, Reason(reason)}
	case policy.ReasonDisabledByPodLabel, policy.ReasonDisabledByNamespaceLabel, policy.ReasonNamespaceClosed:
		return Finding{OptedOut, Reason(reason)}
	default:
		return Finding{Skipped, Reason(reason)}
	}
}

// missed is the class of a feature that the pod would get, where nothing of
// ours is on it.
func (v *view) missed(rule string, reason policy.Reason) Finding {
	asked := reason == policy.ReasonEnabledByPodLabel || reason == policy.ReasonEnabledByNamespaceLabel
	switch {
	case v.percents[rule] < 100 && !asked:
		return Finding{Unknown, ReasonRolloutInProgress}
	case v.pod.Metadata.CreationTimestamp.Before(v.Installed):
		return Finding{Missed, ReasonBeforeInstall}
	}
	return Finding{Missed, ReasonNotInjected}
}

// edited reports whether the pod's record cannot be believed for a feature: it
// is no record, or somebody has changed what it says was added.
func (v *view) edited(f policy.Feature) bool {
	_, annotated := v.pod.Metadata.Annotations[policy.AnnotationInjected]
	lost := map[policy.Feature]bool{
		policy.FeatureServiceHost: v.record.LostServiceHost, policy.FeatureDNS: v.record.LostDNS, policy.FeatureFallthrough: v.record.LostResOptions,
	}[f]
	return annotated && !v.record.Found || lost
}

func (v *view) carries(f policy.Feature) bool {
	switch f {
	case policy.FeatureServiceHost:
		return v.record.ServiceHost != ""
	case policy.FeatureFallthrough:
		return v.record.ResOptions != ""
	case policy.FeatureDNS, policy.FeatureAdvice, policy.FeatureRecord:
	}
	return v.record.DNS != ""
}

// sameWithOtherUpstreams reports whether a feature differs only by what the DNS
// servers say now.
func (v *view) sameWithOtherUpstreams(f policy.Feature) bool {
	if v.Gates == nil {
		return false
	}
	for _, public := range []bool{false, true} {
		open := *v.Gates
		open.Upstreams, open.PublicNamespace = map[policy.Upstream]policy.Reason{}, public
		for _, probe := range v.Policy.UpstreamProbes() {
			open.Upstreams[probe.Upstream] = ""
		}
		if v.carries(f) && v.sameUnder(f, &open, v.Discovered) {
			return true
		}
	}
	return false
}

// pinned reports whether the pod points at something whose gate is closed:
// whatever else an older policy gave it, that comes first.
func (v *view) pinned(f policy.Feature, reason policy.Reason) bool {
	if !v.carries(f) {
		return false
	}
	compiled := v.Policy
	if reason == policy.ReasonRollout { // gates are closed for those outside of it too
		compiled = v.whole
		now := v.reviewBy(compiled, v.Gates, v.Discovered)
		reason = outcomeOf(f, &now).Reason
	}
	if reason != policy.ReasonServiceHostUnhealthy && reason != policy.ReasonNodeLocalUnhealthy {
		return false
	}
	open := v.reviewBy(compiled, nil, v.Discovered)
	if f == policy.FeatureServiceHost {
		d := &open.Decision.ServiceHost
		return d.Host == v.record.ServiceHost && d.Port == v.record.Added.Port
	}
	config, local := v.pod.Spec.DNSConfig, open.Decision.DNS.Servers
	return v.record.DNS == policy.DNSModeNodeLocal && config != nil &&
		len(config.Nameservers) >= len(local) && slices.Equal(config.Nameservers[:len(local)], local)
}

// carriedDNS is what must have been discovered for the pod's DNS to be what it
// is: kubelet's three searches end with the domain, and what follows the
// policy's servers are fallbacks.
func (v *view) carriedDNS() *policy.Discovered {
	config, added := v.pod.Spec.DNSConfig, &v.record.Added
	if v.record.DNS != policy.DNSModeNodeLocal || len(config.Searches) < 3 {
		return nil
	}
	carried := &policy.Discovered{Domain: config.Searches[2]}
	now := v.review(nil, carried)
	if n := len(now.Decision.DNS.Servers); n <= added.Nameservers {
		carried.UpstreamServers = config.Nameservers[n:added.Nameservers]
	}
	return carried
}

func (v *view) sameUnder(f policy.Feature, gates *policy.Gates, discovered *policy.Discovered) bool {
	result := v.review(gates, discovered)
	return v.same(f, &result)
}

// same reports whether a review leaves a feature as it is, and the pod carries
// it if and only if it would be injected.
func (v *view) same(f policy.Feature, result *mutate.Result) bool {
	injects := outcomeOf(f, result).Injects()
	if f == policy.FeatureFallthrough {
		injects = result.Decision.Fallthrough.ThroughEnvironment()
	}
	return injects == v.carries(f) && !changes(f, result)
}

func outcomeOf(f policy.Feature, result *mutate.Result) policy.Outcome {
	switch f {
	case policy.FeatureServiceHost:
		return result.Decision.ServiceHost.Outcome
	case policy.FeatureFallthrough:
		return result.Decision.Fallthrough.Outcome
	case policy.FeatureDNS, policy.FeatureAdvice, policy.FeatureRecord:
	}
	return result.Decision.DNS.Outcome
}

// changes reports whether a review changes what a feature is about. That the
// record would name another policy or rule does not count.
func changes(f policy.Feature, result *mutate.Result) bool {
	switch f {
	case policy.FeatureServiceHost:
		return result.ChangesServiceHost
	case policy.FeatureFallthrough:
		return result.ChangesResOptions
	case policy.FeatureDNS, policy.FeatureAdvice, policy.FeatureRecord:
	}
	return slices.ContainsFunc(result.Operations, func(o jsonpatch.Operation) bool {
		return strings.HasPrefix(o.Path, "/spec/dnsConfig") || strings.HasPrefix(o.Path, "/spec/dnsPolicy")
	})
}
