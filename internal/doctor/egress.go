package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// restrictsEgress reports whether a policy isolates the pods it selects for
// egress.
func restrictsEgress(p *networkingv1.NetworkPolicy) bool {
	return slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// judgeEgressPolicies finds pods that may not ask the node-local cache. Its
// address is no pod's, so only ipBlock rules and rules without peers admit it.
func judgeEgressPolicies(f *Facts, known *knownPolicy) *judgement {
	if f.isolated.err != nil {
		return unknown(f.isolated.err)
	}
	j := passed("no pod with a default-deny egress policy is pointed at a node-local cache")
	const do = "admit the node-local cache in these namespaces: egress to its address as an ipBlock, UDP and TCP port 53 (the chart's tenant NetworkPolicy does); " +
		"or label pods or namespaces shorthop.dev/dns=disabled"
	admitted := 0
	for i := range f.isolated.value {
		n := &f.isolated.value[i]
		var pinned, would []string
		var by []string
		for k := range n.pods {
			pod := &n.pods[k]
			isolating := isolatedBy(n.policies, pod)
			if len(isolating) == 0 || pod.Spec.HostNetwork || finished(pod) {
				continue
			}
			server, isPinned := f.cacheOf(pod, known)
			if server == "" {
				continue
			}
			if admitsDNS(isolating, server) {
				admitted++
				continue
			}
			if isPinned {
				pinned = append(pinned, pod.Name)
			} else {
				would = append(would, pod.Name)
			}
			for _, p := range isolating {
				if !slices.Contains(by, p.Name) {
					by = append(by, p.Name)
				}
			}
		}
		slices.Sort(by)
		if len(pinned) > 0 {
			j.fail(do, "namespace %s: NetworkPolicy %s cuts %s off from the node-local cache: %s", n.name, some(by), counted(len(pinned), "pod"), some(pinned))
		}
		if len(would) > 0 {
			j.warn(do, "namespace %s: NetworkPolicy %s would cut %s off from the node-local cache once created again: %s", n.name, some(by), counted(len(would), "pod"), some(would))
		}
	}
	if j.status == Pass && admitted > 0 {
		j.found = fmt.Sprintf("they admit the node-local cache for %s", counted(admitted, "pod"))
	}
	switch {
	case known == nil:
		j.lacks(errNoPolicy)
	case f.namespaces.err != nil:
		j.lacks(f.namespaces.err)
	}
	return j
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// namespaceLabels returns nil where the namespace is not known.
func (f *Facts) namespaceLabels(name string) map[string]string {
	for i := range f.namespaces.value {
		if n := &f.namespaces.value[i]; n.Name == name {
			all := map[string]string{corev1.LabelMetadataName: name}
			maps.Copy(all, n.Labels)
			return all
		}
	}
	return nil
}

// cacheOf returns the first nameserver of a pod that is pinned to a node-local
// cache, or would be if it were created again.
func (f *Facts) cacheOf(pod *corev1.Pod, known *knownPolicy) (server string, pinned bool) {
	if pod.Labels[policy.LabelPinned] == policy.PinnedNodeLocal && pod.Spec.DNSConfig != nil && len(pod.Spec.DNSConfig.Nameservers) > 0 {
		return pod.Spec.DNSConfig.Nameservers[0], true
	}
	if known == nil {
		return "", false
	}
	decided, err := f.decide(known, pod)
	if err != nil || decided.Action != policy.ActionInject || decided.Mode != policy.DNSModeNodeLocal || len(decided.Servers) == 0 {
		return "", false
	}
	return decided.Servers[0], false
}

// decide makes the webhook's decision as if the pod were created now.
func (f *Facts) decide(known *knownPolicy, pod *corev1.Pod) (policy.DNSDecision, error) {
	encoded, err := json.Marshal(pod)
	if err != nil {
		return policy.DNSDecision{}, err
	}
	var decoded policy.Pod
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		return policy.DNSDecision{}, err
	}
	namespaceLabels := f.namespaceLabels(pod.Namespace)
	discovered := f.discovered()
	if discovered == nil {
		discovered = &policy.Discovered{}
		if zones := f.clusterDNS.value.clusterZones(); len(zones) > 0 {
			discovered.Domain = zones[0]
		}
	}
	return mutate.Review(known.compiled, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       pod.Namespace,
		NamespaceLabels: namespaceLabels,
		NamespaceKnown:  namespaceLabels != nil,
		Pod:             &decoded,
		ObjectSize:      len(encoded),
		Discovered:      discovered,
	}).Decision.DNS, nil
}

func isolatedBy(policies []networkingv1.NetworkPolicy, pod *corev1.Pod) []*networkingv1.NetworkPolicy {
	var selecting []*networkingv1.NetworkPolicy
	for i := range policies {
		selector, err := metav1.LabelSelectorAsSelector(&policies[i].Spec.PodSelector)
		if err == nil && restrictsEgress(&policies[i]) && selector.Matches(labels.Set(pod.Labels)) {
			selecting = append(selecting, &policies[i])
		}
	}
	return selecting
}

// admitsDNS reports whether one of the policies lets UDP to port 53 of an
// address out. Policies add up; a peer that selects pods or namespaces never
// matches an address of the node.
func admitsDNS(policies []*networkingv1.NetworkPolicy, address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, p := range policies {
		for i := range p.Spec.Egress {
			rule := &p.Spec.Egress[i]
			if admitsPort(rule.Ports) && (len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool {
				return peer.IPBlock != nil && inBlock(peer.IPBlock, ip.Unmap())
			})) {
				return true
			}
		}
	}
	return false
}

func admitsPort(ports []networkingv1.NetworkPolicyPort) bool {
	const dns = 53
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if valueOf(p.Protocol) != corev1.ProtocolUDP { // left out, it is TCP
			return false
		}
		if p.Port == nil {
			return true
		}
		// A named port is a pod's, and means nothing for an address.
		first := p.Port.IntVal
		return first == dns || p.EndPort != nil && first <= dns && dns <= *p.EndPort
	})
}

func inBlock(block *networkingv1.IPBlock, ip netip.Addr) bool {
	within := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr))
		return err == nil && prefix.Contains(ip)
	}
	return within(block.CIDR) && !slices.ContainsFunc(block.Except, within)
}
