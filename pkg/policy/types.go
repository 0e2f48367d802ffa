package policy

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// APIVersion and Kind identify the policy document.
const (
	APIVersion = "shorthop.dev/v1alpha1"
	Kind       = "InjectionPolicy"
)

// InjectionPolicy is the policy document. It follows the Kubernetes resource
// model, so that it can become a CRD without a change.
type InjectionPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// Metadata carries the policy's name, which must be a DNS subdomain.
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     Spec              `json:"spec"`
}

// Mode says how far a decision is carried out.
type Mode string

const (
	// ModeEnforce patches pods.
	ModeEnforce Mode = "Enforce"
	// ModeDryRun decides and records, and patches nothing.
	ModeDryRun Mode = "DryRun"
	// ModeOff is the kill switch: nothing is decided, nothing is patched.
	ModeOff Mode = "Off"
)

// UnmarshalJSON takes false for Off: without quotes, Off is a boolean in YAML,
// and a kill switch must not depend on quotes.
func (m *Mode) UnmarshalJSON(data []byte) error {
	if string(data) == "false" {
		*m = ModeOff
		return nil
	}
	return json.Unmarshal(data, (*string)(m))
}

// OnError says what a pod gets when Shorthop itself fails while it reviews it.
type OnError string

const (
	// OnErrorAllow admits the pod unpatched, with an admission warning.
	OnErrorAllow OnError = "Allow"
	// OnErrorDeny rejects the pod.
	OnErrorDeny OnError = "Deny"
)

// NamespaceOptOut says whether a pod can reopen a namespace that is labelled
// shorthop.dev/inject=disabled.
type NamespaceOptOut string

const (
	// NamespaceOptOutOverridable lets a pod's own label reopen it.
	NamespaceOptOutOverridable NamespaceOptOut = "Overridable"
	// NamespaceOptOutFinal lets nothing reopen it.
	NamespaceOptOutFinal NamespaceOptOut = "Final"
)

// Spec is the policy.
type Spec struct {
	// Mode defaults to Enforce. DryRun and Off hold for every pod: a rule can
	// only do less than the policy.
	Mode Mode `json:"mode,omitzero"`
	// DisabledFeatures are given to no pod, whatever labels and rules say: a
	// kill switch for each feature. Defaults to none.
	DisabledFeatures []FeatureName `json:"disabledFeatures,omitzero"`
	// OnError defaults to Allow.
	OnError OnError `json:"onError,omitzero"`
	// Cluster describes the cluster's DNS.
	Cluster Cluster `json:"cluster,omitzero"`
	// ExcludedNamespaces are never touched, whatever labels or rules say: names,
	// or beginnings of names with one * at the end ("openshift-*"), at most 32 of
	// these. The API server filters by them too. A name costs nothing there;
	// while there is a beginning, a condition is evaluated for every pod of the
	// cluster, less than a millisecond each (docs/platforms.md).
	// Defaults to kube-system, kube-public and kube-node-lease.
	// The webhook's own namespace is always excluded as well.
	ExcludedNamespaces []string `json:"excludedNamespaces,omitzero"`
	// NamespaceOptOut defaults to Overridable.
	NamespaceOptOut NamespaceOptOut `json:"namespaceOptOut,omitzero"`
	// LabelAliases are labels of other products that are understood as
	// shorthop.dev feature labels. Defaults to those of Gardener, Alibaba ACK,
	// Huawei CCE, UCloud UK8S and Tencent TKE. An empty list means none.
	LabelAliases []LabelAlias `json:"labelAliases,omitzero"`
	// VirtualNodes recognises pods that are meant for nodes without a kubelet
	// of the usual kind, where no node-local cache or proxy runs.
	VirtualNodes VirtualNodes `json:"virtualNodes,omitzero"`
	// ServiceHost configures KUBERNETES_SERVICE_HOST. Left out: the feature is
	// off unless a rule configures it.
	ServiceHost *ServiceHost `json:"serviceHost,omitzero"`
	// DNS configures dnsConfig. Left out: the feature is off unless a rule
	// configures it.
	DNS *DNS `json:"dns,omitzero"`
	// Advice says how documents of advice are used where dns.advice is Apply.
	Advice AdviceSettings `json:"advice,omitzero"`
	// PodOverrides says what developers may tune with pod annotations.
	PodOverrides PodOverrides `json:"podOverrides,omitzero"`
	// Resolvers say which resolver images contain, by which dns.fallthrough
	// decides. The first that matches wins. Defaults to none.
	Resolvers []ImageResolver `json:"resolvers,omitzero"`
	// Rollout limits injection to a share of the workloads.
	Rollout Rollout `json:"rollout,omitzero"`
	// Rules are evaluated in order. The first that matches wins; it overrides
	// only the fields it names.
	Rules []Rule `json:"rules,omitzero"`
}

