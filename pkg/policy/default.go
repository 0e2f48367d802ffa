package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Defaults that other parts of the project name.
const (
	// DefaultNdots is the lowest ndots under which every short address name of
	// the cluster's own search domains resolves with every resolver. musl
	// (src/network/lookup_name.c, name_from_dns_search) never tries the search
	// list for a name with ndots dots. Hostname, Service and namespace are
	// single labels, so such a name has three dots at most:
	// "pod.service.namespace.svc", which operators of stateful systems hand out
	// (Strimzi by default, useServiceDnsDomain: false). SRV names like
	// "_port._tcp.service.namespace.svc" have four, and names under search
	// domains of nodes or extraSearches may have more.
	DefaultNdots = 4
	// DefaultFallthroughNdots lets a name with two dots, as most external names
	// have, go outside first. "service.namespace" still begins with the search
	// list.
	DefaultFallthroughNdots = 2
	// DefaultAdviceFloor is the lowest ndots that advice gives: below it
	// "service.namespace" would be asked outside first.
	DefaultAdviceFloor = 2
	// DefaultNodeLocalServer is the address that the upstream manifests of
	// NodeLocal DNSCache and most vendors use.
	DefaultNodeLocalServer = "169.254.20.10"
	// DefaultRule is what a pod's record calls the policy's own fields, where
	// no rule matched.
	DefaultRule = "default"
)

// SetDefaults fills in what the document leaves out. Rules are left alone:
// they override only what they name. testdata/defaults has the result for the
// smallest documents.
func SetDefaults(p *InjectionPolicy) {
	if p.Metadata.Name == "" {
		p.Metadata.Name = "default"
	}
	s := &p.Spec
	setDefault(&s.Mode, ModeEnforce)
	setDefault(&s.OnError, OnErrorAllow)
	setDefault(&s.NamespaceOptOut, NamespaceOptOutOverridable)
	setDefaultList(&s.ExcludedNamespaces, "kube-system", "kube-public", "kube-node-lease")
	setDefaultList(&s.LabelAliases,
		// Gardener's webhook knows only "disable".
		LabelAlias{Label: "apiserver-proxy.networking.gardener.cloud/inject", Feature: FeatureNameServiceHost, DisableOnly: true},
		// Alibaba ACK, Huawei CCE, UCloud UK8S.
		LabelAlias{Label: "node-local-dns-injection", Feature: FeatureNameDNS},
		// Tencent TKE.
		LabelAlias{Label: "localdns-injector", Feature: FeatureNameDNS},
	)

	v := &s.VirtualNodes
	setDefaultList(&v.PodLabels,
		"eks.amazonaws.com/fargate-profile", // set by the EKS Fargate webhook
		"eci=true",                          // Alibaba ECI, Tencent
		"alibabacloud.com/eci=true",
		"vke.volcengine.com/burst-to-vci=enforce", // Volcengine VCI
		"bursting.cci.io/burst-to-cci=enforce",    // Huawei CCI
		"virtual-kubelet.io/burst-to-cci=enforce", // the same, earlier
	)
	setDefaultList(&v.PodAnnotations,
		"multicluster.admiralty.io/elect",         // Admiralty
		"vke.volcengine.com/burst-to-vci=enforce", // Volcengine VCI
	)
	setDefaultList(&v.NodeSelectors,
		"type=virtual-kubelet",                        // AKS virtual nodes, Alibaba ECI and most virtual-kubelet providers
		"virtualization=virtualnode2",                 // AKS virtual nodes, second generation
		"node.kubernetes.io/instance-type=eklet",      // Tencent super nodes
		"liqo.io/type=virtual-node",                   // Liqo
		"k8s.aliyun.com/vnode=true",                   // Alibaba VNodes
		"virtual-node.interlink/type=virtual-kubelet", // interLink
		"eks.amazonaws.com/compute-type=fargate",      // Fargate
	)
	setDefaultList(&v.TolerationKeys,
		"virtual-kubelet.io/provider",
		"azure.com/aci",
		"k8s.aliyun.com/vnode",               // Alibaba VNodes
		"virtual-node.interlink/no-schedule", // interLink
		"virtual-node.liqo.io/not-allowed",   // Liqo, which may put the pod into either cluster
		"eks.amazonaws.com/compute-type",     // Fargate
		"eks.tke.cloud.tencent.com/eklet",    // Tencent super nodes
		"vci.vke.volcengine.com/node-type",   // Volcengine VCI
	)
	setDefaultList[string](&v.RuntimeClasses)
	setDefaultList(&v.SchedulerNames, "fargate-scheduler")

	if s.DNS != nil {
		setDefault(&s.DNS.Mode, DNSModeOptions)
		setDefault(&s.DNS.OwnConfig, OwnConfigMerge)
		setDefaultPointer(&s.DNS.Ndots, DefaultNdots)
		setDefault(&s.DNS.Advice, AdviceIgnore)
		setDefault(&s.DNS.MinConfidence, ConfidenceHigh)
		setDefaultPointer(&s.DNS.Fallthrough, Fallthrough{})
		setDefaultFallthrough(s.DNS.Fallthrough)
		setDefaultNodeLocal(&s.DNS.NodeLocal, usesNodeLocal(s))
	}
	if s.ServiceHost != nil {
		if s.ServiceHost.Host != "" {
			setDefaultPointer(&s.ServiceHost.Probe, Probe{})
		}
		if s.ServiceHost.Probe != nil {
			setDefaultProbe(s.ServiceHost.Probe)
		}
	}

	setDefault(&s.Advice.Match, AdviceMatchReference)
	setDefaultPointer(&s.Advice.Floor, DefaultAdviceFloor)
	setDefaultList(&s.PodOverrides.Allowed, OverrideNdots, OverrideMode, OverrideOptions)
	setDefaultPointer(&s.PodOverrides.Ndots.Min, 1)
	setDefaultPointer(&s.PodOverrides.Ndots.Max, max(5, *s.PodOverrides.Ndots.Min))
	setDefaultPointer(&s.Rollout.Percent, 100)
}

