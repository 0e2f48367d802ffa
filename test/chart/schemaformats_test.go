package chart_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
)

// What text a field takes, as a regular expression for Helm, which has Go's syntax. An empty text stands for a field that is
// left out.
const (
	octet     = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	ipv4      = octet + `(\.` + octet + `){3}`
	ipv6      = `[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}(:` + ipv4 + `)?`
	dnsLabel  = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	subdomain = `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`
	labelKey  = `([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?`
	// A pattern of names, in which * and ? stand for characters.
	names = `[a-z0-9*?]([-a-z0-9.*?:]*[a-z0-9*?])?`
)

// textFormat is what one field of text takes.
type textFormat struct {
	// at is the field: the type in types.go and the key, with [] for the entries of a list.
	at string
	// policy is a policy with the field, for which %s stands.
	policy  string
	pattern string
	// good and bad are texts that pkg/policy takes and refuses, as the pattern does.
	good, bad []string
}

// textFormats are the formats of pkg/policy. TestFormatsAreThoseOfThePolicy holds them to it.
var textFormats = []textFormat{
	{"Cluster.domain", `cluster: {domain: %s}`, `^(` + subdomain + `)?$`, []string{"cluster.local", "a"}, []string{"cluster.local.", "Cluster.local", "a..b", "a b"}},
	{"Cluster.dnsServers[]", `cluster: {dnsServers: [%s]}`, `^(` + ipv4 + `|` + ipv6 + `)$`, []string{"10.96.0.10", "fd00::10", "::1", "2001:db8:1:2:3:4:5:6"}, []string{"10.0.0.300", "10.0.0", "kube-dns", "10.0.0.1:53", "[fd00::1]", "10.0.0.1/32", "fd00::1%eth0"}},
	{"NodeLocal.servers[]", `dns: {nodeLocal: {servers: [%s]}}`, `^(` + ipv4 + `|` + ipv6 + `)$`, []string{"169.254.20.10"}, []string{"169.254.20", "node-local-dns"}},
	{"NodeLocal.fallbackServers[]", `dns: {nodeLocal: {fallbackServers: [%s]}}`, `^(` + ipv4 + `|` + ipv6 + `)$`, []string{"10.96.0.10"}, []string{"256.1.1.1"}},
	{"NodeLocal.daemonSet", `dns: {nodeLocal: {daemonSet: %s}}`, `^(` + dnsLabel + `/` + subdomain + `)?$`, []string{"kube-system/node-local-dns", "a/b.c", ""}, []string{"node-local-dns", "a/b/c", "A/b", "a/"}},
	{"DaemonSetSelector.namespace", `dns: {nodeLocal: {daemonSetSelector: {namespace: %s, matchLabels: {a: b}}}}`, `^` + dnsLabel + `$`, []string{"kube-system"}, []string{"a.b", "A", ""}},
	{"Spec.excludedNamespaces[]", `excludedNamespaces: [%s]`, `^(` + dnsLabel + `|[a-z0-9][-a-z0-9]{0,62}\*)$`, []string{"kube-system", "openshift-*", "a*"}, []string{"*", "*-system", "a*b", "a**", "kube-?", "Kube-*", "a.b*", "-a*", ""}},
	{"ServiceHost.host", `serviceHost: {host: %s}`, `^(` + subdomain + `\.?|` + ipv6 + `)?$`, []string{"api.example.com", "api.example.com.", "10.0.0.1", "fd00::1"}, []string{"https://x", "api.example.com:6443", "[fd00::1]", "a/b", "API.example.com", "-a"}},
	{"Probe.interval", `serviceHost: {host: a, probe: {interval: %s}}`, `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, []string{"30s", "1m30s", "1.5s"}, []string{"30", "1d", "soon"}},
	{"DNS.extraSearches[]", `dns: {extraSearches: [%s]}`, `^` + subdomain + `$`, []string{"example.com", "corp"}, []string{"example.com.", ".example.com", "a_b", "*.example.com"}},
	{"Option.value", `dns: {options: [{name: timeout, value: %s}]}`, `^[0-9]*$`, []string{"1", "30"}, []string{"1s", "-1", "two"}},
	{"LabelAlias.label", `labelAliases: [{label: %s, feature: DNS}]`, `^` + labelKey + `$`, []string{"node-local-dns-injection", "example.com/dns", "A.b_c"}, []string{"a b", "example.com/", "Example.com/a", "a=b", ""}},
	{"Rule.name", `rules: [{name: %s}]`, `^` + dnsLabel + `$`, []string{"batch", "a-1"}, []string{"Batch", "a.b", "a_b", ""}},
	{"Match.namespaces[]", `rules: [{name: a, match: {namespaces: [%s]}}]`, `^` + names + `$`, []string{"shop-*", "a?c"}, []string{"Shop", "a b", "[ab]", ""}},
	{"Match.serviceAccounts[]", `rules: [{name: a, match: {serviceAccounts: [%s]}}]`, `^` + names + `$`, []string{"builder-*", "system:a"}, []string{"Builder", "a/b"}},
	{"Match.runtimeClasses[]", `rules: [{name: a, match: {runtimeClasses: [%s]}}]`, `^` + names + `$`, []string{"gvisor", "kata-*"}, []string{"Kata"}},
	{"Match.priorityClasses[]", `rules: [{name: a, match: {priorityClasses: [%s]}}]`, `^` + names + `$`, []string{"system-*"}, []string{"High"}},
	{"Match.tolerations[]", `rules: [{name: a, match: {tolerations: [%s]}}]`, `^[A-Za-z0-9*?][-A-Za-z0-9_./*?]*$`, []string{"node.example.com/pool", "*"}, []string{"a=b", ""}},
	{"Match.dnsPolicies[]", `rules: [{name: a, match: {dnsPolicies: [%s]}}]`, `^(ClusterFirst|ClusterFirstWithHostNet|Default|None)$`, []string{"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}, []string{"clusterFirst", ""}},
	{"Owner.kind", `rules: [{name: a, match: {owners: [{kind: %s, name: b}]}}]`, `^([A-Z][A-Za-z0-9]*)?$`, []string{"Deployment", "Job"}, []string{"deployment", "Stateful*", "apps/Deployment"}},
	{"Owner.name", `rules: [{name: a, match: {owners: [{kind: Job, name: %s}]}}]`, `^(` + names + `)?$`, []string{"web-*"}, []string{"Web", "a b"}},
	{"ImageResolver.images[]", `resolvers: [{images: [%s], resolver: musl}]`, `^[A-Za-z0-9*?][-A-Za-z0-9._+/:@*?]*$`, []string{"*/alpine:*", "registry.example.com/a@sha256:*"}, []string{"a b", "[ab]", ""}},
	{"VirtualNodes.podLabels[]", `virtualNodes: {podLabels: [%s]}`, `^.+$`, []string{"a=b", "eks.amazonaws.com/fargate-profile"}, []string{""}},
	{"VirtualNodes.nodeSelectors[]", `virtualNodes: {nodeSelectors: [%s]}`, `^.+$`, []string{"type=virtual-kubelet"}, []string{""}},
	{"VirtualNodes.tolerationKeys[]", `virtualNodes: {tolerationKeys: [%s]}`, `^` + labelKey + `$`, []string{"virtual-kubelet.io/provider"}, []string{"a=b", "a b"}},
	{"VirtualNodes.runtimeClasses[]", `virtualNodes: {runtimeClasses: [%s]}`, `^` + names + `$`, []string{"eci-*"}, []string{"ECI"}},
	{"VirtualNodes.schedulerNames[]", `virtualNodes: {schedulerNames: [%s]}`, `^` + names + `$`, []string{"eci-*"}, []string{"ECI"}},
	{"VirtualNodes.podAnnotations[]", `virtualNodes: {podAnnotations: [%s]}`, `^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?(=.*)?$`, []string{"liqo.io/remote-cluster-id", "a=", "a=b"}, []string{"a b", "=b", ""}},
}

// ranges are numbers whose bounds are found by asking pkg/policy.
var ranges = map[string]string{
	"ServiceHost.port":         `serviceHost: {host: a, port: %d}`,
	"Probe.failureThreshold":   `serviceHost: {host: a, probe: {failureThreshold: %d}}`,
	"DNS.ndots":                `dns: {ndots: %d}`,
	"NdotsRange.min":           `podOverrides: {ndots: {min: %d}}`,
	"NdotsRange.max":           `podOverrides: {ndots: {min: 1, max: %d}}`,
	"Rollout.percent":          `rollout: {percent: %d}`,
	"NodeLocal.maxUnavailable": `dns: {nodeLocal: {maxUnavailable: %d}}`,
}

// lists are those of which pkg/policy is asked how long they may be; %s stands for the entries.
var lists = map[string]struct{ policy, entry string }{
	"Cluster.dnsServers":        {`cluster: {dnsServers: [%s]}`, "10.0.0.%d"},
	"NodeLocal.servers":         {`dns: {nodeLocal: {fallbackServers: [], servers: [%s]}}`, "10.0.0.%d"},
	"NodeLocal.fallbackServers": {`dns: {nodeLocal: {servers: [], fallbackServers: [%s]}}`, "10.0.0.%d"},
	"Match.namespaces":          {`rules: [{name: a, match: {namespaces: [%s]}}]`, "n%d"},
	"Match.owners":              {`rules: [{name: a, match: {owners: [%s]}}]`, "{kind: Job, name: n%d}"},
	"Match.serviceAccounts":     {`rules: [{name: a, match: {serviceAccounts: [%s]}}]`, "n%d"},
	"Match.tolerations":         {`rules: [{name: a, match: {tolerations: [%s]}}]`, "n%d"},
	"Match.runtimeClasses":      {`rules: [{name: a, match: {runtimeClasses: [%s]}}]`, "n%d"},
	"Match.priorityClasses":     {`rules: [{name: a, match: {priorityClasses: [%s]}}]`, "n%d"},
	"Match.dnsPolicies":         {`rules: [{name: a, match: {dnsPolicies: [%s]}}]`, "None"},
	"ImageResolver.images":      {`resolvers: [{resolver: musl, images: [%s]}]`, "n%d"},
}

// accepts reports whether a policy with these fields is valid.
func accepts(spec string) bool {
	_, err := policy.Parse([]byte("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: a}\nspec: {" + spec + "}\n"))
	return err == nil
}

// limit puts into the schema of a field what pkg/policy says about it.
func limit(t *testing.T, structure, key string, property object) {
	t.Helper()
	at := structure + "." + key
	if template, ok := ranges[at]; ok {
		number := property
		if forms, ok := property["anyOf"].([]any); ok {
			number = forms[0].(object)
		}
		lowest, highest := bounds(t, at, func(n int) bool { return accepts(fmt.Sprintf(template, n)) })
		number["minimum"] = lowest
		if highest < highestNumber {
			number["maximum"] = highest
		}
	}
	if list, ok := lists[at]; ok {
		accepted := func(n int) bool {
			var entries []string
			for i := range n {
				entry := list.entry
				if strings.Contains(entry, "%d") {
					entry = fmt.Sprintf(entry, i+1)
				}
				entries = append(entries, entry)
			}
			return accepts(fmt.Sprintf(list.policy, strings.Join(entries, ", ")))
		}
		if !accepted(1) {
			t.Fatalf("%s: one entry is refused: the list has lost its subject", at)
		}
		if !accepted(0) {
			property["minItems"] = 1
		}
		for n := range 10 {
			if n > 0 && !accepted(n) {
				property["maxItems"] = n - 1
				break
			}
		}
	}
	for i := range textFormats {
		switch textFormats[i].at {
		case at:
			property["pattern"] = textFormats[i].pattern
		case at + "[]":
			property["items"].(object)["pattern"] = textFormats[i].pattern
		}
	}
	switch at {
	case "Option.name":
		property["enum"] = toAny(policy.OptionNames())
		delete(property, "type")
	case "Cluster.domain":
		property["maxLength"] = longest(func(n int) bool {
			return accepts(`cluster: {domain: ` + strings.Repeat("a.", n/2) + strings.Repeat("a", n%2) + `}`)
		})
	}
}

const highestNumber = 1 << 20

// bounds are the lowest and the highest number that is accepted; in between all are.
func bounds(t *testing.T, at string, accepted func(int) bool) (lowest, highest int) {
	t.Helper()
	lowest = -2
	for lowest <= 2 && !accepted(lowest) {
		lowest++
	}
	if lowest < -1 || lowest > 2 {
		t.Fatalf("%s: the lowest number is not from -1 to 2", at)
	}
	low, high := lowest, highestNumber
	if accepted(high) {
		return lowest, high
	}
	for high-low > 1 {
		if middle := (low + high) / 2; accepted(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return lowest, low
}

// longest is the greatest length of text that is accepted; n is odd, as a domain does not end with a dot.
func longest(accepted func(int) bool) (length int) {
	for n := 1; n < 1024; n += 2 {
		if accepted(n) {
			length = n
		}
	}
	return length
}

func toAny(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

// What the schema refuses, the server would refuse too, and the other way round.
func TestFormatsAreThoseOfThePolicy(t *testing.T) {
	t.Parallel()
	for _, format := range textFormats {
		pattern := regexp.MustCompile(format.pattern)
		try := func(text string, want bool) {
			encoded := jsontest.Marshal(t, text)
			if got := pattern.MatchString(text); got != want {
				t.Errorf("%s: %q matches the pattern: %t, want %t", format.at, text, got, want)
			}
			if got := accepts(fmt.Sprintf(format.policy, encoded)); got != want {
				t.Errorf("%s: pkg/policy takes %q: %t, want %t", format.at, text, got, want)
			}
		}
		for _, text := range format.good {
			try(text, true)
		}
		for _, text := range format.bad {
			try(text, false)
		}
		// Whatever another field takes: never more is refused than the server would refuse.
		for _, other := range textFormats {
			for _, text := range slices.Concat(other.good, other.bad) {
				encoded := jsontest.Marshal(t, text)
				if !pattern.MatchString(text) && accepts(fmt.Sprintf(format.policy, encoded)) && text != "" {
					t.Errorf("%s: the schema refuses %q, which pkg/policy takes", format.at, text)
				}
			}
		}
	}
}
