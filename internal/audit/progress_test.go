package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
)

func TestProgressByNamespace(t *testing.T) {
	t.Parallel()
	both := func(class audit.Class, reason audit.Reason) audit.Verdict {
		return audit.Verdict{ServiceHost: audit.Finding{Class: class, Reason: reason}, DNS: audit.Finding{Class: class, Reason: reason}, Fallthrough: audit.Finding{Class: class, Reason: reason}}
	}
	tally := audit.NewTally()
	in := func(namespace string, n int, v audit.Verdict) {
		for range n {
			p := pod("apps/v1", "ReplicaSet", "web-abc", nil)
			p.Metadata.Namespace = namespace
			tally.Add(p, v)
		}
	}
	ok, missed := both(audit.OK, "enabled_by_policy"), both(audit.Missed, audit.ReasonNotInjected)
	in("done", 3, ok)
	in("done", 1, both(audit.OptedOut, "pod_label"))
	in("almost", 999, ok)
	in("almost", 1, missed)
	in("half", 2, both(audit.Pinned, audit.ReasonGateClosed))
	in("half", 1, both(audit.Stale, audit.ReasonOlderPolicy))
	in("half", 1, both(audit.Unknown, audit.ReasonDryRun))
	in("half", 2, both(audit.Skipped, "windows"))
	in("system", 5, both(audit.Skipped, "excluded_namespace"))
	in("worse", 1, audit.Verdict{ServiceHost: ok.ServiceHost, DNS: missed.DNS, Fallthrough: ok.Fallthrough})

	want := []*audit.Progress{
		{Namespace: "worse", Pods: 1, Missed: 1},
		{Namespace: "half", Pods: 6, Injected: 2, Stale: 1, Other: 3, Percent: 50},
		{Namespace: "almost", Pods: 1000, Injected: 999, Missed: 1, Percent: 99},
		{Namespace: "done", Pods: 4, Injected: 3, OptedOut: 1, Percent: 100},
		{Namespace: "system", Pods: 5, Other: 5, Percent: 100},
	}
	got := tally.Progress()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(audit.Progress{})); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	for _, p := range got {
		if concerned := p.Namespace != "system"; p.Concerned() != concerned {
			t.Errorf("%s: concerned is %t", p.Namespace, p.Concerned())
		}
	}
	why := tally.WhyNot()
	// What can be acted on comes first, however many pods are skipped; then most pods, and fall-through behind what it adds to.
	for at, want := range map[int]audit.WhyNot{
		0:  {Feature: policy.FeatureServiceHost, Class: audit.Pinned, Reason: audit.ReasonGateClosed, Pods: 2},
		1:  {Feature: policy.FeatureDNS, Class: audit.Pinned, Reason: audit.ReasonGateClosed, Pods: 2},
		2:  {Feature: policy.FeatureFallthrough, Class: audit.Pinned, Reason: audit.ReasonGateClosed, Pods: 2},
		3:  {Feature: policy.FeatureDNS, Class: audit.Missed, Reason: audit.ReasonNotInjected, Pods: 2},
		15: {Feature: policy.FeatureServiceHost, Class: audit.Skipped, Reason: "excluded_namespace", Pods: 5},
		20: {Feature: policy.FeatureFallthrough, Class: audit.Skipped, Reason: "windows", Pods: 2},
	} {
		if at >= len(why) || why[at] != want {
			t.Errorf("reason %d of %d, want %+v; got all: %+v", at, len(why), want, why)
		}
	}
	sum := map[policy.Feature]int{}
	for _, w := range why {
		sum[w.Feature] += w.Pods
		if w.Class == audit.OK {
			t.Errorf("%+v is ok", w)
		}
	}
	for feature, n := range sum {
		if want := tally.Pods - tally.Features[feature][audit.OK]; n != want {
			t.Errorf("%s: reasons of %d pods, want %d", feature, n, want)
		}
	}
}
