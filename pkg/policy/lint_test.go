package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
)

const later = "it is a promise that every later build contains glibc, by which dns.fallthrough lowers ndots; `kubectl shorthop resolvers` lists full references"

func TestLint(t *testing.T) {
	t.Parallel()
	const (
		fallback = "10.0.0.10 is the cluster DNS: musl (Alpine images) asks all nameservers at once, so it still gets every query of those pods; an empty list means no fallback"
		source   = " (musl, src/network/lookup_name.c, name_from_dns_search)"
		musl     = "; keep 4 and lower it in rules for workloads of which you know what they look up" + source
		inRule   = "; keep 4 unless these pods look up no such names, or say in spec.resolvers that no image has musl" + source
		three    = `3 is for pods that may have musl (Alpine images), which never tries the search domains for a name with 3 dots or more: names like "pod.service.namespace.svc" no longer resolve there`
		two      = `2 is for pods that may have musl (Alpine images), which never tries the search domains for a name with 2 dots or more: names like "service.namespace.svc" and "pod.service.namespace.svc" no longer resolve there`
		one      = `1 is for pods that may have musl (Alpine images), which never tries the search domains for a name with 1 dot or more: names like "service.namespace", "service.namespace.svc" and "pod.service.namespace.svc" no longer resolve there`
	)
	for name, test := range map[string]struct {
		spec string
		want []policy.Warning
	}{
		"defaults are nobody's mistake": {
			spec: `{dns: {}, serviceHost: {host: api.eu.prod.example.com}}`,
		},
		"names are excluded": {
			spec: `{dns: {}, excludedNamespaces: [kube-system, openshift-dns, openshift-dns], rules: [{name: a, match: {namespaces: ["openshift-*", "kube-s*"]}}]}`,
		},
		"prefixes are excluded": {
			spec: `{dns: {}, excludedNamespaces: [kube-*, openshift-*, openshift-dns, openshift-m*, kube-*], rules: [
				{name: a, match: {namespaces: ["openshift-*", "kube-s?stem"]}}, {name: b, match: {namespaces: ["openshift-*", "*-x"]}}, {name: c, match: {namespaces: ["open*"]}}]}`,
			want: []policy.Warning{
				{"spec.excludedNamespaces[3]", "adds nothing to openshift-* (spec.excludedNamespaces[1])"},
				{"spec.excludedNamespaces[4]", "adds nothing to kube-* (spec.excludedNamespaces[0])"},
				{"spec.excludedNamespaces", "has a prefix (kube-*): no selector can say that, so the API server evaluates a condition for every pod of the cluster, less than a millisecond each; the names of the namespaces instead cost nothing, where they are known and few"},
				{"spec.rules[0]", "is never reached: spec.excludedNamespaces has openshift-*"},
			},
		},
		"conditions on the pod that do not always hold": {
			spec: `{dns: {}, rules: [
				{name: a, match: {podAnnotations: {example.com/network: "*"}}},
				{name: b, match: {nodeSelector: {pool: "*"}}},
				{name: c, match: {tolerations: ["*"]}},
				{name: d, match: {runtimeClasses: ["*"]}},
				{name: e, match: {priorityClasses: ["*"]}},
				{name: f, match: {hostNetwork: false}},
				{name: g, match: {dnsPolicies: [ClusterFirst]}},
				{name: h}]}`,
		},
		"a rule for every dnsPolicy": {
			spec: `{dns: {}, rules: [{name: a, match: {dnsPolicies: [ClusterFirst, ClusterFirstWithHostNet, Default, None]}}, {name: b}]}`,
			want: []policy.Warning{{"spec.rules[1]", "is never reached: rule a (spec.rules[0]) matches every pod"}},
		},
		"a cache that nothing uses": {
			spec: `{dns: {nodeLocal: {servers: [169.254.20.10]}}, podOverrides: {allowed: [options], ndots: {max: 3}}, rules: [{name: a, match: {namespaces: [a]}, dns: {nodeLocal: {maxUnavailable: 1}}}]}`,
			want: []policy.Warning{
				{"spec.podOverrides.ndots", "has no effect: podOverrides.allowed does not have ndots"},
				{"spec.dns.nodeLocal", "has no effect: no mode is NodeLocal, and podOverrides.allowed does not have mode, so that no annotation can choose it"},
				{"spec.rules[0].dns.nodeLocal", "has no effect: no mode is NodeLocal, and podOverrides.allowed does not have mode, so that no annotation can choose it"},
			},
		},
		"a cache that a rule uses, or an annotation may": {
			spec: `{dns: {nodeLocal: {servers: [169.254.20.10], fallbackServers: []}}, podOverrides: {allowed: []}, rules: [{name: a, match: {namespaces: [a]}, dns: {mode: NodeLocal}}]}`,
		},
		"gates that are not there": {
			spec: `{serviceHost: {host: 192.0.2.1, probe: {enabled: false, interval: 10s}}, dns: {nodeLocal: {servers: [169.254.20.10], daemonSet: "", maxUnavailable: 1}}}`,
			want: []policy.Warning{
				{"spec.serviceHost.probe", "interval and failureThreshold have no effect: enabled is false"},
				{"spec.dns.nodeLocal.maxUnavailable", "has no effect: an empty daemonSet means that there is no gate"},
			},
		},
		"a policy that does nothing": {
			spec: `{serviceHost: {enabled: false}, rules: [{name: a}]}`,
			want: []policy.Warning{{"spec", "configures neither serviceHost nor dns, here or in a rule: nothing is ever injected"}},
		},
		"a host with fewer dots than ndots": {
			spec: `{dns: {}, serviceHost: {host: api.example.com}}`,
			want: []policy.Warning{{"spec.serviceHost.host", "api.example.com has 2 dots and the pods have ndots 4: every lookup of it tries the search domains first; write a trailing dot if all clients accept one, or lower ndots where you know images and names"}},
		},
		"a host that is the pod itself": {
			spec: `{dns: {}, serviceHost: {host: localhost}, rules: [{name: a, match: {namespaces: [a]}, serviceHost: {host: "::1"}}]}`,
			want: []policy.Warning{
				{"spec.serviceHost.host", "localhost is in a pod the pod itself, unless it is on the host's network"},
				{"spec.rules[0].serviceHost.host", "::1 is in a pod the pod itself, unless it is on the host's network"},
			},
		},
		"a host for pods that keep kubelet's ndots": {
			spec: `{serviceHost: {host: api.eu.prod.example.com}}`,
			want: []policy.Warning{{"spec.serviceHost.host", "api.eu.prod.example.com has 4 dots and the pods have ndots 5: every lookup of it tries the search domains first; write a trailing dot if all clients accept one, or lower ndots where you know images and names"}},
		},
		"a host that is looked up as it is": {
			spec: `{serviceHost: {host: api.example.com.}, rules: [{name: a, match: {namespaces: [a]}, serviceHost: {host: 192.0.2.1}}, {name: b, match: {namespaces: [b]}, serviceHost: {host: api.example.com}, dns: {ndots: 2}}]}`,
			want: []policy.Warning{{"spec.rules[1].dns.ndots", two + inRule}},
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
				{name: a, match: {namespaces: [shop, "*"], serviceAccounts: ["**"], owners: [{kind: Job}, {name: "*"}]}},
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
		"ndots 3 for every pod": {
			spec: `{dns: {ndots: 3}}`,
			want: []policy.Warning{{"spec.dns.ndots", three + musl}},
		},
		"ndots 2 for every pod": {
			spec: `{dns: {ndots: 2}}`,
			want: []policy.Warning{{"spec.dns.ndots", two + musl}},
		},
		"ndots 1 for every pod": {
			spec: `{dns: {ndots: 1}}`,
			want: []policy.Warning{{"spec.dns.ndots", one + musl}},
		},
		"an ndots under which all short names resolve": {
			spec: `{dns: {ndots: 4}, rules: [{name: a, match: {namespaces: [a]}, dns: {ndots: 5}}, {name: b, dns: {mode: Options}}]}`,
		},
		"a low ndots in rules": {
			spec: `{dns: {}, rules: [{name: a, match: {namespaces: [crawl]}, dns: {ndots: 1}}, {name: b, match: {owners: [{kind: Job}]}, dns: {ndots: 3}}]}`,
			want: []policy.Warning{{"spec.rules[0].dns.ndots", one + inRule}, {"spec.rules[1].dns.ndots", three + inRule}},
		},
		"a low ndots where hints name musl": {
			spec: `{dns: {ndots: 2}, resolvers: [{images: ["*alpine*"], resolver: musl-1.2.3}, {images: ["*"], resolver: glibc}]}`,
			want: []policy.Warning{{"spec.dns.ndots", two + musl}},
		},
		"a low ndots where hints leave images open": {
			spec: `{dns: {ndots: 2}, resolvers: [{images: ["*debian*"], resolver: glibc}]}`,
			want: []policy.Warning{{"spec.dns.ndots", two + musl}},
		},
		"a low ndots where no image has musl": {
			spec: `{dns: {ndots: 2}, resolvers: [{images: ["*distroless/static*"], resolver: go}, {images: ["*"], resolver: glibc}], rules: [{name: a, dns: {ndots: 1}}]}`,
		},
		"what a pod's author may choose": {
			spec: `{dns: {}, podOverrides: {ndots: {min: 1}}}`,
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
				rules: [{name: a, match: {namespaces: [a]}, dns: {ndots: 5}}, {name: b, match: {namespaces: [b]}, dns: {mode: NodeLocal}}]}`,
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
				{"spec.resolvers[1].images[2]", "names no tag: " + later},
				{"spec.resolvers[2].images[0]", "is never reached: debian:? (spec.resolvers[1].images[2]) matches the same images"},
			},
		},
		"image patterns from the particular to the general": {
			spec: `{dns: {}, resolvers: [{images: ["*/alpine:3.17", "*/alpine:?", "*/alpine:*"], resolver: musl}, {images: ["*"], resolver: glibc}]}`,
			want: []policy.Warning{{"spec.resolvers[1].images[0]", "is a promise that every image contains glibc: dns.fallthrough lowers ndots by it"}},
		},
		"full references are no promise": {
			spec: `{dns: {}, resolvers: [{images: ["debian:13", "registry.example.com:5000/app:1", "app@sha256:0"], resolver: glibc}, {images: ["*/alpine"], resolver: musl}]}`,
		},
		"references without a tag": {
			spec: `{dns: {}, resolvers: [{images: ["registry.example.com:5000/app"], resolver: glibc}]}`,
			want: []policy.Warning{{"spec.resolvers[0].images[0]", "names no tag: " + later}},
		},
		"fallthrough where no image is known": {
			spec: `{dns: {fallthrough: {ndots: 3}}}`,
			want: []policy.Warning{{"spec.dns.fallthrough", "has no effect: spec.resolvers says of no image which resolver it contains"}},
		},
		"fallthrough that is not lower, and its gate": {
			spec: `{dns: {ndots: 4, fallthrough: {ndots: 4, requireLocal: false, probe: {enabled: false}}}, resolvers: [{images: ["debian:13"], resolver: glibc}]}`,
			want: []policy.Warning{
				{"spec.dns.fallthrough.ndots", "4 has no effect: the pods have ndots 4"},
				{"spec.dns.fallthrough.requireLocal", "false: pods keep their options for life, and an outage of what the cluster DNS asks makes lookups of names that end in .svc fail with c-ares and Netty, and take longer with others"},
				{"spec.dns.fallthrough.probe.enabled", "false: nobody notices where the DNS servers begin to have addresses for names that nobody has, which every resolver that falls through believes"},
			},
		},
		"search domains of others with musl": {
			spec: `{dns: {extraSearches: [corp.example.com]}}`,
			want: []policy.Warning{{"spec.dns.extraSearches", "names with 4 dots below corp.example.com do not resolve with musl (Alpine images), which never tries the search domains for them at ndots 4"}},
		},
		"search domains of others where kubelet's ndots stays": {
			spec: `{dns: {ndots: 5, extraSearches: [corp.example.com]}}`,
		},
		"gates are nobody's mistake": {
			spec: `{serviceHost: {host: api.eu.prod.example.com, probe: {interval: 5s}}, dns: {nodeLocal: {servers: [169.254.20.10], daemonSet: kube-system/cache, maxUnavailable: 1}},
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
			if diff := cmp.Diff(test.want, policy.Lint(document)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