// Cluster describes the cluster's DNS as kubelets are configured. What is left
// out is discovered by the server.
type Cluster struct {
	// Domain is the cluster domain without a trailing dot, at most 185
	// characters, so that "<namespace>.svc.<domain>" stays a DNS name.
	// Needed by mode NodeLocal: while it is not known, pods get mode Options.
	Domain string `json:"domain,omitzero"`
	// DNSServers are the addresses of the cluster DNS Service, at most 3.
	DNSServers []string `json:"dnsServers,omitzero"`
}

// LabelAlias makes a label of another product count as a feature label.
type LabelAlias struct {
	// Label is the key.
	Label string `json:"label"`
	// Feature is ServiceHost or DNS.
	Feature FeatureName `json:"feature"`
	// DisableOnly ignores enabling values, for products that know none.
	DisableOnly bool `json:"disableOnly,omitzero"`
}

// FeatureName names a feature in the policy document.
type FeatureName string

const (
	// FeatureNameServiceHost is KUBERNETES_SERVICE_HOST, of the label
	// shorthop.dev/service-host.
	FeatureNameServiceHost FeatureName = "ServiceHost"
	// FeatureNameDNS is dnsConfig, of the label shorthop.dev/dns.
	FeatureNameDNS FeatureName = "DNS"
)

// VirtualNodes holds hints that a pod is meant for a virtual or serverless
// node. One hint is enough. Every list that is left out has a default; an
// empty list switches that kind of hint off.
type VirtualNodes struct {
	// PodAnnotations are keys of annotations, with or without a value:
	// "liqo.io/remote-cluster-id" or "multicluster.admiralty.io/elect=".
	PodAnnotations []string `json:"podAnnotations,omitzero"`
	// PodLabels are label selectors in their string form, for example
	// "alibabacloud.com/eci=true" or "eks.amazonaws.com/fargate-profile".
	PodLabels []string `json:"podLabels,omitzero"`
	// NodeSelectors are label selectors that are matched against
	// spec.nodeSelector and required node affinity, which counts where every
	// one of its terms has In with nothing but values that match.
	NodeSelectors []string `json:"nodeSelectors,omitzero"`
	// TolerationKeys are keys of tolerations.
	TolerationKeys []string `json:"tolerationKeys,omitzero"`
	// RuntimeClasses are patterns for spec.runtimeClassName.
	RuntimeClasses []string `json:"runtimeClasses,omitzero"`
	// SchedulerNames are patterns for spec.schedulerName.
	SchedulerNames []string `json:"schedulerNames,omitzero"`
}

// HostFrom says where the API server's host comes from when it differs from
// node to node.
type HostFrom string

// HostFromNodeIP takes status.hostIP through the downward API: a proxy to the
// API server listens on every node.
const HostFromNodeIP HostFrom = "NodeIP"

// ServiceHost configures the environment variable KUBERNETES_SERVICE_HOST.
type ServiceHost struct {
	// Enabled is the default for pods and namespaces without a label. Defaults
	// to true where a host is known; false makes the feature opt-in.
	Enabled *bool `json:"enabled,omitzero"`
	// Host is a DNS name or an IP address, IPv6 without brackets. It must be
	// among the names in the API server's certificate.
	Host string `json:"host,omitzero"`
	// HostFrom is the alternative to Host.
	HostFrom HostFrom `json:"hostFrom,omitzero"`
	// Port, 1 to 65535, is injected as KUBERNETES_SERVICE_PORT and as
	// KUBERNETES_SERVICE_PORT_HTTPS. Left out, the variables keep the Service's
	// port, which kubelet sets.
	Port *int32 `json:"port,omitzero"`
	// Probe configures the health gate of Host: a TLS handshake that verifies
	// the name against the cluster's CA.
	Probe *Probe `json:"probe,omitzero"`
}

// Probe configures a health gate.
type Probe struct {
	// Enabled defaults to true. False: no gate, for hosts that pods can reach and
	// Shorthop's own replicas cannot. Pods then get the host whether it works or
	// not.
	Enabled *bool `json:"enabled,omitzero"`
	// Interval between two probes, at least 1s. Defaults to 30s. A closed gate
	// is probed every 5s at least, so that it opens soon.
	Interval *metav1.Duration `json:"interval,omitzero"`
	// FailureThreshold is how many failures in a row close the gate, at least
	// 1. Defaults to 3. One success opens it.
	FailureThreshold *int32 `json:"failureThreshold,omitzero"`
}

// DNSMode says how DNS is patched.
type DNSMode string

