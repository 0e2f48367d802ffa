package policy

// Feature is one of the things Shorthop does, in the spelling of metric
// labels, log fields and audit annotations.
type Feature string

const (
	// FeatureServiceHost is KUBERNETES_SERVICE_HOST in containers.
	FeatureServiceHost Feature = "service_host"
	// FeatureDNS is the pod's dnsConfig.
	FeatureDNS Feature = "dns"
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

// Reason says why an action was taken. The list is closed. Codes are used
// verbatim in metrics, logs, audit annotations and the output of explain; once
// released they are never reworded.
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
	// ReasonAnnotationBudget leaves out the record.
	ReasonAnnotationBudget Reason = "annotation_budget"
)

// reasonTexts has the sentence for each reason and the features and actions it
// can come with. Metrics create exactly these series at zero.
var reasonTexts = []ReasonText{
	{ReasonEnabledByPolicy, "The policy enables the feature.", features, injects},
	{ReasonEnabledByRule, "The rule that matches the pod enables the feature.", features, injects},
	{ReasonEnabledByPodLabel, "A label of the pod enables the feature.", features, injects},
	{ReasonEnabledByNamespaceLabel, "A label of the namespace enables the feature.", features, injects},
	{ReasonLimits, "The pod's own nameservers or searches leave no room within the API's limits for node-local DNS, so it gets options only.", dnsOnly, injects},
	{ReasonClusterDomainUnknown, "The cluster domain is not known, so the pod gets options instead of node-local DNS.", dnsOnly, injects},
	{ReasonNodeLocalUnhealthy, "The node-local cache is not rolled out, so the pod gets options instead of node-local DNS.", dnsOnly, injects},

	{ReasonDisabledByPolicy, "The policy leaves the feature disabled unless a label enables it.", features, skips},
	{ReasonDisabledByRule, "The rule that matches the pod leaves the feature disabled unless a label enables it.", features, skips},
	{ReasonDisabledByPodLabel, "A label of the pod disables the feature.", features, skips},
	{ReasonDisabledByNamespaceLabel, "A label of the namespace disables the feature.", features, skips},
	{ReasonNamespaceClosed, "The namespace is labelled shorthop.dev/inject=disabled and nothing that may reopen it is set.", features, skips},
	{ReasonFeatureDisabled, "The policy disables the feature for every pod (spec.disabledFeatures).", features, skips},
	{ReasonNotConfigured, "Neither the policy nor the rule configures the feature.", features, skips},
	{ReasonRollout, "The workload is not in the share of workloads that spec.rollout.percent selects.", features, skips},

	{ReasonModeOff, "The mode of the policy, or of the rule that matches the pod, is Off.", features, skips},
	{ReasonOperation, "Only the creation of pods and new ephemeral containers are patched.", features, skips},
	{ReasonExcludedNamespace, "The namespace is excluded by the policy or is Shorthop's own.", features, skips},
	{ReasonMirrorPod, "The pod mirrors a static pod, which a patch cannot reach.", features, skips},
	{ReasonDNSPod, "The pod serves DNS itself and must not depend on it.", features, skips},
	{ReasonNamespaceUnknown, "The namespace's labels could not be read, so an opt-out cannot be ruled out.", features, skips},
	{ReasonObjectSize, "The pod is so large that a patch could take it over the API server's limits.", features, skips},
	{ReasonWindowsPod, "The pod runs on Windows, where resolver options and the node's own services do not exist.", features, skips},
	{ReasonVirtualNode, "The pod is meant for a virtual node, where no node-local service runs.", features, skips},
	{ReasonEphemeralContainer, "DNS settings are fixed for a pod's life; an ephemeral container gets only the environment.", dnsOnly, skips},

	{ReasonServiceHostSet, "The container sets KUBERNETES_SERVICE_HOST itself.", serviceHostOnly, skips},
	{ReasonServicePortSet, "The container sets KUBERNETES_SERVICE_PORT itself, which belongs to another host.", serviceHostOnly, skips},
	{ReasonServiceHostUnhealthy, "The API server does not answer at the host as itself, so the pod keeps the Service's address.", serviceHostOnly, skips},
	{ReasonNoNewContainer, "The request brings no new container.", serviceHostOnly, skips},
	{ReasonDNSPolicyNone, "dnsPolicy None belongs to the user.", dnsOnly, skips},
	{ReasonDNSPolicyDefault, "With dnsPolicy Default the pod uses the node's DNS, not the cluster's.", dnsOnly, skips},
	{ReasonDNSPolicyUnknown, "The pod's dnsPolicy is not one that Shorthop knows.", dnsOnly, skips},
	{ReasonHostNetwork, "With hostNetwork, dnsPolicy ClusterFirst means the node's DNS.", dnsOnly, skips},
	{ReasonDNSOptionsSet, "The pod sets every option itself.", dnsOnly, skips},

	{ReasonAnnotationBudget, "The record on the pod is left out because annotations would exceed 256 KiB.", recordOnly, skips},
}

// ReasonText documents one reason.
type ReasonText struct {
	Reason   Reason
	Sentence string
	Features []Feature
	Actions  []Action
}

var (
	features        = []Feature{FeatureServiceHost, FeatureDNS}
	serviceHostOnly = []Feature{FeatureServiceHost}
	dnsOnly         = []Feature{FeatureDNS}
	recordOnly      = []Feature{FeatureRecord}
	injects         = []Action{ActionInject, ActionDryRun}
	skips           = []Action{ActionSkip}
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
