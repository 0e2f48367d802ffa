package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/egress/<what a policy says, or what is different about the pod>.txtar. The sections:
//
//	policies.yaml  policies of Kubernetes, Cilium or Calico
//	pod.yaml       what is different about the pod web-0 in namespace web, with the labels app=web and tier=a
//	admits         expected: the cache on the node at 169.254.20.10, the API host api.example.com at 198.51.100.10 and a server
//	               behind the Service kubernetes, as far as the pod may send to them
//	check          expected: what the check egress-policies comes to
//
// `go test ./internal/doctor -run TestEgressPolicies -update` rewrites what is expected.
func TestEgressPolicies(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/egress", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "policies.yaml", "pod.yaml", "admits", "check")
		pod := isolatedPod()
		pod.Labels["tier"] = "a"
		if err := yaml.UnmarshalStrict(c.Section("pod.yaml"), &pod); err != nil {
			t.Fatal(err)
		}
		f := healthyFacts(t, newIssuer(t))
		f.egress.value, f.cutOff.value = readEgressPolicies(t, c.Section("policies.yaml")), []corev1.Pod{pod}
		host, server := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("10.1.0.10")
		f.hosts = []apiAddresses{{testHost, 443, []netip.Addr{host}}}
		f.apiService.value = &apiService{[]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:443"), netip.AddrPortFrom(server, 6443)}}

		c.Expect(t, "admits", []byte(admittedOf(applying(f.egress.value, &pod), host, server)))
		j := judgeEgressPolicies(f, f.inForce())
		c.Expect(t, "check", []byte(lines(string(j.status)+": "+j.found, j.items...)))
	})
}

// readEgressPolicies reads policies as what is collected of them.
func readEgressPolicies(t *testing.T, text []byte) (all []egressPolicy) {
	t.Helper()
	for _, object := range objectserver.Parse(t, text) {
		switch group := object.GroupVersionKind().Group; group {
		case networkingv1.GroupName:
			all = append(all, egressOf([]networkingv1.NetworkPolicy{*objectserver.Typed(t, &object, &networkingv1.NetworkPolicy{})})...)
		case "cilium.io":
			all = append(all, ofCilium(object.GetKind(), &object)...)
		case "crd.projectcalico.org":
			all = append(all, ofCalico(object.GetKind(), &object)...)
		default:
			t.Errorf("policies of %s are not read", group)
		}
	}
	return all
}

// admittedOf says where policies let a pod send to, and what of them is not understood.
func admittedOf(applied []*egressPolicy, host, server netip.Addr) string {
	if len(applied) == 0 {
		return "not isolated\n"
	}
	var words, notes []string
	for _, to := range []struct {
		name string
		destination
	}{
		{"cache", destination{addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, port: 53, protocol: corev1.ProtocolUDP, onNode: true}},
		{"host", destination{host: testHost, addresses: []netip.Addr{host}, port: 443, protocol: corev1.ProtocolTCP}},
		{"server", destination{addresses: []netip.Addr{server}, port: 443, protocol: corev1.ProtocolTCP}},
	} {
		to.apiServers = []netip.Addr{server}
		ok, unclear := admits(applied, &to.destination)
		if ok {
			words = append(words, to.name)
		}
		if unclear != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", to.name, unclear))
		}
	}
	if len(words) == 0 {
		words = []string{"nothing"}
	}
	return lines(strings.Join(words, " "), notes...)
}

// lines has each of the texts in a line.
func lines(first string, rest ...string) string {
	return strings.Join(slices.Concat([]string{first}, rest), "\n") + "\n"
}
