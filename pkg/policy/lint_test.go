package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestLint(t *testing.T) {
	t.Parallel()
	const (
		fallback = "10.0.0.10 is the cluster DNS: musl (Alpine images) asks all nameservers at once, so it still gets every query of those pods; an empty list means no fallback"
		musl     = "; keep 3 and lower it in rules (musl, src/network/lookup_name.c, name_from_dns_search)"
	)
	for name, test := range map[string]struct {
		spec string
		want []policy.Warning
	}{
		"defaults are nobody's mistake": {
			spec: `{dns: {}, serviceHost: {host: api.prod.example.com}}`,
		},
		"a policy that does nothing": {
			spec: `{serviceHost: {enabled: false}, rules: [{name: a}]}`,
			want: []policy.Warning{{"spec", "configures neither serviceHost nor dns, here or in a rule: nothing is ever injected"}},
		},
		"a host with fewer dots than ndots": {
			spec: `{dns: {}, serviceHost: {host: api.example.com}}`,
			want: []policy.Warning{{"spec.serviceHost.host", "api.example.com has 2 dots and the pods have ndots 3: every lookup of it tries the search domains first; lower ndots, or write a trailing dot if all clients accept one"}},
		},
		"a host for pods that keep kubelet's ndots": {
			spec: `{serviceHost: {host: api.eu.prod.example.com}}`,
			want: []policy.Warning{{"spec.serviceHost.host", "api.eu.prod.example.com has 4 dots and the pods have ndots 5: every lookup of it tries the search domains first; lower ndots, or write a trailing dot if all clients accept one"}},
		},
		"a host that is looked up as it is": {
			spec: `{serviceHost: {host: api.example.com.}, rules: [{name: a, match: {namespaces: [a]}, serviceHost: {host: 192.0.2.1}}, {name: b, match: {namespaces: [b]}, serviceHost: {host: api.example.com}, dns: {ndots: 2}}]}`,
		},
		"a rule is enough to do something": {
			spec: `{rules: [{name: a, match: {namespaces: [shop]}, dns: {}}]}`,
		},
		"a rule after one without conditions": {
			spec: `{dns: {}, rules: [{name: a}, {name: b, match: {namespaces: [shop]}}, {name: c}]}`,
			want: []policy.Warning{
				{"spec.rules[1]", "is never reached: rule a (spec.rules[0]) matches every pod"},
				{"spec.rules[2]", "is never reached: rule a (spec.rules[0]) matches every pod"},
			},
		},
		"a rule after one with conditions that always hold": {
			spec: `{dns: {}, rules: [
				{name: a, match: {namespaces: [shop, "*"], serviceAccounts: ["**"], podSelector: {}, namespaceSelector: {}, owners: [{kind: Job}, {name: "*"}]}},
				{name: b, match: {namespaces: [shop]}}]}`,
			want: []policy.Warning{{"spec.rules[1]", "is never reached: rule a (spec.rules[0]) matches every pod"}},
		},
		"conditions that do not always hold": {
			spec: `{dns: {}, rules: [
				{name: a, match: {namespaces: ["?*"]}},
				{name: b, match: {podSelector: {matchLabels: {app: web}}}},
				{name: c, match: {namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}}},
				{name: d, match: {owners: [{kind: Job, name: "*"}]}},
				{name: e}]}`,
		},
		"two rules for the same pods": {
			spec: `{dns: {}, rules: [{name: a, match: {namespaces: [shop]}}, {name: b, match: {serviceAccounts: [shop]}}, {name: c, match: {namespaces: [shop]}}]}`,
			want: []policy.Warning{{"spec.rules[2]", "is never reached: rule a (spec.rules[0]) matches the same pods"}},
		},
		"a cluster domain that is left to discovery": {
			spec: `{dns: {mode: NodeLocal}, rules: [{name: a, dns: {mode: NodeLocal}}]}`,
		},
		"ndots 2 for every pod": {
			spec: `{dns: {ndots: 2}}`,
			want: []policy.Warning{{"spec.dns.ndots", `2 is for every pod, but musl (Alpine images) never tries the search domains for a name with 2 or more dots: names like "service.namespace.svc" no longer resolve there` + musl}},
		},
		"ndots 1 for every pod": {
			spec: `{dns: {ndots: 1}}`,
			want: []policy.Warning{{"spec.dns.ndots", `1 is for every pod, but musl (Alpine images) never tries the search domains for a name with 1 or more dots: names like "service.namespace" and "service.namespace.svc" no longer resolve there` + musl}},
		},
		"a low ndots in a rule is a choice": {
			spec: `{dns: {ndots: 3}, rules: [{name: a, match: {namespaces: [crawl]}, dns: {ndots: 1}}]}`,
		},
		"the fallback is the cluster DNS by default": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal}}`,
			want: []policy.Warning{{"spec.dns.nodeLocal.fallbackServers", fallback}},
		},
		"the fallback is the cluster DNS by name": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal, nodeLocal: {fallbackServers: [10.0.0.10]}}}`,
			want: []policy.Warning{{"spec.dns.nodeLocal.fallbackServers", fallback}},
		},
		"no fallback, or another one": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal, nodeLocal: {fallbackServers: []}},
				rules: [{name: a, dns: {nodeLocal: {fallbackServers: [10.0.0.11]}}}]}`,
		},
		"a fallback without mode NodeLocal": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {nodeLocal: {servers: [169.254.20.10], fallbackServers: [10.0.0.10]}}}`,
		},
		"the fallback of a rule that chooses NodeLocal": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {}, rules: [{name: a, dns: {mode: NodeLocal}}]}`,
			want: []policy.Warning{{"spec.rules[0].dns.nodeLocal.fallbackServers", fallback}},
		},
		"what a rule takes over is warned of once": {
			spec: `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal},
				rules: [{name: a, match: {namespaces: [a]}, dns: {ndots: 1}}, {name: b, match: {namespaces: [b]}, dns: {mode: NodeLocal}}]}`,
			want: []policy.Warning{{"spec.dns.nodeLocal.fallbackServers", fallback}},
		},
		"a probe of nothing": {
			spec: `{serviceHost: {hostFrom: NodeIP, probe: {}}, dns: {}, rules: [{name: a, serviceHost: {hostFrom: NodeIP, probe: {interval: 5s}}}]}`,
			want: []policy.Warning{
				{"spec.serviceHost.probe", "has no effect with hostFrom NodeIP: there is no one host that could be probed"},
				{"spec.rules[0].serviceHost.probe", "has no effect with hostFrom NodeIP: there is no one host that could be probed"},
			},
		},
		"a rule that would do more than the policy": {
			spec: `{mode: DryRun, dns: {}, rules: [
				{name: a, match: {namespaces: [a]}, mode: Enforce},
				{name: b, match: {namespaces: [b]}, mode: DryRun},
				{name: c, match: {namespaces: [c]}, mode: "Off"},
				{name: d, match: {namespaces: [d]}}]}`,
			want: []policy.Warning{{"spec.rules[0].mode", "Enforce has no effect: the policy's mode is DryRun"}},
		},
		"a rule that does less than the policy": {
			spec: `{dns: {}, rules: [{name: a, match: {namespaces: [a]}, mode: DryRun}, {name: b, mode: Enforce}]}`,
		},
		"image patterns that are never reached": {
			spec: `{dns: {}, resolvers: [
				{images: ["*alpine*", "busybox", "*/alpine:3.22"], resolver: musl},
				{images: ["busybox", "registry.example.com/library/alpine", "debian:?"], resolver: glibc},
				{images: ["debian:1"], resolver: go}]}`,
			want: []policy.Warning{
				{"spec.resolvers[0].images[2]", "is never reached: *alpine* (spec.resolvers[0].images[0]) matches the same images"},
				{"spec.resolvers[1].images[0]", "is never reached: busybox (spec.resolvers[0].images[1]) matches the same images"},
				{"spec.resolvers[1].images[1]", "is never reached: *alpine* (spec.resolvers[0].images[0]) matches the same images"},
				{"spec.resolvers[2].images[0]", "is never reached: debian:? (spec.resolvers[1].images[2]) matches the same images"},
			},
		},
		"image patterns from the particular to the general": {
			spec: `{dns: {}, resolvers: [{images: ["*/alpine:3.17", "*/alpine:?", "*/alpine:*"], resolver: musl}, {images: ["*"], resolver: glibc}]}`,
		},
		"gates are nobody's mistake": {
			spec: `{serviceHost: {host: api.prod.example.com, probe: {interval: 5s}}, dns: {nodeLocal: {servers: [169.254.20.10], daemonSet: kube-system/cache, maxUnavailable: 1}},
				rules: [{name: a, serviceHost: {probe: {}}, dns: {nodeLocal: {daemonSet: kube-system/cache, maxUnavailable: 1}}}]}`,
		},
		"no gate is what the empty DaemonSet asks for": {
			spec: `{dns: {nodeLocal: {daemonSet: ""}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document := []byte("{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, metadata: {name: test}, spec: " + test.spec + "}")
			if _, err := policy.Parse(document); err != nil {
				t.Fatalf("not valid: %v", err)
			}
			var written, before policy.InjectionPolicy
			for _, p := range []*policy.InjectionPolicy{&written, &before} {
				if err := yaml.Unmarshal(document, p); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.want, policy.Lint(&written)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before, written); diff != "" {
				t.Errorf("the document was changed: -before +after:\n%s", diff)
			}
		})
	}
}
