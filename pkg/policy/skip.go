package policy

import (
	"net/netip"
	"slices"
)

// Skip rules: pods that are left alone whatever labels and rules say. The
// first that applies wins; of the four that go by dnsPolicy only one can.
//
//	rule                                       service host   dns
//	policy mode is Off                         skip           skip   mode_off (a rule's: decide.go)
//	not a creation, no new ephemeral           skip           skip   operation
//	excluded or own namespace                  skip           skip   excluded_namespace
//	mirror pod                                 skip           skip   mirror_pod
//	pod that serves DNS                        skip           skip   dns_pod
//	object near the API server's size limit    skip           skip   object_size
//	namespace's labels unknown                 skip           skip   namespace_unknown
//	(disabled features, labels, rollout, configuration: see decide.go)
//	ephemeral container                                       skip   ephemeral_container
//	Windows                                    NodeIP: skip   skip   windows_pod
//	virtual node                               NodeIP: skip   skip   virtual_node
//	network or DNS may stand on it, and no     name: skip            dns_bootstrap
//	  label of the pod asks for the host
//	dnsPolicy None, nameservers of others      name: skip            dns_policy_none
//	dnsPolicy None                                            skip   dns_policy_none
//	dnsPolicy Default                                         skip   dns_policy_default
//	dnsPolicy unknown                                         skip   dns_policy_unknown
//	hostNetwork with dnsPolicy ClusterFirst                   skip   host_network
//	dnsConfig, under ownConfig Leave                          skip   own_config
//	(containers one by one: see servicehost.go)
//
// NodeIP is serviceHost.hostFrom, and name a serviceHost.host that has to be
// looked up.
//
// An environment variable works on Windows and on a virtual node as it does
// elsewhere, so the service host is injected there; only hostFrom NodeIP needs
// something that runs on the node. With dnsPolicy Default, and on the host's
// network, a pod asks the node's DNS, which usually knows the API server's name:
// the host is injected. A pod that serves DNS is spared both: it
// must not need DNS to find the API server it gets its data from.

// maxObjectSize bounds, in bytes of JSON, the pods that are patched. etcd
// refuses requests above 1.5 MiB by default; the margin is for the managed
// fields that the API server adds for what we add.
const maxObjectSize = 1 << 20

// growthPerContainer and growthOfPod bound, in bytes of JSON, what a patch adds: to a
// container four variables, and to the record three times the container's name; to
// the pod dnsConfig, the rest of the record and the pinned label.
const (
	growthPerContainer = 768
	growthOfPod        = 8 << 10
)

// skipPod is the part of the table above that covers both features. It
// returns "" where no rule applies. Every condition asks Request.heeds, so that
// Besides can look behind it; the two that do not are reasons behind which there is
// nothing to ask (endsQuestions).
func (c *Compiled) skipPod(r *Request) Reason {
	pod := r.Pod
	switch {
	case c.mode == ModeOff && r.heeds(ReasonModeOff):
		return ReasonModeOff
	case r.Operation != OperationCreatePod && r.Operation != OperationAddEphemeralContainer:
		return ReasonOperation
	case c.Excludes(r.Namespace) && r.heeds(ReasonExcludedNamespace):
		return ReasonExcludedNamespace
	case isMirrorPod(pod) && r.heeds(ReasonMirrorPod):
		return ReasonMirrorPod
	case isDNSPod(pod) && r.heeds(ReasonDNSPod):
		return ReasonDNSPod
	case exceedsObjectSize(r) && r.heeds(ReasonObjectSize):
		return ReasonObjectSize
	case !r.NamespaceKnown:
		return ReasonNamespaceUnknown
	}
	return ""
}

// skipNode is the part of the table that depends on the node a pod is meant
// for.
func (c *Compiled) skipNode(r *Request) Reason {
	switch {
	case r.Pod.IsWindows() && r.heeds(ReasonWindowsPod):
		return ReasonWindowsPod
	case c.virtualNodes.match(r.Pod) && r.heeds(ReasonVirtualNode):
		return ReasonVirtualNode
	}
	return ""
}

// skipName is the part of the table for a service host that is a DNS name.
// asked is true where a label of the pod asks for the host.
func (c *Compiled) skipName(r *Request, asked bool) Reason {
	spec := &r.Pod.Spec
	none := spec.DNSPolicy == "None"
	cluster := none && c.asksTheCluster(r)
	switch {
	case !asked && isDNSBootstrap(spec, cluster) && r.heeds(ReasonDNSBootstrap):
		return ReasonDNSBootstrap
	case none && !cluster && r.heeds(ReasonDNSPolicyNone):
		return ReasonDNSPolicyNone
	}
	return ""
}

