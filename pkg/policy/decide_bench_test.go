package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
)

// ordinaryRequest creates a pod of a Deployment, with two containers and the
// labels that such pods have, on a server whose gates are open.
func ordinaryRequest() *policy.Request {
	return &policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       "shop",
		NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "shop", "team": "checkout"},
		NamespaceKnown:  true,
		ObjectSize:      4400,
		Gates: &policy.Gates{
			ServiceHosts: map[policy.Endpoint]bool{{Host: "api.example.com", Port: "443"}: true},
			Upstreams:    map[policy.Upstream]policy.Reason{policy.UpstreamCluster: "", "169.254.20.10": ""},
			Caches:       map[policy.Cache]bool{{DaemonSet: "kube-system/node-local-dns", MaxUnavailable: intstr.FromString("10%"), Servers: "169.254.20.10"}: true},
		},
		Discovered: &policy.Discovered{Domain: "cluster.local", DNSServers: []string{"10.0.0.10"}, UpstreamServers: []string{"10.0.0.11"}},
		Pod: &policy.Pod{
			Metadata: policy.PodMetadata{
				GenerateName: "web-5d4f8c7b9-",
				Labels: map[string]string{
					"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web", "pod-template-hash": "5d4f8c7b9",
				},
				Annotations:     map[string]string{"prometheus.io/scrape": "true"},
				OwnerReferences: []policy.OwnerReference{{Kind: "ReplicaSet", Name: "web-5d4f8c7b9", Controller: true}},
			},
			Spec: policy.PodSpec{
				Containers: []policy.Container{
					{Name: "app", Image: "registry.example.com/web:1", Env: []policy.EnvVar{{Name: "LEVEL", Value: "info"}}},
					{Name: "proxy", Image: "registry.example.com/proxy:1"},
				},
				DNSPolicy:          "ClusterFirst",
				Tolerations:        []policy.Toleration{{Key: "node.kubernetes.io/not-ready"}, {Key: "node.kubernetes.io/unreachable"}},
				SchedulerName:      "default-scheduler",
				ServiceAccountName: "web",
			},
		},
	}
}

// manyRules is a policy of n rules, of which only the last matches the ordinary
// pod. Every way to match comes up: teams with a namespace of their own, with
// namespaces of a prefix, by labels, workloads and accounts.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString(header + "  serviceHost: {host: api.example.com}\n  dns: {}\n  rules:\n")
	for i := range n - 1 {
		match := []string{
			"namespaces: [team-%d]",
			"namespaces: [team-%d, team-%[1]d-staging]",
			`namespaces: ["team-%d-*"]`,
			"podSelector: {matchLabels: {app.kubernetes.io/name: service-%d}}",
			"namespaceSelector: {matchLabels: {team: team-%d}}",
			`owners: [{kind: Deployment, name: "fetch-%d-*"}]`,
			`namespaces: ["*-%d"], serviceAccounts: [default]`,
			"serviceAccounts: [account-%d]",
		}[i%8]
		fmt.Fprintf(&b, "  - {name: rule-%d, match: {%s}, dns: {ndots: 1}}\n", i, fmt.Sprintf(match, i))
	}
	fmt.Fprintf(&b, "  - {name: last, match: {namespaces: [shop]}, dns: {ndots: 2}}\n")
	return b.String()
}

// manyImages is a list of full references, as tools write it, with the ordinary
// pod's at its end.
func manyImages(n int) string {
	var b strings.Builder
	b.WriteString("  resolvers:\n  - {resolver: musl, images: [\"*/alpine:*\"]}\n  - resolver: glibc\n    images:\n")
	for i := range n {
		fmt.Fprintf(&b, "    - registry.example.com/team/service-%d:v1.%d\n", i, i)
	}
	b.WriteString("    - registry.example.com/web:1\n")
	return b.String()
}

func BenchmarkDecideByImages(b *testing.B) {
	compiled, request := compile(b, header+"  cluster: {dnsServers: [10.0.0.10]}\n  dns: {}\n"+manyImages(5000)), ordinaryRequest()
	b.ReportAllocs()
	for b.Loop() {
		compiled.Decide(request)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			compiled, request := compile(b, manyRules(n)), ordinaryRequest()
			if d := compiled.Decide(request); d.Rule != "last" {
				b.Fatalf("rule %q", d.Rule)
			}
			b.ReportAllocs()
			for b.Loop() {
				compiled.Decide(request)
			}
		})
	}
}

// Decide is called for every pod of the cluster: an ordinary one costs the
// collector nothing.
func TestDecideDoesNotAllocate(t *testing.T) {
	documents := map[string]string{
		"options":             header + "  serviceHost: {host: api.example.com, port: 443}\n  dns: {options: [{name: use-vc}]}\n",
		"node-local":          header + "  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}\n  dns: {mode: NodeLocal, extraSearches: [corp.example.com]}\n",
		"what is discovered":  header + "  dns: {mode: NodeLocal}\n",
		"rollout":             header + "  serviceHost: {hostFrom: NodeIP}\n  dns: {}\n  rollout: {percent: 50}\n",
		"a thousand rules":    manyRules(1000),
		"fall-through":        header + "  cluster: {dnsServers: [10.0.0.10]}\n  dns: {}\n" + manyImages(5000),
		"fall-through of Go":  header + "  dns: {mode: NodeLocal}\n  cluster: {domain: cluster.local}\n  resolvers: [{images: [\"registry.example.com/*:1\"], resolver: go}]\n",
		"nothing is injected": header + "  dns: {enabled: false}\n",
	}
	for name, document := range documents {
		compiled, request := compile(t, document), ordinaryRequest()
		if d := compiled.Decide(request); strings.HasPrefix(name, "fall-through") && !d.Fallthrough.Injects() {
			t.Errorf("%s: %+v", name, d.Fallthrough)
		}
		if n := testing.AllocsPerRun(100, func() { compiled.Decide(request) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
