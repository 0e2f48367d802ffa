package doctor

import (
	"testing"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

// A server outside the cluster has no namespace that the filter must leave out, and is asked where its health address is known.
func TestAServerOutsideTheCluster(t *testing.T) {
	t.Parallel()
	ca := newIssuer(t)
	outside := func() *Facts {
		f := healthyFacts(t, ca)
		f.webhook.value = webhookconfig.New(parsed(t, testPolicy), webhookconfig.Options{URL: "https://" + testHost, CABundle: ca.pem()})
		f.webhook.value.ManagedFields = nil
		f.withoutNamespace, f.outside, f.flags = true, ca.serve(t, testHost, -day, 89*day), nil
		debug := f.replicas.value[0].debug
		f.configMap.value = nil
		f.configurations.value = f.configurations.value[1:]
		f.replicas = fact[[]replica]{value: []replica{{name: "https://" + testHost, outside: true, ready: true, served: f.outside, debug: debug}}}
		return f
	}
	report := Judge(outside())
	for _, r := range report.Checks {
		if r.Status != Pass && r.Check != "detector" && r.Check != "ca-secret" {
			t.Errorf("%s is %s: %s %q", r.Check, r.Status, r.Found, r.Items)
		}
	}
	if report.Policy == nil || report.Policy.From != "server https://"+testHost {
		t.Errorf("policy from %+v", report.Policy)
	}
	// Nobody names where to ask: what does not need it is judged all the same.
	f := outside()
	f.replicas = fact[[]replica]{err: errOutside}
	for _, r := range Judge(f).Checks {
		if r.Status == Fail || r.Status == Warn {
			t.Errorf("unasked: %s is %s: %s", r.Check, r.Status, r.Found)
		}
	}
	// The operator says that it runs in the cluster: then the filter must leave that namespace out.
	f = outside()
	f.withoutNamespace = false
	for _, r := range Judge(f).Checks {
		if (r.Check == "webhook-filter") != (r.Status == Fail) {
			t.Errorf("in a namespace: %s is %s: %s", r.Check, r.Status, r.Found)
		}
	}
}
