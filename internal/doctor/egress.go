package doctor

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// egressPolicy is a policy of any kind that restricts what pods may send, as far
// as it is about a destination.
//
//	kind                            order             a pod that is selected may send
//	NetworkPolicy                   orderOfKubernetes what a rule of any of its policies admits
//	CiliumNetworkPolicy, and        the same          the same, but nothing that an egressDeny has
//	  CiliumClusterwideNetworkPolicy
//	Calico's NetworkPolicy and      spec.order, else  what the first rule that matches allows, in the order
//	  GlobalNetworkPolicy             the last          of the policies; nothing where none does
//
// What admits without an order is as good as what comes first, so that all are
// asked alike: the first rule that matches decides.
type egressPolicy struct {
	// kind and name are for a person: "NetworkPolicy web/default-deny".
	kind, namespace, name string
	order                 float64
	selects               func(namespace string, pod labels.Set) bool
	rules                 []egressRule
	// unclear is what of it is not understood; it then decides nothing.
	unclear string
}

// orderOfKubernetes is where Calico has NetworkPolicies of Kubernetes, and
// orderOfDenials where those are that nothing overrules.
const orderOfKubernetes = 1000

var orderOfDenials, orderOfTheLast = math.Inf(-1), math.Inf(1)

type egressRule struct {
	deny    bool
	matches func(*destination, netip.Addr) bool
}

// destination is what a pod sends to. One of its addresses is enough.
type destination struct {
	host      string // "" for none
	addresses []netip.Addr
	port      int32
	protocol  corev1.Protocol
	// onNode: the pod's own node has the address.
	onNode bool
	// apiServers are the addresses behind the Service kubernetes.
	apiServers []netip.Addr
}

func (p *egressPolicy) String() string {
	if p.namespace == "" {
		return p.kind + " " + p.name
	}
	return p.kind + " " + p.namespace + "/" + p.name
}

// applying returns the policies by which a pod is isolated, in the order in which
// they decide.
func applying(policies []egressPolicy, pod *corev1.Pod) []*egressPolicy {
	if pod.Spec.HostNetwork {
		return nil
	}
	var selecting []*egressPolicy
	for i := range policies {
		p := &policies[i]
		if (p.namespace == "" || p.namespace == pod.Namespace) && p.selects(pod.Namespace, pod.Labels) {
			selecting = append(selecting, p)
		}
	}
	slices.SortStableFunc(selecting, func(a, b *egressPolicy) int { return cmp.Compare(a.order, b.order) })
	return selecting
}

// admits reports whether the policies let a pod send to a destination. unclear is
// what it rests on and is not understood.
func admits(policies []*egressPolicy, d *destination) (admitted bool, unclear string) {
	for _, p := range policies {
		if p.unclear != "" {
			return true, p.String() + ": " + p.unclear
		}
	}
	for _, address := range d.addresses {
		if decided(policies, d, address.Unmap()) {
			return true, ""
		}
	}
	return false, ""
}

func decided(policies []*egressPolicy, d *destination, address netip.Addr) bool {
	for _, p := range policies {
		for i := range p.rules {
			if p.rules[i].matches(d, address) {
				return !p.rules[i].deny
			}
		}
	}
	return false
}

// ofKubernetes reads a NetworkPolicy. ok is false for one that does not restrict
// egress. A peer that selects pods or namespaces never matches an address of
// the node or one outside the cluster.
func ofKubernetes(p *networkingv1.NetworkPolicy) (policy egressPolicy, ok bool) {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		return egressPolicy{}, false
	}
	policy = egressPolicy{
		kind: "NetworkPolicy", namespace: p.Namespace, name: p.Name, order: orderOfKubernetes,
		selects: func(_ string, pod labels.Set) bool { return selector.Matches(pod) },
	}
	for i := range p.Spec.Egress {
		rule := &p.Spec.Egress[i]
		policy.rules = append(policy.rules, egressRule{matches: func(d *destination, address netip.Addr) bool {
			return admitsPort(rule.Ports, d) && (len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool {
				return peer.IPBlock != nil && inBlock(peer.IPBlock.CIDR, peer.IPBlock.Except, address)
			}))
		}})
	}
	return policy, true
}

func admitsPort(ports []networkingv1.NetworkPolicyPort, d *destination) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if cmp.Or(valueOf(p.Protocol), corev1.ProtocolTCP) != d.protocol {
			return false
		}
		if p.Port == nil {
			return true
		}
		// A named port is a pod's, and means nothing for an address.
		first := p.Port.IntVal
		return first == d.port || p.EndPort != nil && first <= d.port && d.port <= *p.EndPort
	})
}

func inBlock(cidr string, except []string, ip netip.Addr) bool {
	within := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr))
		return err == nil && prefix.Contains(ip)
	}
	return within(cidr) && !slices.ContainsFunc(except, within)
}
