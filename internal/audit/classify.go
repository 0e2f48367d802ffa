package audit

import (
	"slices"
	"strings"
	"time"

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
	// Installed is when the webhook was registered. Defaults to not known.
	Installed time.Time
}

// Classifier says how pods relate to a policy.
type Classifier struct {
	Conditions
	// percents has the share of each rule that has one of its own.
	percents map[string]int32
	percent  int32
}

// NewClassifier prepares for many pods.
func NewClassifier(c Conditions) *Classifier {
	spec := &c.Policy.Document().Spec
	classifier := &Classifier{Conditions: c, percents: map[string]int32{}, percent: 100}
	if spec.Rollout.Percent != nil {
		classifier.percent = *spec.Rollout.Percent
	}
	for i := range spec.Rules {
		if percent := spec.Rules[i].Rollout.Percent; percent != nil {
			classifier.percents[spec.Rules[i].Name] = *percent
		}
	}
	return classifier
}

// Classify compares a running pod with what the policy would do to it if it
// were created now. labels are those of its namespace; they mean nothing
// unless known is true.
//
// For each feature, the first line that applies. "carries" is what a valid
// record on the pod says; "same" is a pod that a review would not change, and
// that carries the feature if and only if it would be injected.
//
//	the pod                                              class       reason
//	its namespace's labels are not known                 unknown     namespace_unknown
//	has a record that does not describe it               edited      record_edited
//	same, carries it                                     ok          the policy's
//	same, because of a closed gate or the rollout        unknown     the policy's
//	same, because of a label                             opted_out   the policy's
//	same, for any other reason                           skipped     the policy's
//	points at what a new pod would get, were it not for  pinned      gate_closed
//	  a closed gate
//	would be injected if it were not for DryRun          unknown     dry_run
//	has no record, rollout below 100 %, no label asks    unknown     rollout_in_progress
//	has no record, is older than the webhook             missed      before_installation
//	has no record                                        missed      not_injected
//	would be the same with its own cluster DNS, and      unknown     discovery_unknown
//	  what was discovered is not known here
//	has a record of another policy                       stale       older_policy
//	would be the same with closed gates, or without      unknown     gate_was_closed
//	  what was discovered
//	otherwise                                            stale       changed_since
//
// What a gate did in the past is kept by nobody but the pods that were
// reviewed then: one without a record counts as missed.
func (c *Classifier) Classify(pod *Pod, labels map[string]string, known bool) Verdict {
	record, recorded := mutate.ReadRecord(&pod.Pod)
	v := &view{Classifier: c, pod: pod, labels: labels, known: known, record: record, recorded: recorded}
	now := v.review(c.Gates, c.Discovered)
	return Verdict{
		ServiceHost: v.classify(policy.FeatureServiceHost, &now),
		DNS:         v.classify(policy.FeatureDNS, &now),
	}
}

// view is a pod that is being classified.
type view struct {
	*Classifier
	pod      *Pod
	labels   map[string]string
	known    bool
	record   mutate.Record
	recorded bool
}

// review is what the server would do to the pod under these conditions.
func (v *view) review(gates *policy.Gates, discovered *policy.Discovered) mutate.Result {
	return mutate.Review(v.Policy, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       v.pod.Metadata.Namespace,
		NamespaceLabels: v.labels,
		NamespaceKnown:  v.known,
		Pod:             &v.pod.Pod,
		ObjectSize:      v.pod.Size,
		Gates:           gates,
		Discovered:      discovered,
	})
}

func (v *view) classify(f policy.Feature, now *mutate.Result) Finding {
	o := outcomeOf(f, now)
	same := v.same(f, now)
	switch _, annotated := v.pod.Metadata.Annotations[policy.AnnotationInjected]; {
	case o.Reason == policy.ReasonNamespaceUnknown:
		return Finding{Unknown, Reason(o.Reason)}
	case annotated && !v.recorded:
		return Finding{Edited, ReasonRecordEdited}
	case same && !o.Injects():
		return skipped(o.Reason)
	case same:
		return Finding{OK, Reason(o.Reason)}
	case v.pinned(f, o.Reason):
		return Finding{Pinned, ReasonGateClosed}
	case o.Action == policy.ActionDryRun:
		return Finding{Unknown, ReasonDryRun}
	case !v.recorded:
		return v.missed(now.Decision.Rule, o.Reason)
	case v.Discovered == nil && v.sameUnder(f, v.Gates, v.carriedDNS()):
		return Finding{Unknown, ReasonDiscovery}
	case v.record.Policy != v.Policy.Hash():
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
	case policy.ReasonServiceHostUnhealthy, policy.ReasonRollout:
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
	percent, own := v.percents[rule]
	if !own {
		percent = v.percent
	}
	asked := reason == policy.ReasonEnabledByPodLabel || reason == policy.ReasonEnabledByNamespaceLabel
	switch {
	case percent < 100 && !asked:
		return Finding{Unknown, ReasonRolloutInProgress}
	case v.pod.Metadata.CreationTimestamp.Before(v.Installed):
		return Finding{Missed, ReasonBeforeInstall}
	}
	return Finding{Missed, ReasonNotInjected}
}

func (v *view) carries(f policy.Feature) bool {
	if f == policy.FeatureServiceHost {
		return v.record.ServiceHost != ""
	}
	return v.record.DNS != ""
}

// pinned reports whether the pod points at something whose gate is closed:
// whatever else an older policy gave it, that comes first.
func (v *view) pinned(f policy.Feature, reason policy.Reason) bool {
	if !v.carries(f) || reason != policy.ReasonServiceHostUnhealthy && reason != policy.ReasonNodeLocalUnhealthy {
		return false
	}
	open := v.review(nil, v.Discovered)
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
	if v.record.DNS != policy.DNSModeNodeLocal || added.Searches < 3 {
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
	return outcomeOf(f, result).Injects() == v.carries(f) && !changes(f, result)
}

func outcomeOf(f policy.Feature, result *mutate.Result) policy.Outcome {
	if f == policy.FeatureServiceHost {
		return result.Decision.ServiceHost.Outcome
	}
	return result.Decision.DNS.Outcome
}

// changes reports whether a review changes what a feature is about. That the
// record would name another policy or rule does not count.
func changes(f policy.Feature, result *mutate.Result) bool {
	paths := []string{"/spec/containers/", "/spec/initContainers/"}
	if f == policy.FeatureDNS {
		paths = []string{"/spec/dnsConfig", "/spec/dnsPolicy"}
	}
	for i := range result.Operations {
		if slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(result.Operations[i].Path, path) }) {
			return true
		}
	}
	return false
}
