package policy_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/effective/<what is in effect, in words>.txtar. The sections:
//
//	policy.yaml  the policy
//	effective    expected: one line for the policy, and one for each rule
//	gates        expected: the probes of hosts, the caches, and the probes of upstreams, one on a line; and whether the outside matters
func TestWhatIsInEffect(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/effective", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "policy.yaml", "effective", "gates")
		var effective, gates strings.Builder
		for e := range reviewtest.Parse(t, c.Section("policy.yaml")).Spec.Effective() {
			fmt.Fprintln(&effective, describe(e))
		}
		c.Expect(t, "effective", []byte(effective.String()))

		compiled := reviewtest.Compile(t, c.Section("policy.yaml"), "")
		for _, p := range compiled.HostProbes() {
			fmt.Fprintf(&gates, "host %s port %s: interval %s, failureThreshold %d\n", p.Host, p.Port, p.Interval, p.FailureThreshold)
		}
		for _, cache := range compiled.Caches() {
			fmt.Fprintf(&gates, "cache %s at %s: maxUnavailable %s\n", cache.DaemonSet, cache.Servers, &cache.MaxUnavailable)
		}
		for _, p := range compiled.UpstreamProbes() {
			fmt.Fprintf(&gates, "upstream %q at %q: timeout %s, interval %s, failureThreshold %d, requireLocal %t\n",
				p.Upstream, p.Addresses, p.Timeout, p.Interval, p.FailureThreshold, p.RequireLocal)
		}
		if compiled.FallsThrough() {
			gates.WriteString("pods may fall through\n")
		}
		c.Expect(t, "gates", []byte(gates.String()))
	})
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
			daemonSet := cmp.Or(d.NodeLocal.DaemonSet, new("by its labels"))
			add(" %s (%s) %s", *daemonSet, e.Field(d.DaemonSetBy, "dns", "nodeLocal", "daemonSet"), d.NodeLocal.MaxUnavailable)
			enabled(d.EnabledBy, *d.Enabled)
		}
	}
	return b.String()
}