const (
	// DNSModeOptions keeps dnsPolicy and adds resolver options.
	DNSModeOptions DNSMode = "Options"
	// DNSModeNodeLocal sets dnsPolicy None and writes nameservers, searches and
	// options, with the node-local cache first. With any other dnsPolicy
	// kubelet puts the cluster DNS before our nameserver.
	DNSModeNodeLocal DNSMode = "NodeLocal"
)

// DNS configures dnsConfig.
type DNS struct {
	// Enabled is the default for pods and namespaces without a label. Defaults
	// to true; false makes the feature opt-in.
	Enabled *bool `json:"enabled,omitzero"`
	// Mode defaults to Options.
	Mode DNSMode `json:"mode,omitzero"`
	// Ndots, 1 to 15, defaults to 4: the lowest value under which all short
	// address names of the cluster resolve with musl, which never tries the
	// search list for a name that has ndots dots. The longest is
	// "pod.service.namespace.svc". SRV names have four dots, and names under
	// other search domains may have more.
	Ndots *int32 `json:"ndots,omitzero"`
	// Fallthrough lowers ndots for resolvers that also try the search list for a
	// name with more dots.
	Fallthrough *Fallthrough `json:"fallthrough,omitzero"`
	// Advice says whether pods get what a document of advice says of their
	// workload, in the place of ndots and fallthrough.ndots. Defaults to Ignore.
	// What a rule, an annotation or the pod itself names is stronger.
	Advice AdviceMode `json:"advice,omitzero"`
	// MinConfidence of advice, medium or high, before pods get a lower value than
	// the policy's. Defaults to high. A higher one they get in any case.
	MinConfidence Confidence `json:"minConfidence,omitzero"`
	// Options are further resolv.conf options. ndots has its own field.
	Options []Option `json:"options,omitzero"`
	// OwnConfig says what becomes of pods that bring a dnsConfig of their own.
	// Defaults to Merge.
	OwnConfig OwnConfig `json:"ownConfig,omitzero"`
	// ExtraSearches are further search domains. In mode NodeLocal, where
	// dnsPolicy None drops those of the node, they follow the three of the
	// cluster; in mode Options they follow the pod's own in dnsConfig.searches,
	// which kubelet puts behind those of the cluster and of the node. As many as
	// the API server's limits allow.
	ExtraSearches []string `json:"extraSearches,omitzero"`
	// NodeLocal configures mode NodeLocal.
	NodeLocal NodeLocal `json:"nodeLocal,omitzero"`
}

// OwnConfig says what becomes of pods that bring a dnsConfig of their own.
type OwnConfig string

const (
	// OwnConfigMerge adds what the pod does not set itself.
	OwnConfigMerge OwnConfig = "Merge"
	// OwnConfigLeave leaves the DNS of a pod alone that has nameservers, searches
	// or options in its dnsConfig, whatever they are.
	OwnConfigLeave OwnConfig = "Leave"
)

// Option is one option of resolv.conf(5).
type Option struct {
	// Name: attempts, debug, edns0, no-aaaa, no-check-names, no-reload,
	// no-tld-query, rotate, single-request, single-request-reopen, timeout,
	// trust-ad or use-vc.
	Name string `json:"name"`
	// Value of attempts (1 to 5) and timeout (1 to 30 seconds); the others take
	// none.
	Value string `json:"value,omitzero"`
}

// NodeLocal configures the cache on the pod's node.
type NodeLocal struct {
	// Servers are the addresses the cache listens on, IPv4 or IPv6. Defaults to
	// 169.254.20.10 in a policy that uses mode NodeLocal.
	Servers []string `json:"servers,omitzero"`
	// FallbackServers follow the servers, at most 3 with them. Defaults to the
	// Service kube-dns-upstream, through which the cache itself reaches the
	// cluster DNS, where there is one, else to cluster.dnsServers. An empty list means none: musl asks every nameserver
	// at once, so there a fallback sees every query.
	FallbackServers []string `json:"fallbackServers,omitzero"`
	// DaemonSet of the cache, namespace/name; its status is the health gate.
	// Defaults to kube-system/node-local-dns. An empty string means no gate.
	// One that is missing or wants no node closes the gate.
	DaemonSet *string `json:"daemonSet,omitzero"`
	// DaemonSetSelector is the alternative to DaemonSet, where the cache is one
	// DaemonSet for each node pool: the nodes of all that it selects are added up.
	// While it selects none, the gate is closed.
	DaemonSetSelector *DaemonSetSelector `json:"daemonSetSelector,omitzero"`
	// MaxUnavailable nodes, a number or a percentage (rounded up), before the
	// gate closes. Defaults to 10%.
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitzero"`
}

// DaemonSetSelector selects DaemonSets by their own labels.
type DaemonSetSelector struct {
	// Namespace that they are in.
	Namespace string `json:"namespace"`
	// MatchLabels must all be there, at least one.
	MatchLabels map[string]string `json:"matchLabels"`
}

