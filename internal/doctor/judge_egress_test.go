package doctor

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
)

// egressFaults are the cases of judge_egress.go.
func egressFaults() map[string]fault {
	return map[string]fault{
		"a policy that cuts off pods that ask the cache": {
			func(_ *testing.T, f *Facts) { f.isolate("web", pinnedPod()) },
			"egress-policies", Fail, "cuts 1 pod off from the node-local cache: web-0", nil,
		},
		"a policy that would cut off pods that are created again": {
			func(_ *testing.T, f *Facts) { f.isolate("web", isolatedPod()) },
			"egress-policies", Warn, "would cut 1 pod off", nil,
		},
		"a cluster that knows a plugin's policies, which may not be read": {
			func(_ *testing.T, f *Facts) { f.egress.err = errForbidden() },
			"egress-policies", Unknown, "needs list pods", nil,
		},
	}
}

func TestEgressRulesThatAdmitTheCache(t *testing.T) {
	t.Parallel()
	block := func(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
	}
	port := func(protocol corev1.Protocol, port intstr.IntOrString) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port}
	}
	udp53 := port(corev1.ProtocolUDP, intstr.FromInt32(53))
	type peers = []networkingv1.NetworkPolicyPeer
	type ports = []networkingv1.NetworkPolicyPort
	for name, c := range map[string]struct {
		to    peers
		ports ports
		want  bool
	}{
		"everything":             {nil, nil, true},
		"the address":            {peers{block("169.254.20.10/32")}, ports{udp53}, true},
		"all addresses":          {peers{block("0.0.0.0/0")}, nil, true},
		"all but link-local":     {peers{block("0.0.0.0/0", "169.254.0.0/16")}, nil, false},
		"another address":        {peers{block("10.0.0.10/32")}, ports{udp53}, false},
		"all IPv6 addresses":     {peers{block("::/0")}, nil, false},
		"pods of the DNS":        {peers{{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{}}}, ports{udp53}, false},
		"one of several peers":   {peers{{PodSelector: &metav1.LabelSelector{}}, block("169.254.0.0/16")}, nil, true},
		"TCP only":               {nil, ports{port(corev1.ProtocolTCP, intstr.FromInt32(53))}, false},
		"a port without a kind":  {nil, ports{{Port: new(intstr.FromInt32(53))}}, false},
		"UDP on every port":      {nil, ports{{Protocol: new(corev1.ProtocolUDP)}}, true},
		"another port":           {nil, ports{port(corev1.ProtocolUDP, intstr.FromInt32(5353))}, false},
		"a range of ports":       {nil, ports{{Protocol: new(corev1.ProtocolUDP), Port: new(intstr.FromInt32(1)), EndPort: new(int32(1023))}}, true},
		"a named port":           {nil, ports{port(corev1.ProtocolUDP, intstr.FromString("dns"))}, false},
		"one of several ports":   {nil, ports{port(corev1.ProtocolTCP, intstr.FromInt32(443)), udp53}, true},
		"a block that is broken": {peers{block("169.254.20.10")}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{To: c.to, Ports: c.ports}},
			}}
			all := egressOf([]networkingv1.NetworkPolicy{{Spec: networkingv1.NetworkPolicySpec{PolicyTypes: p.Spec.PolicyTypes}}, *p})
			applied := applying(all, &corev1.Pod{})
			got, _ := admits(applied, &destination{addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, port: 53, protocol: corev1.ProtocolUDP})
			if got != c.want {
				t.Errorf("admits it: %t", got)
			}
		})
	}
}

// Which pods are looked at: those that a policy isolates and that ask the cache.
func TestPodsThatEgressPoliciesCutOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pod  func(*corev1.Pod)
		want Status
	}{
		"pinned":                {pin, Fail},
		"would be pinned":       {func(*corev1.Pod) {}, Warn},
		"not selected":          {func(p *corev1.Pod) { pin(p); p.Labels["app"] = "db" }, Pass},
		"opted out":             {func(p *corev1.Pod) { p.Labels[policy.LabelDNS] = "disabled" }, Pass},
		"on the host network":   {func(p *corev1.Pod) { pin(p); p.Spec.HostNetwork = true }, Pass},
		"finished":              {func(p *corev1.Pod) { pin(p); p.Status.Phase = corev1.PodSucceeded }, Pass},
		"of the node's own DNS": {func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			pod := isolatedPod()
			c.pod(&pod)
			f.isolate("web", pod)
			if got := judgeEgressPolicies(f, f.inForce()); got.status != c.want {
				t.Errorf("%s: %s", got.status, got.found)
			}
		})
	}
}
