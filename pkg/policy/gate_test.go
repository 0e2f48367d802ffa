package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestCacheIsOpenWhileFewNodesLackIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		maxUnavailable     intstr.IntOrString
		desired, available int
		want               bool
	}{
		"available everywhere":                          {intstr.FromInt32(0), 5, 5, true},
		"one too many":                                  {intstr.FromInt32(0), 5, 4, false},
		"as many as allowed":                            {intstr.FromInt32(2), 5, 3, true},
		"one more than allowed":                         {intstr.FromInt32(2), 5, 2, false},
		"a percentage of five nodes is rounded up":      {intstr.FromString("10%"), 5, 4, true},
		"one more than the rounded percentage":          {intstr.FromString("10%"), 5, 3, false},
		"a percentage that needs no rounding":           {intstr.FromString("10%"), 30, 27, true},
		"one more than that":                            {intstr.FromString("10%"), 30, 26, false},
		"no percent at all":                             {intstr.FromString("0%"), 5, 4, false},
		"all may be unavailable":                        {intstr.FromString("100%"), 5, 0, true},
		"a DaemonSet that wants no node is not a cache": {intstr.FromString("100%"), 0, 0, false},
		"more available than wanted, while nodes leave": {intstr.FromInt32(0), 3, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := policy.Cache{DaemonSet: "kube-system/cache", MaxUnavailable: test.maxUnavailable}
			if got := cache.Open(test.desired, test.available); got != test.want {
				t.Errorf("open: %v, want %v", got, test.want)
			}
		})
	}
}

func TestEveryEndpointHasOneProbe(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+`
  serviceHost: {host: api.example.com, probe: {interval: 20s, failureThreshold: 4}}
  rules:
  - {name: port, match: {namespaces: [a]}, serviceHost: {port: 6443}}
  - {name: the-same-port, match: {namespaces: [b]}, serviceHost: {port: 443, probe: {interval: 5s, failureThreshold: 9}}}
  - {name: another-host, match: {namespaces: [c]}, serviceHost: {host: "fd00::1", probe: {failureThreshold: 1}}}
  - {name: the-node, match: {namespaces: [d]}, serviceHost: {hostFrom: NodeIP}}
  - {name: none, match: {namespaces: [e]}, dns: {}}
  - {name: patient, match: {namespaces: [f]}, serviceHost: {probe: {failureThreshold: 9}}}
`)
	want := []policy.HostProbe{
		{Endpoint: policy.Endpoint{Host: "api.example.com", Port: "443"}, Interval: 5 * time.Second, FailureThreshold: 4},
		{Endpoint: policy.Endpoint{Host: "api.example.com", Port: "6443"}, Interval: 20 * time.Second, FailureThreshold: 4},
		{Endpoint: policy.Endpoint{Host: "fd00::1", Port: "443"}, Interval: 20 * time.Second, FailureThreshold: 1},
	}
	if diff := cmp.Diff(want, compiled.HostProbes()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Of a policy whose resolv.conf has nothing lower than fall-through, ephemeral containers of older pods get it.
func TestEveryUpstreamHasOneProbe(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+`
  cluster: {dnsServers: [10.0.0.10]}
  resolvers: [{images: ["*"], resolver: glibc}]
  dns: {ndots: 2, nodeLocal: {servers: [169.254.20.10]}, fallthrough: {requireLocal: false, probe: {timeout: 200ms, interval: 20s, failureThreshold: 4}}}
  rules:
  - {name: strict, match: {namespaces: [a]}, dns: {fallthrough: {requireLocal: true, probe: {timeout: 100ms}}}}
  - {name: soon, match: {namespaces: [b]}, dns: {fallthrough: {probe: {interval: 10s, failureThreshold: 9}}}}
`)
	want := policy.UpstreamProbe{Addresses: []string{"10.0.0.10"}, Timeout: 100 * time.Millisecond, Interval: 10 * time.Second, FailureThreshold: 4, RequireLocal: true}
	local := want // which an annotation may choose
	local.Upstream, local.Addresses = "169.254.20.10", []string{"169.254.20.10"}
	if diff := cmp.Diff([]policy.UpstreamProbe{want, local}, compiled.UpstreamProbes()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Who is asked, and whether the outside matters at all, is a matter of who may fall through.
func TestUpstreamsAreOfPodsThatMayFallThrough(t *testing.T) {
	t.Parallel()
	const glibc, dns = "  resolvers: [{images: [\"*\"], resolver: glibc}]\n", "  dns: {nodeLocal: {servers: [169.254.20.10]}}\n"
	for name, test := range map[string]struct {
		spec   string
		probes int
	}{
		"an annotation may choose the cache":     {glibc + dns, 2},
		"an annotation may not choose the cache": {glibc + dns + "  podOverrides: {allowed: [ndots]}\n", 1},
		"glibc beside what would change":         {"  resolvers: [{images: [\"*\"], resolver: glibc, beside: [go-cgo]}]\n" + dns, 0},
		"no DNS":                                 {glibc, 0},
	} {
		compiled := compile(t, header+test.spec)
		if got := compiled.UpstreamProbes(); len(got) != test.probes || compiled.FallsThrough() != (test.probes > 0) {
			t.Errorf("%s: %v, falls through: %t", name, got, compiled.FallsThrough())
		}
	}
}

// An upstream that no gate knows yet counts as failing.
func TestAnUpstreamThatIsNotKnownFails(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+"  resolvers: [{images: [\"*\"], resolver: glibc}]\n  dns: {}\n")
	d := compiled.Decide(&policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true, Gates: &policy.Gates{},
		Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{{Name: "app", Image: "debian:13"}}}},
	})
	if d.Fallthrough.Reason != policy.ReasonUpstreamFails {
		t.Errorf("the reason is %s", d.Fallthrough.Reason)
	}
}