// isDNSBootstrap recognises pods that the cluster's network or DNS may depend on. If
// the agent of a network plugin looks up the API server in the cluster DNS, the two
// wait for each other: after a power cut, for ever (projectcalico/calico#10683).
// asksCluster is true where the pod has dnsPolicy None and the nameservers that it
// names are the cluster's.
func isDNSBootstrap(spec *PodSpec, asksCluster bool) bool {
	return spec.HostNetwork && (asksCluster || spec.DNSPolicy == "ClusterFirstWithHostNet") ||
		spec.PriorityClassName == "system-node-critical"
}

// NeededByDNS returns why the cluster's network or DNS may depend on a pod,
// ReasonDNSPod or ReasonDNSBootstrap; "" where nothing says so. It does not matter
// which namespace the pod is in, or whether a label asks for what the pod has.
func (c *Compiled) NeededByDNS(pod *Pod, d *Discovered) Reason {
	switch {
	case isDNSPod(pod):
		return ReasonDNSPod
	case isDNSBootstrap(&pod.Spec, pod.Spec.DNSPolicy == "None" && c.asksTheCluster(&Request{Pod: pod, Discovered: d})):
		return ReasonDNSBootstrap
	}
	return ""
}

// asksTheCluster reports whether the pod names nameservers, and all of them are the
// cluster's or a node-local cache's, as far as the policy and discovery know these.
func (c *Compiled) asksTheCluster(r *Request) bool {
	config := r.Pod.Spec.DNSConfig
	if config == nil {
		return false
	}
	for _, server := range config.Nameservers {
		known := hasAddress(c.cluster.DNSServers, server)
		if d := r.Discovered; d != nil {
			known = known || hasAddress(d.DNSServers, server) || hasAddress(d.UpstreamServers, server)
		}
		for s := range c.allSettings {
			known = known || hasAddress(s.dns.nodeLocal.Servers, server) || hasAddress(s.dns.nodeLocal.FallbackServers, server)
		}
		if !known {
			return false
		}
	}
	return len(config.Nameservers) > 0
}

// hasAddress reports whether a list has an address, in whatever spelling: IPv6 has
// several.
func hasAddress(addresses []string, address string) bool {
	parsed, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(addresses, func(a string) bool {
		known, err := netip.ParseAddr(a)
		return err == nil && known == parsed
	})
}

// skipDNS is the part of the table that is about DNS alone, but for ephemeral
// containers (decideDNS). A new rule that leaves the DNS of a pod alone has its place
// here, and not in skipDNSPolicy.
func (c *Compiled) skipDNS(r *Request, s *settings) Reason {
	if reason := c.skipNode(r); reason != "" {
		return reason
	}
	if reason := skipDNSPolicy(r.Pod); reason != "" && r.heeds(reason) {
		return reason
	}
	if s.dns.leaveOwnConfig && r.Pod.Spec.DNSConfig.saysAnything() && r.heeds(ReasonOwnConfig) {
		return ReasonOwnConfig
	}
	return ""
}

// skipDNSPolicy is the part of the table that says whether kubelet would use
// the cluster DNS. Nothing else may be asked here: AsksClusterDNS takes the answer
// for what kubelet does, whatever the policy. kubelet (getPodDNSType) takes
// ClusterFirst for Default on the host's network, and ClusterFirstWithHostNet for
// ClusterFirst anywhere. An empty dnsPolicy is what a client sends before defaulting:
// ClusterFirst.
func skipDNSPolicy(pod *Pod) Reason {
	switch pod.Spec.DNSPolicy {
	case "", "ClusterFirst":
		if pod.Spec.HostNetwork {
			return ReasonHostNetwork
		}
		return ""
	case "ClusterFirstWithHostNet":
		return ""
	case "None":
		return ReasonDNSPolicyNone
	case "Default":
		return ReasonDNSPolicyDefault
	}
	return ReasonDNSPolicyUnknown
}

// AsksClusterDNS reports whether kubelet would point the pod at the cluster DNS.
func (p *Pod) AsksClusterDNS() bool { return skipDNSPolicy(p) == "" }

func isMirrorPod(pod *Pod) bool {
	_, mirror := pod.Metadata.Annotations[annotationMirror]
	return mirror
}

func exceedsObjectSize(r *Request) bool {
	spec := &r.Pod.Spec
	containers := len(spec.InitContainers) + len(spec.Containers) + len(spec.EphemeralContainers)
	return r.ObjectSize+growthOfPod+containers*growthPerContainer > maxObjectSize
}
