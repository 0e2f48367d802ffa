package policy

// Feature is one of the things Shorthop does, in the spelling of metric
// labels, log fields and audit annotations.
type Feature string

const (
	// FeatureServiceHost is KUBERNETES_SERVICE_HOST in containers.
	FeatureServiceHost Feature = "service_host"
	// FeatureDNS is the pod's dnsConfig.
	FeatureDNS Feature = "dns"
	// FeatureFallthrough is the lower ndots of resolvers that fall through.
	FeatureFallthrough Feature = "fallthrough"
	// FeatureAdvice is the numbers that advice gives in the place of the policy's.
	FeatureAdvice Feature = "advice"
	// FeatureRecord is the annotation that tells what was done. It is not
	// something a user asks for, but it too can be left out for a reason.
	FeatureRecord Feature = "record"
)

// Action is what happens to a feature of a pod.
type Action string

const (
	// ActionInject patches the pod.
	ActionInject Action = "inject"
	// ActionDryRun would patch the pod if the mode, the policy's or the rule's,
	// were Enforce.
	ActionDryRun Action = "dry_run"
	// ActionSkip leaves the pod as it is.
	ActionSkip Action = "skip"
)

// Reason says why an action was taken. The list is closed, and a code is never
// reworded once it is released, for it is used verbatim by all of these:
//
//	returned by                              Decide and what it calls, in the order that is written there
//	the reasons that stand behind it         besides.go, which asks Decide again without it (Request.heeds)
//	what an earlier review did stays or not  pkg/mutate/review.go, by Earlier
//	a series of metrics for each             internal/metrics: metrics.go, closedLists; counted by handler.go
//	audit annotations, log lines             internal/admission: encode.go, handler.go
//	explain, audit and the pages about them  internal/explain, internal/audit, docs/reference.md, by Sentence
type Reason string

// Reasons to inject, or to skip because of a setting. See optout.go for their
// precedence.
const (
	ReasonEnabledByPolicy          Reason = "enabled_by_policy"
	ReasonEnabledByRule            Reason = "enabled_by_rule"
	ReasonEnabledByPodLabel        Reason = "enabled_by_pod_label"
	ReasonEnabledByNamespaceLabel  Reason = "enabled_by_namespace_label"
	ReasonDisabledByPolicy         Reason = "disabled_by_policy"
	ReasonDisabledByRule           Reason = "disabled_by_rule"
	ReasonDisabledByPodLabel       Reason = "disabled_by_pod_label"
	ReasonDisabledByNamespaceLabel Reason = "disabled_by_namespace_label"
	ReasonNamespaceClosed          Reason = "namespace_closed"
	ReasonFeatureDisabled          Reason = "feature_disabled"
	ReasonNotConfigured            Reason = "not_configured"
	ReasonRollout                  Reason = "rollout"
)

// Reasons to leave a pod alone whatever the labels say. See skip.go.
const (
	ReasonModeOff            Reason = "mode_off"
	ReasonOperation          Reason = "operation"
	ReasonExcludedNamespace  Reason = "excluded_namespace"
	ReasonMirrorPod          Reason = "mirror_pod"
	ReasonDNSPod             Reason = "dns_pod"
	ReasonNamespaceUnknown   Reason = "namespace_unknown"
	ReasonObjectSize         Reason = "object_size"
	ReasonWindowsPod         Reason = "windows_pod"
	ReasonVirtualNode        Reason = "virtual_node"
	ReasonEphemeralContainer Reason = "ephemeral_container"
)

// Reasons that come from what the pod already says.
const (
	ReasonServiceHostSet   Reason = "service_host_set"
	ReasonServicePortSet   Reason = "service_port_set"
	ReasonNoNewContainer   Reason = "no_new_container"
	ReasonDNSPolicyNone    Reason = "dns_policy_none"
	ReasonDNSPolicyDefault Reason = "dns_policy_default"
	ReasonDNSPolicyUnknown Reason = "dns_policy_unknown"
	ReasonHostNetwork      Reason = "host_network"
	ReasonDNSOptionsSet    Reason = "dns_options_set"
	ReasonOwnConfig        Reason = "own_config"
	ReasonProxy            Reason = "proxy"
	ReasonDNSBootstrap     Reason = "dns_bootstrap"
)

