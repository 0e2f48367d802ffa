package doctor

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// restricted reads policies of network plugins.
func restricted(t *testing.T, documents ...string) (all []egressPolicy) {
	t.Helper()
	for _, document := range documents {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		read := ofCilium
		if strings.Contains(object.GetAPIVersion(), "calico") {
			read = ofCalico
		}
		all = append(all, read(object.GetKind(), object)...)
	}
	return all
}

const (
	ciliumPolicy = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: web}
spec:
  endpointSelector: {matchLabels: {"k8s:app": web}}
`
	calicoPolicy = `
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.p, namespace: web}
spec:
  types: [Egress]
`
)

// TestPoliciesOfNetworkPlugins tries what a policy admits: the cache on the node at 169.254.20.10, and the API host
// api.example.com at 198.51.100.10 beside a server of the cluster at 10.1.0.10.
func TestPoliciesOfNetworkPlugins(t *testing.T) {
	t.Parallel()
	servers := []netip.Addr{netip.MustParseAddr("10.1.0.10")}
	destinations := map[string]*destination{
		"cache":  {addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, port: 53, protocol: corev1.ProtocolUDP, onNode: true, apiServers: servers},
		"host":   {host: "api.example.com", addresses: []netip.Addr{netip.MustParseAddr("198.51.100.10")}, port: 443, protocol: corev1.ProtocolTCP, apiServers: servers},
		"server": {addresses: servers, port: 443, protocol: corev1.ProtocolTCP, apiServers: servers},
	}
	for name, c := range map[string]struct {
		policies []string
		// admitted are destinations, with spaces between them; "free": the pod is not isolated.
		admitted string
		unclear  string
	}{
		"Cilium: pods only":             {[]string{ciliumPolicy + "  egress: [{toEndpoints: [{}]}]"}, "", ""},
		"Cilium: no egress":             {[]string{ciliumPolicy + "  ingress: [{}]"}, "free", ""},
		"Cilium: an empty rule":         {[]string{ciliumPolicy + "  egress: [{}]"}, "cache host server", ""},
		"Cilium: entity host":           {[]string{ciliumPolicy + "  egress: [{toEntities: [host]}]"}, "cache", ""},
		"Cilium: entity world":          {[]string{ciliumPolicy + "  egress: [{toEntities: [world]}]"}, "host", ""},
		"Cilium: entity kube-apiserver": {[]string{ciliumPolicy + "  egress: [{toEntities: [kube-apiserver]}]"}, "server", ""},
		"Cilium: entity all, other port": {[]string{ciliumPolicy + `  egress: [{toEntities: [all], toPorts: [{ports: [{port: "8443"}]}]}]`},
			"", ""},
		"Cilium: port of DNS, any protocol": {[]string{ciliumPolicy + `  egress: [{toPorts: [{ports: [{port: "53", protocol: ANY}]}]}]`}, "cache", ""},
		"Cilium: a range of ports":          {[]string{ciliumPolicy + `  egress: [{toPorts: [{ports: [{port: "400", endPort: 500, protocol: TCP}]}]}]`}, "host server", ""},
		"Cilium: a block":                   {[]string{ciliumPolicy + "  egress: [{toCIDR: [169.254.0.0/16]}, {toCIDRSet: [{cidr: 198.51.100.0/24}]}]"}, "cache host", ""},
		"Cilium: a block with an exception": {[]string{ciliumPolicy + "  egress: [{toCIDRSet: [{cidr: 0.0.0.0/0, except: [198.51.100.0/24]}]}]"}, "cache server", ""},
		"Cilium: the name":                  {[]string{ciliumPolicy + "  egress: [{toFQDNs: [{matchName: api.example.com}]}]"}, "host", ""},
		"Cilium: names by a pattern":        {[]string{ciliumPolicy + `  egress: [{toFQDNs: [{matchPattern: "*.example.com"}]}]`}, "host", ""},
		"Cilium: another name":              {[]string{ciliumPolicy + `  egress: [{toFQDNs: [{matchPattern: "*.com"}]}]`}, "", ""},
		"Cilium: a denial overrules":        {[]string{ciliumPolicy + "  egress: [{}]", ciliumPolicy + "  egressDeny: [{toCIDR: [198.51.100.10/32]}]"}, "cache server", ""},
		"Cilium: no default deny":           {[]string{ciliumPolicy + "  enableDefaultDeny: {egress: false}\n  egress: [{toEntities: [host]}]"}, "free", ""},
		"Cilium: a denial and no default":   {[]string{ciliumPolicy + "  enableDefaultDeny: {egress: false}\n  egressDeny: [{toEntities: [world]}]"}, "cache server", ""},
		"Cilium: of nodes":                  {[]string{"apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec: {nodeSelector: {}, egress: [{}]}"}, "free", ""},
		"Cilium: of other pods":             {[]string{strings.Replace(ciliumPolicy, "app\": web", "app\": db", 1) + "  egress: [{toEntities: [host]}]"}, "free", ""},
		"Cilium: of all of a namespace": {[]string{
			"apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec: {endpointSelector: {matchLabels: {\"k8s:io.kubernetes.pod.namespace\": web}}, egress: [{toEntities: [host]}]}",
		}, "cache", ""},

		"Calico: nothing":           {[]string{calicoPolicy}, "", ""},
		"Calico: ingress only":      {[]string{strings.Replace(calicoPolicy, "[Egress]", "[Ingress]", 1)}, "free", ""},
		"Calico: everything":        {[]string{calicoPolicy + "  egress: [{action: Allow}]"}, "cache host server", ""},
		"Calico: UDP by its number": {[]string{calicoPolicy + "  egress: [{action: Allow, protocol: 17}]"}, "cache", ""},
		"Calico: nets and ports":    {[]string{calicoPolicy + "  egress: [{action: Allow, protocol: TCP, destination: {nets: [198.51.100.0/24], ports: [\"440:450\"]}}]"}, "host", ""},
		"Calico: all nets but one":  {[]string{calicoPolicy + "  egress: [{action: Allow, destination: {notNets: [10.0.0.0/8]}}]"}, "cache host", ""},
		"Calico: a denial comes first": {[]string{calicoPolicy + "  egress: [{action: Log}, {action: Deny, destination: {nets: [169.254.0.0/16]}}, {action: Allow}]"},
			"host server", ""},
		"Calico: a lower order comes first": {[]string{
			calicoPolicy + "  order: 20\n  egress: [{action: Deny}]", calicoPolicy + "  order: 10\n  egress: [{action: Allow, destination: {ports: [53]}}]",
		}, "cache", ""},
		"Calico: a name":          {[]string{calicoPolicy + "  egress: [{action: Allow, destination: {domains: [\"*.example.com\"]}}]"}, "host", ""},
		"Calico: pods":            {[]string{calicoPolicy + "  egress: [{action: Allow, destination: {selector: \"app == 'db'\"}}]"}, "", ""},
		"Calico: selects the pod": {[]string{calicoPolicy + "  selector: app == 'web' && has(tier) && tier in {'a', \"b\"} && !has(x) && app != 'db'"}, "", ""},
		"Calico: selects others":  {[]string{calicoPolicy + "  selector: tier not in {'a'}"}, "free", ""},
		"Calico: a selector that is not read": {[]string{calicoPolicy + "  selector: app == 'web' || has(tier)"}, "cache host server",
			"is not understood"},
		"Calico: another tier": {[]string{calicoPolicy + "  tier: security"}, "cache host server", `of the tier "security"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-0", Labels: map[string]string{"app": "web", "tier": "a"}}}
			applied := applying(restricted(t, c.policies...), pod)
			if len(applied) == 0 {
				if c.admitted != "free" {
					t.Errorf("no policy isolates the pod")
				}
				return
			}
			if c.admitted == "free" {
				for what, d := range destinations {
					if ok, _ := admits(applied, d); !ok {
						t.Errorf("%s is not admitted", what)
					}
				}
				return
			}
			for what, d := range destinations {
				got, unclear := admits(applied, d)
				if want := strings.Contains(" "+c.admitted+" ", " "+what+" "); got != want {
					t.Errorf("%s is admitted: %t, want %t", what, got, want)
				}
				if (unclear != "") != (c.unclear != "") || !strings.Contains(unclear, c.unclear) {
					t.Errorf("unclear: %q, want %q", unclear, c.unclear)
				}
			}
		})
	}
}