// usesNodeLocal reports whether the policy itself chooses mode NodeLocal
// anywhere. Only then does a cache get an address by default: a pod's
// annotation must not point it at one that the operator never mentioned.
func usesNodeLocal(s *Spec) bool {
	if s.DNS != nil && s.DNS.Mode == DNSModeNodeLocal {
		return true
	}
	for i := range s.Rules {
		if s.Rules[i].DNS != nil && s.Rules[i].DNS.Mode == DNSModeNodeLocal {
			return true
		}
	}
	return false
}

func setDefaultProbe(p *Probe) {
	setDefaultPointer(&p.Enabled, true)
	setDefaultPointer(&p.Interval, metav1.Duration{Duration: 30 * time.Second})
	setDefaultPointer(&p.FailureThreshold, 3)
}

func setDefaultFallthrough(f *Fallthrough) {
	setDefaultPointer(&f.Ndots, DefaultFallthroughNdots)
	setDefault(&f.Env, FallthroughEnvKnown)
	setDefaultPointer(&f.RequireLocal, true)
	setDefaultPointer(&f.Probe, FallthroughProbe{})
	setDefaultPointer(&f.Probe.Enabled, true)
	setDefaultPointer(&f.Probe.Timeout, metav1.Duration{Duration: 250 * time.Millisecond})
	setDefaultPointer(&f.Probe.Interval, metav1.Duration{Duration: 30 * time.Second})
	setDefaultPointer(&f.Probe.FailureThreshold, 3)
}

func setDefaultNodeLocal(n *NodeLocal, used bool) {
	if used {
		setDefaultList(&n.Servers, DefaultNodeLocalServer)
	}
	if len(n.Servers) == 0 {
		return
	}
	if n.DaemonSetSelector == nil {
		setDefaultPointer(&n.DaemonSet, "kube-system/node-local-dns")
	}
	setDefaultPointer(&n.MaxUnavailable, intstr.FromString("10%"))
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setDefaultPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// setDefaultList tells a list that is left out from one that is empty.
func setDefaultList[T any](field *[]T, values ...T) {
	if *field == nil {
		*field = append([]T{}, values...)
	}
}