// Reasons to inject less than the policy asks for.
const (
	// ReasonLimits, ReasonClusterDomainUnknown and ReasonNodeLocalUnhealthy turn
	// NodeLocal into Options.
	ReasonLimits               Reason = "limits"
	ReasonClusterDomainUnknown Reason = "cluster_domain_unknown"
	ReasonNodeLocalUnhealthy   Reason = "node_local_unhealthy"
	// ReasonServiceHostUnhealthy leaves out the service host.
	ReasonServiceHostUnhealthy Reason = "service_host_unhealthy"
	// ReasonOwnSearches leaves out ndots, and fall-through.
	ReasonOwnSearches Reason = "own_searches"
	// ReasonNamespaceIsPublicSuffix raises the ndots of fall-through, or leaves it
	// out.
	ReasonNamespaceIsPublicSuffix Reason = "namespace_is_public_suffix"
	// ReasonAnnotationBudget leaves out the record.
	ReasonAnnotationBudget Reason = "annotation_budget"
)

// Reasons to leave out fall-through. See fallthrough.go.
const (
	ReasonNdotsSet         Reason = "ndots_set"
	ReasonNdotsNotLower    Reason = "ndots_not_lower"
	ReasonResOptionsNever  Reason = "res_options_never"
	ReasonResOptionsSet    Reason = "res_options_set"
	ReasonResOptionsUnseen Reason = "res_options_unseen"
	ReasonResolverUnknown  Reason = "resolver_unknown"
	ReasonResolverOther    Reason = "resolver_other"
	ReasonResolverBeside   Reason = "resolver_beside"
	// The gate: see gate.go.
	ReasonServiceNotLocal        Reason = "svc_not_local"
	ReasonUpstreamSlow           Reason = "upstream_slow"
	ReasonUpstreamFails          Reason = "upstream_fails"
	ReasonUpstreamInventsAnswers Reason = "upstream_invents_answers"
)

// Reasons of advice. See advice.go.
const (
	ReasonAdvised            Reason = "advised"
	ReasonAdvisedFallthrough Reason = "advised_fallthrough"
	ReasonAdviceLow          Reason = "advice_low"
	ReasonAdviceNone         Reason = "advice_none"
)

// Earlier says what a skip does with what an earlier review put on the pod,
// where the pod comes back with it: after another webhook (reinvocation), from
// a backup, through kubectl replace, in another cluster.
type Earlier string

const (
	// EarlierStays is for what a person asked us to leave alone, which the API
	// server may not even send, and for what cannot or must not be patched.
	EarlierStays Earlier = "stays"
	// EarlierComesOut is for all else: what cannot work for the pod, and what an
	// operator does not give to pods now.
	EarlierComesOut Earlier = "comes_out"
	// earlierReplaced is for injections: what was there becomes what is decided
	// now.
	earlierReplaced Earlier = ""
)