func TestEveryCacheThatPodsCanGetHasAGate(t *testing.T) {
	t.Parallel()
	cache := func(daemonSet, maxUnavailable string) policy.Cache {
		return policy.Cache{DaemonSet: daemonSet, MaxUnavailable: intstr.Parse(maxUnavailable), Servers: "169.254.20.10"}
	}
	for name, test := range map[string]struct {
		spec string
		want []policy.Cache
	}{
		"the default":                         {"  dns: {mode: NodeLocal}\n", []policy.Cache{cache("kube-system/node-local-dns", "10%")}},
		"options only":                        {"  dns: {}\n", nil},
		"an annotation may choose it":         {"  dns: {nodeLocal: {servers: [169.254.20.10]}}\n", []policy.Cache{cache("kube-system/node-local-dns", "10%")}},
		"an annotation may not choose it":     {"  dns: {nodeLocal: {servers: [169.254.20.10]}}\n  podOverrides: {allowed: [ndots]}\n", nil},
		"no gate":                             {"  dns: {mode: NodeLocal, nodeLocal: {daemonSet: \"\"}}\n", nil},
		"a rule without a gate":               {"  dns: {mode: NodeLocal}\n  rules: [{name: a, dns: {nodeLocal: {daemonSet: \"\"}}}]\n", []policy.Cache{cache("kube-system/node-local-dns", "10%")}},
		"a rule that only configures another": {"  rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSet: kube-system/cache, maxUnavailable: 2}}}]\n", []policy.Cache{cache("kube-system/cache", "2")}},
		"a selector":                          {"  dns: {mode: NodeLocal, nodeLocal: {daemonSetSelector: {namespace: dns, matchLabels: {b: c, a: b}}}}\n", []policy.Cache{cache("dns/a=b,b=c", "10%")}},
		"a rule with a selector instead":      {"  dns: {nodeLocal: {servers: [169.254.20.10]}}\n  podOverrides: {allowed: []}\n  rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSetSelector: {namespace: dns, matchLabels: {a: b}}}}}]\n", []policy.Cache{cache("dns/a=b", "10%")}},
		"a rule with a name instead":          {"  dns: {nodeLocal: {servers: [169.254.20.10], daemonSetSelector: {namespace: dns, matchLabels: {a: b}}}}\n  podOverrides: {allowed: []}\n  rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSet: dns/c}}}]\n", []policy.Cache{cache("dns/c", "10%")}},
		"a rule with no gate instead":         {"  dns: {nodeLocal: {servers: [169.254.20.10], daemonSetSelector: {namespace: dns, matchLabels: {a: b}}}}\n  podOverrides: {allowed: []}\n  rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSet: \"\"}}}]\n", nil},
		"a rule with a limit of its own": {
			"  dns: {mode: NodeLocal}\n  rules: [{name: a, dns: {nodeLocal: {maxUnavailable: 0}}}]\n",
			[]policy.Cache{cache("kube-system/node-local-dns", "0"), cache("kube-system/node-local-dns", "10%")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, compile(t, header+test.spec).Caches()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
