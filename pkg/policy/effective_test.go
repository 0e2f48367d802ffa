package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func TestARuleIsLaidOverThePolicy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spec string
		want []string // one line for the policy, and one for each rule
	}{
		"nothing is configured": {"  mode: DryRun\n", []string{"default DryRun 100%"}},
		"a rule that names nothing takes over everything": {
			"  serviceHost: {host: a.example.com, port: 6443}\n  dns: {mode: NodeLocal, nodeLocal: {fallbackServers: []}}\n  rollout: {percent: 20}\n  rules: [{name: r}]\n",
			[]string{
				"default Enforce 20% host a.example.com port 6443 (spec) dns NodeLocal (spec.dns.mode) ndots 4 [169.254.20.10] [] named kube-system/node-local-dns (spec.dns.nodeLocal.daemonSet) 10% (spec)",
				"r Enforce 20% host a.example.com port 6443 (spec) dns NodeLocal (spec.dns.mode) ndots 4 [169.254.20.10] [] named kube-system/node-local-dns (spec.dns.nodeLocal.daemonSet) 10% (spec)",
			},
		},
		"a rule alone configures everything": {
			"  rules: [{name: r, mode: Off, rollout: {percent: 0}, serviceHost: {hostFrom: NodeIP}, dns: {mode: NodeLocal}}]\n",
			[]string{
				"default Enforce 100%",
				"r Off 0% from NodeIP (spec.rules[0]) dns NodeLocal (spec.rules[0].dns.mode) ndots 4 [169.254.20.10] [] kube-system/node-local-dns (spec.rules[0].dns.nodeLocal.daemonSet) 10% (spec.rules[0])",
			},
		},
		"no rule weakens the policy's mode": {
			"  mode: DryRun\n  rules: [{name: a, mode: Enforce}, {name: b, mode: Off}]\n",
			[]string{"default DryRun 100%", "a DryRun 100%", "b Off 100%"},
		},
		"a host of the rule replaces one from the node, and the port stays": {
			"  serviceHost: {hostFrom: NodeIP, port: 6443, enabled: false}\n  rules: [{name: r, serviceHost: {host: a.example.com}}, {name: s, serviceHost: {enabled: true}}]\n",
			[]string{
				"default Enforce 100% from NodeIP port 6443 (spec) off",
				"r Enforce 100% host a.example.com port 6443 (spec) off",
				"s Enforce 100% from NodeIP port 6443 (spec.rules[1])",
			},
		},
		"a cache that no mode chooses has a gate as well": {
			"  dns: {nodeLocal: {servers: [169.254.1.1]}}\n  rules: [{name: r, dns: {nodeLocal: {daemonSet: dns/cache, maxUnavailable: 2}}}]\n",
			[]string{
				"default Enforce 100% dns Options (spec.dns.mode) ndots 4 [169.254.1.1] [] kube-system/node-local-dns (spec.dns.nodeLocal.daemonSet) 10% (spec)",
				"r Enforce 100% dns Options (spec.dns.mode) ndots 4 [169.254.1.1] [] dns/cache (spec.rules[0].dns.nodeLocal.daemonSet) 2 (spec)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document := reviewtest.Parse(t, header+test.spec)
			var got []string
			for e := range document.Spec.Effective() {
				got = append(got, describe(e))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// describe writes what applies, and in parentheses which field says it.
func describe(e *policy.Effective) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	enabled := func(by policy.Origin, on bool) {
		at := e.Field(by, "x").String()
		add(" (%s)", strings.TrimSuffix(at, ".x"))
		if !on {
			add(" off")
		}
	}
	add("%s %s %d%%", e.Name(), e.Mode, e.Percent)
	if h := e.ServiceHost; h != nil {
		if h.Host != "" {
			add(" host %s", h.Host)
		}
		if h.HostFrom != "" {
			add(" from %s", h.HostFrom)
		}
		if h.Port != nil {
			add(" port %d", *h.Port)
		}
		enabled(h.EnabledBy, *h.Enabled)
	}
	if d := e.DNS; d != nil {
		add(" dns %s (%s) ndots %d", d.Mode, e.Field(d.ModeBy, "dns", "mode"), *d.Ndots)
		if len(d.NodeLocal.Servers) > 0 {
			add(" %v %v", d.NodeLocal.Servers, d.NodeLocal.FallbackServers)
			if d.FallbackServersBy != policy.ByDefault {
				add(" named")
			}
			add(" %s (%s) %s", *d.NodeLocal.DaemonSet, e.Field(d.DaemonSetBy, "dns", "nodeLocal", "daemonSet"), d.NodeLocal.MaxUnavailable)
			enabled(d.EnabledBy, *d.Enabled)
		}
	}
	return b.String()
}
