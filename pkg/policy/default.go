package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Defaults that other parts of the project name.
const (
	// DefaultNdots is the lowest ndots under which "service.namespace.svc"
	// resolves with every resolver (musl included).
	DefaultNdots = 3
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
	)
	setDefaultList(&v.NodeSelectors,
		"type=virtual-kubelet",                   // AKS virtual nodes, Alibaba ECI and most virtual-kubelet providers
		"node.kubernetes.io/instance-type=eklet", // Tencent super nodes
	)
	setDefaultList(&v.TolerationKeys,
		"virtual-kubelet.io/provider",
		"azure.com/aci",
		"eks.amazonaws.com/compute-type",   // Fargate
		"eks.tke.cloud.tencent.com/eklet",  // Tencent super nodes
		"vci.vke.volcengine.com/node-type", // Volcengine VCI
	)
	setDefaultList[string](&v.RuntimeClasses)
	setDefaultList(&v.SchedulerNames, "fargate-scheduler")

	if s.DNS != nil {
		setDefault(&s.DNS.Mode, DNSModeOptions)
		setDefaultPointer(&s.DNS.Ndots, DefaultNdots)
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
	setDefaultPointer(&p.Interval, metav1.Duration{Duration: 30 * time.Second})
	setDefaultPointer(&p.FailureThreshold, 3)
}

func setDefaultNodeLocal(n *NodeLocal, used bool) {
	if used {
		setDefaultList(&n.Servers, DefaultNodeLocalServer)
	}
	if len(n.Servers) == 0 {
		return
	}
	setDefaultPointer(&n.DaemonSet, "kube-system/node-local-dns")
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