// Pods that reached the API server by its Service, and would not reach the host.
func TestPodsThatPoliciesCutOffFromTheAPIHost(t *testing.T) {
	t.Parallel()
	tcp := func(cidr string, port int32) networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{
			To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}},
			Ports: []networkingv1.NetworkPolicyPort{{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(port))}},
		}
	}
	for name, c := range map[string]struct {
		rules []networkingv1.NetworkPolicyEgressRule
		pod   func(*corev1.Pod)
		want  Status
		found string
	}{
		"neither":                  {nil, nil, Pass, ""},
		"only the servers":         {[]networkingv1.NetworkPolicyEgressRule{tcp("10.1.0.10/32", 6443)}, nil, Warn, "would cut 1 pod off from the API host api.example.com:443"},
		"only the Service":         {[]networkingv1.NetworkPolicyEgressRule{tcp("10.0.0.1/32", 443)}, nil, Warn, "would cut 1 pod off"},
		"both":                     {[]networkingv1.NetworkPolicyEgressRule{tcp("10.1.0.10/32", 6443), tcp("198.51.100.0/24", 443)}, nil, Pass, ""},
		"another port of the host": {[]networkingv1.NetworkPolicyEgressRule{tcp("10.1.0.10/32", 6443), tcp("198.51.100.0/24", 6443)}, nil, Warn, "would cut 1 pod off"},
		"a pod that has the host": {[]networkingv1.NetworkPolicyEgressRule{tcp("10.1.0.10/32", 6443)}, func(p *corev1.Pod) {
			const record = `{"v":1,"rule":"default","policy":"fa3bcf5f76a8","serviceHost":"api.example.com","added":{"containers":["setup","app"],"serviceHostSum":"707d667a1ca5d603"}}`
			host := []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "api.example.com"}}
			p.Annotations = map[string]string{"shorthop.dev/injected": record}
			p.Spec.InitContainers = []corev1.Container{{Name: "setup", Env: host}}
			p.Spec.Containers = []corev1.Container{{Name: "app", Env: host}}
		}, Fail, "cuts 1 pod off from the API host"},
		"a pod that opted out": {[]networkingv1.NetworkPolicyEgressRule{tcp("10.1.0.10/32", 6443)}, func(p *corev1.Pod) {
			p.Labels["shorthop.dev/service-host"] = "disabled"
		}, Pass, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			pod := isolatedPod()
			pod.Labels["shorthop.dev/dns"] = "disabled"
			if c.pod != nil {
				c.pod(&pod)
			}
			f.isolate("web", pod)
			deny := networkingv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "deny"},
				Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: c.rules},
			}
			f.egress.value = egressOf([]networkingv1.NetworkPolicy{deny})
			f.hosts = []apiAddresses{{testHost, 443, []netip.Addr{netip.MustParseAddr("198.51.100.10")}}}
			f.apiService.value = &apiService{[]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:443"), netip.MustParseAddrPort("10.1.0.10:6443")}}
			got := judgeEgressPolicies(f, f.inForce())
			if got.status != c.want || !strings.Contains(got.found, c.found) {
				t.Errorf("%s: %s %q", got.status, got.found, got.items)
			}
		})
	}
}
