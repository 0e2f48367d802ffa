package advisor_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func workload(namespace, name string, ndots int) advisor.Workload {
	w := advisor.Workload{WorkloadKey: advisor.WorkloadKey{Namespace: namespace, Kind: "Deployment", Name: name}}
	if ndots > 0 {
		w.Recommendation = &advisor.Recommendation{Ndots: ndots, Apply: true}
	}
	return w
}

// first is the ndots of the first rule that matches.
func first(t *testing.T, rules []advisor.AdvisedRule, k advisor.WorkloadKey) int {
	t.Helper()
	for i := range rules {
		inNamespace := slices.ContainsFunc(rules[i].Match.Namespaces, func(pattern string) bool {
			ok, err := path.Match(pattern, k.Namespace)
			return ok && err == nil
		})
		if inNamespace && slices.Contains(rules[i].Match.Owners, policy.Owner{Kind: k.Kind, Name: k.Name}) {
			return int(*rules[i].DNS.Ndots)
		}
	}
	return 0
}

func TestRulesReachTheWorkloadsThatTheyAreFor(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(*seed, 5))
	for name, test := range map[string]struct {
		workloads func() []advisor.Workload
		most      int
	}{
		"a thousand workloads in as many namespaces": {func() (all []advisor.Workload) {
			for i := range 1000 {
				all = append(all, workload(fmt.Sprintf("team-%d", i), fmt.Sprintf("app-%d", i), 1+i%3))
			}
			return all
		}, 3},
		"a thousand in ten namespaces, some without recommendation": {func() (all []advisor.Workload) {
			for i := range 1000 {
				all = append(all, workload(fmt.Sprintf("team-%d", i%10), fmt.Sprintf("app-%d", i), random.IntN(4)))
			}
			return all
		}, 30},
		"the same names everywhere with different needs": {func() (all []advisor.Workload) {
			for i := range 300 {
				all = append(all, workload(fmt.Sprintf("team-%d", i/6), fmt.Sprintf("app-%d", i%6), random.IntN(4)))
			}
			return all
		}, 150},
		"the same needs everywhere": {func() (all []advisor.Workload) {
			for i := range 600 {
				all = append(all, workload(fmt.Sprintf("team-%d", i/6), fmt.Sprintf("app-%d", i%6), 1+i%6/2))
			}
			return all
		}, 3},
		"nothing": {func() []advisor.Workload { return nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			report := &advisor.Report{Workloads: test.workloads()}
			var keys []advisor.WorkloadKey
			for i := range report.Workloads {
				keys = append(keys, report.Workloads[i].WorkloadKey)
			}
			rules, _ := advisor.Rules(report, keys, []policy.Rule{{Name: "advised-ndots-1"}})
			t.Logf("%d workloads, %d rules", len(keys), len(rules))
			if len(rules) > test.most {
				t.Errorf("%d rules, want at most %d", len(rules), test.most)
			}
			for i := range report.Workloads {
				w := &report.Workloads[i]
				want := 0
				if w.Recommendation != nil {
					want = w.Recommendation.Ndots
				}
				if got := first(t, rules, w.WorkloadKey); got != want {
					t.Fatalf("%s/%s gets ndots %d, want %d", w.Namespace, w.Name, got, want)
				}
			}
			document, err := json.Marshal(map[string]any{
				"apiVersion": policy.APIVersion, "kind": policy.Kind, "metadata": map[string]any{"name": "advised"}, "spec": map[string]any{"rules": append([]advisor.AdvisedRule{}, rules...)},
			})
			if err != nil {
				t.Fatal(err)
			}
			parsed := reviewtest.Parse(t, document)
			if slices.ContainsFunc(parsed.Spec.Rules, func(r policy.Rule) bool { return r.Name == "advised-ndots-1" }) {
				t.Error("a rule has a name that is taken")
			}
		})
	}
}

// The first rule that matches wins, so a rule behind the one that decides now would
// do nothing, and one before it must say the rest of what that says.
func TestRulesGoBeforeThoseThatDecideNow(t *testing.T) {
	t.Parallel()
	disabled := false
	existing := []policy.Rule{
		{Name: "others", Match: policy.Match{Namespaces: []string{"others"}}},
		{
			Name: "team-a", Mode: policy.ModeDryRun, Match: policy.Match{Namespaces: []string{"team-*"}},
			ServiceHost: &policy.ServiceHost{Enabled: &disabled}, DNS: &policy.DNS{Mode: policy.DNSModeNodeLocal, Ndots: new(int32(4))},
		},
		{Name: "advised-ndots-3", Match: policy.Match{Namespaces: []string{"team-b"}}},
	}
	decided, free, several := workload("team-a", "app", 2), workload("shop", "app", 2), workload("team-b", "app", 2)
	decided.Rules, several.Rules, several.RulesDiffer = []string{"team-a"}, []string{"advised-ndots-3", "team-a"}, true
	report := &advisor.Report{Workloads: []advisor.Workload{decided, free, several}}
	owners := []policy.Owner{{Kind: "Deployment", Name: "app"}}
	want := []advisor.AdvisedRule{
		{Workloads: 1, Rule: policy.Rule{
			Name: "advised-ndots-2", Match: policy.Match{Namespaces: []string{"shop"}, Owners: owners}, DNS: &policy.DNS{Ndots: new(int32(2))},
		}},
		{Before: "team-a", Workloads: 1, Rule: policy.Rule{
			Name: "advised-ndots-2-2", Mode: policy.ModeDryRun, Match: policy.Match{Namespaces: []string{"team-a"}, Owners: owners},
			ServiceHost: &policy.ServiceHost{Enabled: &disabled}, DNS: &policy.DNS{Mode: policy.DNSModeNodeLocal, Ndots: new(int32(2))},
		}},
	}
	got, leftOut := advisor.Rules(report, nil, existing)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(advisor.LeftOut{RulesDiffer: []advisor.WorkloadKey{several.WorkloadKey}}, leftOut); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if *existing[1].DNS.Ndots != 4 {
		t.Error("an existing rule was changed")
	}
}