// reasonTexts has the sentence for each reason, the features and actions it
// can come with, and what becomes of what an earlier review put there. Metrics
// create exactly these series at zero.
var reasonTexts = []ReasonText{
	{ReasonEnabledByPolicy, "The policy enables the feature.", features, injects, earlierReplaced},
	{ReasonEnabledByRule, "The rule that matches the pod enables the feature.", features, injects, earlierReplaced},
	{ReasonEnabledByPodLabel, "A label of the pod enables the feature.", features, injects, earlierReplaced},
	{ReasonEnabledByNamespaceLabel, "A label of the namespace enables the feature.", features, injects, earlierReplaced},
	{ReasonLimits, "The pod's own nameservers or searches leave no room within the API's limits for node-local DNS, so it gets options only.", dnsOnly, injects, earlierReplaced},
	{ReasonClusterDomainUnknown, "The cluster domain is not known, so the pod gets options instead of node-local DNS.", dnsOnly, injects, earlierReplaced},
	{ReasonNodeLocalUnhealthy, "The node-local cache is not rolled out, so the pod gets options instead of node-local DNS.", dnsOnly, injects, earlierReplaced},

	{ReasonDisabledByPolicy, "The policy leaves the feature disabled unless a label enables it.", allFeatures, skips, EarlierComesOut},
	{ReasonDisabledByRule, "The rule that matches the pod leaves the feature disabled unless a label enables it.", allFeatures, skips, EarlierComesOut},
	{ReasonDisabledByPodLabel, "A label of the pod disables the feature.", allFeatures, skips, EarlierStays},
	{ReasonDisabledByNamespaceLabel, "A label of the namespace disables the feature.", allFeatures, skips, EarlierStays},
	{ReasonNamespaceClosed, "The namespace is labelled shorthop.dev/inject=disabled and nothing that may reopen it is set.", allFeatures, skips, EarlierStays},
	{ReasonFeatureDisabled, "The policy disables the feature for every pod (spec.disabledFeatures).", allFeatures, skips, EarlierComesOut},
	{ReasonNotConfigured, "Neither the policy nor the rule configures the feature.", allFeatures, skips, EarlierComesOut},
	{ReasonRollout, "The workload is not in the share of workloads that spec.rollout.percent selects.", allFeatures, skips, EarlierComesOut},

	{ReasonModeOff, "The mode of the policy, or of the rule that matches the pod, is Off.", allFeatures, skips, EarlierStays},
	{ReasonOperation, "Only the creation of pods and new ephemeral containers are patched.", allFeatures, skips, EarlierStays},
	{ReasonExcludedNamespace, "The namespace is excluded by the policy or is Shorthop's own.", allFeatures, skips, EarlierStays},
	{ReasonMirrorPod, "The pod mirrors a static pod, which a patch cannot reach.", allFeatures, skips, EarlierStays},
	{ReasonDNSPod, "The pod serves DNS itself and must not depend on it.", allFeatures, skips, EarlierComesOut},
	{ReasonNamespaceUnknown, "The namespace's labels could not be read, so an opt-out cannot be ruled out.", allFeatures, skips, EarlierStays},
	{ReasonObjectSize, "The pod is so large that a patch could take it over the API server's limits.", allFeatures, skips, EarlierStays},
	{ReasonWindowsPod, "The pod runs on Windows, where resolver options and the node's own services do not exist.", allFeatures, skips, EarlierComesOut},
	{ReasonVirtualNode, "The pod is meant for a virtual node, where no node-local service runs.", allFeatures, skips, EarlierComesOut},
	{ReasonEphemeralContainer, "DNS settings are fixed for a pod's life; an ephemeral container gets only the environment.", dnsAndAdvice, skips, EarlierStays},

	{ReasonServiceHostSet, "The container sets KUBERNETES_SERVICE_HOST itself.", serviceHostOnly, skips, EarlierComesOut},
	{ReasonServicePortSet, "The container sets KUBERNETES_SERVICE_PORT or KUBERNETES_SERVICE_PORT_HTTPS itself, which belongs to another host.", serviceHostOnly, skips, EarlierComesOut},
	{ReasonServiceHostUnhealthy, "The API server does not answer at the host as itself, so the pod keeps the Service's address.", serviceHostOnly, skips, EarlierComesOut},
	{ReasonNoNewContainer, "The request brings no new container.", serviceHostAndFallthrough, skips, EarlierStays},
	{ReasonProxy, "The container sends HTTPS to a proxy, and its NO_PROXY does not cover the API server's host.", serviceHostOnly, skips, EarlierComesOut},
	{ReasonDNSBootstrap, "The cluster's network or DNS may stand on the pod, which must not need the cluster DNS to find the API server.", serviceHostOnly, skips, EarlierComesOut},
	{ReasonDNSPolicyNone, "With dnsPolicy None the nameservers are the user's: DNS is left alone, and a host by name is not injected unless they are the cluster's.", allFeatures, skips, EarlierComesOut},
	{ReasonDNSPolicyDefault, "With dnsPolicy Default the pod uses the node's DNS, not the cluster's.", dnsFallthroughAndAdvice, skips, EarlierComesOut},
	{ReasonDNSPolicyUnknown, "The pod's dnsPolicy is not one that Shorthop knows.", dnsFallthroughAndAdvice, skips, EarlierComesOut},
	{ReasonHostNetwork, "With hostNetwork, dnsPolicy ClusterFirst means the node's DNS.", dnsFallthroughAndAdvice, skips, EarlierComesOut},
	{ReasonOwnConfig, "The pod brings a dnsConfig of its own, which the policy leaves alone (ownConfig: Leave).", dnsFallthroughAndAdvice, skips, EarlierComesOut},
	{ReasonDNSOptionsSet, "The pod sets every option itself.", dnsOnly, skips, EarlierComesOut},
	{ReasonOwnSearches, "The pod's dnsConfig names search domains of its own, below which there may be longer short names, so it keeps kubelet's ndots of 5.", dnsFallthroughAndAdvice, injectsAndSkips, EarlierComesOut},

	{ReasonNdotsSet, "The pod's dnsConfig, an annotation or the rule names ndots, which is exactly what the pod has.", fallthroughAndAdvice, skips, EarlierComesOut},
	{ReasonNdotsNotLower, "The ndots of fallthrough is not below that of the pod's resolv.conf.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResOptionsNever, "The images hold more than Go, and the policy gives no container RES_OPTIONS (fallthrough.env: Never).", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResOptionsSet, "The container or its image sets RES_OPTIONS or LOCALDOMAIN itself.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResOptionsUnseen, "The container has variables by envFrom, and RES_OPTIONS may be one of them.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResolverUnknown, "Which resolver the image contains is not known (`kubectl shorthop resolvers`).", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResolverOther, "The image's resolver is not glibc: it stops at ndots, does not read RES_OPTIONS, or gives up where the outside fails (c-ares).", fallthroughOnly, skips, EarlierComesOut},
	{ReasonResolverBeside, "The image holds a Go program with cgo, Perl's Net::DNS or PHP's amphp/dns, which would change under RES_OPTIONS.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonNamespaceIsPublicSuffix, "A namespace with a headless Service is a name that the outside knows, so the ndots of fallthrough counts as at least 3.", fallthroughOnly, injectsAndSkips, EarlierComesOut},
	{ReasonServiceNotLocal, "The cluster DNS asks the outside about names that end in svc, so an outage there would reach running pods; `kubectl shorthop doctor` prints the block with which it answers them itself.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonUpstreamSlow, "The servers that pods ask do not answer in time about names that nobody has.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonUpstreamFails, "The servers that pods ask say something else than that there is no such name about names that nobody has, or have not been asked yet.", fallthroughOnly, skips, EarlierComesOut},
	{ReasonUpstreamInventsAnswers, "The servers that pods ask have addresses for names that nobody has.", fallthroughOnly, skips, EarlierComesOut},

	{ReasonAdvised, "Advice gives the pod's ndots, or its fallthrough, in the place of the policy's.", adviceOnly, injects, earlierReplaced},
	{ReasonAdvisedFallthrough, "Advice was found for other images or commands of the workload, so only its fallthrough counts, for containers that get one.", adviceOnly, injectsAndSkips, EarlierComesOut},
	{ReasonAdviceLow, "Too little was seen of the workload for a lower value, or less than the policy wants (minConfidence).", adviceOnly, skips, EarlierComesOut},
	{ReasonAdviceNone, "There is no advice for the pod's workload, or a label names the workload and podOverrides do not allow ndots.", adviceOnly, skips, EarlierComesOut},

	{ReasonAnnotationBudget, "The record on the pod is left out because annotations would exceed 256 KiB.", recordOnly, skips, EarlierComesOut},
}

// ReasonText documents one reason.
type ReasonText struct {
	Reason   Reason
	Sentence string
	Features []Feature
	Actions  []Action
	// Earlier is empty for a reason to inject.
	Earlier Earlier
}

var (
	features                  = []Feature{FeatureServiceHost, FeatureDNS, FeatureFallthrough}
	serviceHostOnly           = []Feature{FeatureServiceHost}
	serviceHostAndFallthrough = []Feature{FeatureServiceHost, FeatureFallthrough}
	dnsOnly                   = []Feature{FeatureDNS}
	fallthroughOnly           = []Feature{FeatureFallthrough}
	adviceOnly                = []Feature{FeatureAdvice}
	dnsAndAdvice              = []Feature{FeatureDNS, FeatureAdvice}
	fallthroughAndAdvice      = []Feature{FeatureFallthrough, FeatureAdvice}
	dnsFallthroughAndAdvice   = []Feature{FeatureDNS, FeatureFallthrough, FeatureAdvice}
	allFeatures               = []Feature{FeatureServiceHost, FeatureDNS, FeatureFallthrough, FeatureAdvice}
	recordOnly                = []Feature{FeatureRecord}
	injects                   = []Action{ActionInject, ActionDryRun}
	skips                     = []Action{ActionSkip}
	injectsAndSkips           = []Action{ActionInject, ActionDryRun, ActionSkip}
)

// Reasons returns the closed list of reasons. The caller must not change it.
func Reasons() []ReasonText { return reasonTexts }

// Sentence says what a reason means. It is empty for a reason that is not in
// the list.
func (r Reason) Sentence() string {
	for i := range reasonTexts {
		if reasonTexts[i].Reason == r {
			return reasonTexts[i].Sentence
		}
	}
	return ""
}

// Earlier says what a skip for this reason does with what an earlier review put
// on the pod. A reason that is not in the list touches nothing.
func (r Reason) Earlier() Earlier {
	for i := range reasonTexts {
		if reasonTexts[i].Reason == r {
			return reasonTexts[i].Earlier
		}
	}
	return EarlierStays
}