// Override names what a pod annotation may tune.
type Override string

const (
	// OverrideNdots allows the annotation shorthop.dev/ndots.
	OverrideNdots Override = "ndots"
	// OverrideMode allows the annotation shorthop.dev/dns-mode.
	OverrideMode Override = "mode"
	// OverrideOptions allows the annotation shorthop.dev/dns-options.
	OverrideOptions Override = "options"
)

// PodOverrides says what developers may tune with pod annotations.
type PodOverrides struct {
	// Allowed defaults to ndots, mode and options. An empty list means none.
	Allowed []Override `json:"allowed,omitzero"`
	// Ndots is the range for the annotation. Defaults to 1 to 5.
	Ndots NdotsRange `json:"ndots,omitzero"`
}

// NdotsRange is an inclusive range within 1 to 15.
type NdotsRange struct {
	// Min defaults to 1.
	Min *int32 `json:"min,omitzero"`
	// Max defaults to 5, or to Min where that is higher.
	Max *int32 `json:"max,omitzero"`
}

// Rollout limits injection to a share of the workloads, chosen by a stable
// hash, so that all pods of a workload agree and raising the share never takes
// a workload out. Labels that enable a feature are not subject to it.
type Rollout struct {
	// Percent, 0 to 100, defaults to 100.
	Percent *int32 `json:"percent,omitzero"`
}

// Rule overrides the policy for the pods it matches.
type Rule struct {
	// Name, a DNS label other than "default", is what the pod's annotation,
	// logs and metrics call the rule.
	Name string `json:"name"`
	// Match: all conditions that are named must hold. {} and no match at all
	// hold for every pod; null does not, and is an error.
	Match Match `json:"match,omitzero"`
	// Mode defaults to the policy's. Of the two the one that does less holds: Off,
	// DryRun, Enforce.
	Mode Mode `json:"mode,omitzero"`
	// ServiceHost overrides the fields of spec.serviceHost that it names.
	ServiceHost *ServiceHost `json:"serviceHost,omitzero"`
	// DNS overrides the fields of spec.dns that it names.
	DNS *DNS `json:"dns,omitzero"`
	// Rollout overrides spec.rollout.
	Rollout Rollout `json:"rollout,omitzero"`
}

// Match selects pods. Of a list one entry must hold, of the fields all. A list
// that is named and empty is an error: a template that renders nothing must not
// turn a rule loose on every pod.
// In patterns, * stands for any characters and ? for one.
type Match struct {
	// Namespaces are patterns for the pod's namespace.
	Namespaces []string `json:"namespaces,omitzero"`
	// NamespaceSelector selects by the namespace's labels.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitzero"`
	// PodSelector selects by the pod's labels.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitzero"`
	// Owners select by the pod's controller, by the workload behind it (the
	// Deployment of a ReplicaSet, the CronJob of a Job, the Rollout, the
	// DeploymentConfig), or by the pod's label shorthop.dev/workload, as kind
	// Workload. The label adds to what the pod matches: it takes nothing away.
	Owners []Owner `json:"owners,omitzero"`
	// ServiceAccounts are patterns for spec.serviceAccountName.
	ServiceAccounts []string `json:"serviceAccounts,omitzero"`
	// PodAnnotations are patterns for values of the pod's annotations, by key;
	// "*" is for any value. All must hold.
	PodAnnotations map[string]string `json:"podAnnotations,omitzero"`
	// NodeSelector has patterns for values of node labels, by key. All must hold:
	// by spec.nodeSelector, or by required node affinity, every term of which has
	// In for the key with nothing but values that match.
	NodeSelector map[string]string `json:"nodeSelector,omitzero"`
	// Tolerations are patterns for keys of the pod's tolerations.
	Tolerations []string `json:"tolerations,omitzero"`
	// RuntimeClasses are patterns for spec.runtimeClassName.
	RuntimeClasses []string `json:"runtimeClasses,omitzero"`
	// PriorityClasses are patterns for spec.priorityClassName.
	PriorityClasses []string `json:"priorityClasses,omitzero"`
	// HostNetwork is what spec.hostNetwork must be.
	HostNetwork *bool `json:"hostNetwork,omitzero"`
	// DNSPolicies are values of spec.dnsPolicy: ClusterFirst, which is the default,
	// ClusterFirstWithHostNet, Default or None.
	DNSPolicies []string `json:"dnsPolicies,omitzero"`
}

// Owner names a controller or a workload. At least one field is set.
type Owner struct {
	// Kind, for example ReplicaSet or Deployment, of whatever API group.
	Kind string `json:"kind,omitzero"`
	// Name is a pattern.
	Name string `json:"name,omitzero"`
}
