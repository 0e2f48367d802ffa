package advisor_test

import (
	"fmt"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// logSettings are what a case file of testdata/logs sets.
type logSettings struct {
	advisor.Settings
	Resolver resolver.Resolver
	// EveryMinute has the log be there for two hours, every minute.
	EveryMinute bool
}

// advised is what is expected of a log, of its only workload.
type advised struct {
	Names    []string          `json:"names,omitempty"`
	Reason   advisor.Reason    `json:"reason,omitempty"`
	Ndots    int               `json:"ndots,omitempty"`
	Saved    int64             `json:"saved,omitempty"`
	Apply    bool              `json:"apply"`
	Fallback *advisor.Fallback `json:"fallback,omitempty"`
	// Rule is the one that is made of it.
	Rule *policy.Rule `json:"rule,omitempty"`
}

// Case files: testdata/logs/<what a log tells, in words>.txtar. The sections:
//
//	settings.yaml  see logSettings
//	pod.yaml       what is different about the pod web-0 of StatefulSet web in namespace shop, at 10.0.0.1
//	dns.log        its queries
//	advised.yaml   expected; `go test ./pkg/advisor -run TestWhatALogTells -update` rewrites it
func TestWhatALogTells(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/logs", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "settings.yaml", "pod.yaml", "dns.log", "advised.yaml")
		var settings logSettings
		log := string(c.Section("dns.log"))
		if err := yaml.UnmarshalStrict(c.Section("settings.yaml"), &settings); err != nil {
			t.Fatal(err)
		}
		if settings.EveryMinute {
			log = often(log)
		}
		w := recommend(t, settings.Resolver, func(p *advisor.Pod) {
			if err := yaml.Unmarshal(c.Section("pod.yaml"), p); err != nil {
				t.Fatal(err)
			}
		}, settings.Settings, log)
		if w.ReasonText != w.Reason.Sentence() {
			t.Errorf("reason %q is told as %q", w.Reason, w.ReasonText)
		}
		got := advised{Reason: w.Reason}
		for _, u := range w.Names {
			got.Names = append(got.Names, fmt.Sprintf("%s x%d", u.Name, u.Lookups))
		}
		slices.Sort(got.Names)
		if r := w.Recommendation; r != nil {
			got.Ndots, got.Saved, got.Apply, got.Fallback = r.Ndots, r.Saved, r.Apply, r.Fallback
			rules, _ := advisor.Rules(&advisor.Report{Workloads: []advisor.Workload{*w}}, []advisor.WorkloadKey{w.WorkloadKey}, nil)
			if len(rules) > 0 {
				got.Rule = &rules[0].Rule
			}
		}
		c.Expect(t, "advised.yaml", jsontest.YAML(t, got))
	})
}
