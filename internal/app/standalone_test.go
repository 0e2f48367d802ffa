package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/test/reviewtest"
)

func TestWithoutCluster(t *testing.T) {
	t.Parallel()
	const (
		selector = ": Forbidden: the labels of namespaces cannot be read; select by name with match.namespaces"
		gate     = `: Forbidden: the DaemonSet's health cannot be watched; set it to "" to use the node-local cache without a health gate`
	)
	domain := func(mode string) string {
		return "spec.cluster.domain: Required value: the domain cannot be discovered, and mode NodeLocal (" + mode +
			") needs it; set it, usually to cluster.local"
	}
	for name, test := range map[string]struct {
		spec string
		want []string
	}{
		"mode Options needs nothing": {`
  serviceHost: {host: api.example.com}
  dns: {ndots: 2, nodeLocal: {servers: [169.254.20.10]}}
  rules: [{name: one, match: {namespaces: ["a-*"], podSelector: {matchLabels: {a: b}}}, dns: {ndots: 1}}]
`, nil},
		"mode NodeLocal with a domain and without a gate": {`
  cluster: {domain: cluster.local}
  dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}
  rules: [{name: one, dns: {ndots: 1}}]
`, nil},
		"an empty match is for every namespace, whatever its labels": {`
  dns: {}
  rules: [{name: one, match: {}, dns: {ndots: 1}}]
`, nil},
		"everything is listed": {`
  dns: {mode: NodeLocal}
  rules:
  - {name: one, match: {namespaceSelector: {matchLabels: {team: shop}}}, dns: {ndots: 1}}
  - {name: two, match: {namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}}}
`, []string{
			"spec.rules[0].match.namespaceSelector" + selector,
			"spec.rules[1].match.namespaceSelector" + selector,
			domain("spec.dns.mode"),
			"spec.dns.nodeLocal.daemonSet" + gate,
		}},
		"a rule chooses the mode, the policy the gate": {`
  cluster: {domain: cluster.local}
  dns: {nodeLocal: {servers: [169.254.20.10], daemonSet: dns/cache}}
  rules: [{name: one, dns: {mode: NodeLocal}}, {name: two, dns: {mode: NodeLocal}}]
`, []string{"spec.dns.nodeLocal.daemonSet" + gate}},
		"a rule chooses a gate of its own": {`
  cluster: {domain: cluster.local}
  dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}
  rules: [{name: one, dns: {nodeLocal: {daemonSet: dns/cache}}}]
`, []string{"spec.rules[0].dns.nodeLocal.daemonSet" + gate}},
		"a rule switches the policy's gate off": {`
  cluster: {domain: cluster.local}
  dns: {nodeLocal: {servers: [169.254.20.10]}}
  rules: [{name: one, dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}}]
`, nil},
		"a rule leaves the policy's mode": {`
  dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}
  cluster: {domain: cluster.local}
  rules: [{name: one, dns: {mode: Options, nodeLocal: {daemonSet: dns/cache}}}]
`, nil},
		"only a rule configures DNS, with the default gate": {`
  rules: [{name: one, dns: {mode: NodeLocal}}]
`, []string{
			domain("spec.rules[0].dns.mode"),
			"spec.rules[0].dns.nodeLocal.daemonSet" + gate,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compiled := reviewtest.Compile(t, "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec:"+test.spec, "")
			var got []string
			if err := withoutCluster(compiled); err != nil {
				got = strings.Split(err.Error(), "\n")[1:] // the first is the heading
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
