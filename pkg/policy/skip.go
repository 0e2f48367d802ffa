package policy

// Skip rules: pods that are left alone whatever labels and rules say. The
// first that applies wins.
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
//	dnsPolicy None                                            skip   dns_policy_none
//	dnsPolicy Default                                         skip   dns_policy_default
//	dnsPolicy unknown                                         skip   dns_policy_unknown
//	hostNetwork with dnsPolicy ClusterFirst                   skip   host_network
//
// An environment variable works on Windows and on a virtual node as it does
// elsewhere, so the service host is injected there; only hostFrom NodeIP needs
// something that runs on the node. A pod that serves DNS is spared both: it
// must not need DNS to find the API server it gets its data from.

// maxObjectSize bounds, in bytes of JSON, the pods that are patched. etcd
// refuses requests above 1.5 MiB by default; the margin is for the managed
// fields that the API server adds for what we add.
const maxObjectSize = 1 << 20

// growthPerContainer and growthOfPod bound, in bytes of JSON, what a patch
// adds: for a container two variables and its name in the record, for the pod
// dnsConfig, the record and the pinned label.
const (
	growthPerContainer = 512
	growthOfPod        = 8 << 10
)

// skipPod is the part of the table above that covers both features. It
// returns "" where no rule applies.
func (c *Compiled) skipPod(r *Request) Reason {
	pod := r.Pod
	switch {
	case c.mode == ModeOff:
		return ReasonModeOff
	case r.Operation != OperationCreatePod && r.Operation != OperationAddEphemeralContainer:
		return ReasonOperation
	case c.Excludes(r.Namespace):
		return ReasonExcludedNamespace
	case isMirrorPod(pod):
		return ReasonMirrorPod
	case isDNSPod(pod):
		return ReasonDNSPod
	case exceedsObjectSize(r):
		return ReasonObjectSize
	case !r.NamespaceKnown:
		return ReasonNamespaceUnknown
	}
	return ""
}

// skipNode is the part of the table that depends on the node a pod is meant
// for.
func (c *Compiled) skipNode(pod *Pod) Reason {
	switch {
	case isWindowsPod(pod):
		return ReasonWindowsPod
	case c.virtualNodes.match(pod):
		return ReasonVirtualNode
	}
	return ""
}

// skipDNSPolicy is the part of the table that says whether kubelet would use
// the cluster DNS. kubelet (getPodDNSType) takes ClusterFirst for Default on
// the host's network, and ClusterFirstWithHostNet for ClusterFirst anywhere.
// An empty dnsPolicy is what a client sends before defaulting: ClusterFirst.
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

func isMirrorPod(pod *Pod) bool {
	_, mirror := pod.Metadata.Annotations[annotationMirror]
	return mirror
}

// isDNSPod recognises the cluster DNS and the node-local cache by the labels
// that their manifests carry: kubeadm, kOps, kubespray, RKE2 and OpenShift.
func isDNSPod(pod *Pod) bool {
	labels := pod.Metadata.Labels
	if len(labels) == 0 {
		return false
	}
	switch labels["k8s-app"] {
	case "kube-dns", "coredns", "node-local-dns", "nodelocaldns":
		return true
	}
	switch labels["app.kubernetes.io/name"] {
	case "coredns", "rke2-coredns", "node-local-dns":
		return true
	}
	_, openShift := labels["dns.operator.openshift.io/daemonset-dns"]
	return openShift
}

func isWindowsPod(pod *Pod) bool {
	return pod.Spec.OS.Name == "windows" ||
		pod.Spec.NodeSelector["kubernetes.io/os"] == "windows" ||
		pod.Spec.NodeSelector["beta.kubernetes.io/os"] == "windows"
}

func exceedsObjectSize(r *Request) bool {
	spec := &r.Pod.Spec
	containers := len(spec.InitContainers) + len(spec.Containers) + len(spec.EphemeralContainers)
	return r.ObjectSize+growthOfPod+containers*growthPerContainer > maxObjectSize
}
