package audit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
)

// pod is one of a workload in namespace shop.
func pod(kind, owner string, labels map[string]string) *audit.Pod {
	p := &audit.Pod{}
	p.Metadata.Namespace, p.Metadata.Name, p.Metadata.Labels = "shop", owner+"-x", labels
	if kind != "Pod" {
		p.Metadata.OwnerReferences = []policy.OwnerReference{{Kind: kind, Name: owner, Controller: true}}
	}
	p.Pod.Metadata = p.Metadata.PodMetadata
	return p
}

func TestTallyGroupsByWorkload(t *testing.T) {
	t.Parallel()
	missed := audit.Finding{Class: audit.Missed, Reason: audit.ReasonNotInjected}
	stale := audit.Finding{Class: audit.Stale, Reason: audit.ReasonOlderPolicy}
	ok := audit.Finding{Class: audit.OK, Reason: "enabled_by_policy"}
	hash := map[string]string{"pod-template-hash": "abc"}

	tally := audit.NewTally()
	tally.Add(pod("ReplicaSet", "web-abc", hash), audit.Verdict{ServiceHost: missed, DNS: missed})
	tally.Add(pod("ReplicaSet", "web-abc", hash), audit.Verdict{ServiceHost: ok, DNS: stale})
	tally.Add(pod("ReplicaSet", "web-def", map[string]string{"pod-template-hash": "def"}), audit.Verdict{ServiceHost: ok, DNS: ok})
	tally.Add(pod("DaemonSet", "agent", nil), audit.Verdict{ServiceHost: ok, DNS: ok})

	got := tally.Workloads(func(class audit.Class) bool { return class.Actionable() })
	want := []*audit.Workload{{
		Namespace: "shop", Workload: policy.Workload{Kind: "Deployment", Name: "web"}, Pods: 3,
		Findings: []audit.Group{
			{Feature: policy.FeatureServiceHost, Class: audit.Missed, Reason: audit.ReasonNotInjected, Pods: 1},
			{Feature: policy.FeatureDNS, Class: audit.Missed, Reason: audit.ReasonNotInjected, Pods: 1},
			{Feature: policy.FeatureDNS, Class: audit.Stale, Reason: audit.ReasonOlderPolicy, Pods: 1},
			{Feature: policy.FeatureServiceHost, Class: audit.OK, Reason: "enabled_by_policy", Pods: 2},
			{Feature: policy.FeatureDNS, Class: audit.OK, Reason: "enabled_by_policy", Pods: 1},
		},
		Restart: &audit.Restart{Command: "kubectl -n shop rollout restart deployment/web"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	if all := tally.Workloads(func(audit.Class) bool { return true }); len(all) != 2 || all[0].Name != "agent" || all[0].Restart != nil {
		t.Errorf("all workloads: %+v", all)
	}
	classes := audit.NewCounts().Classes
	classes[audit.Missed], classes[audit.Stale], classes[audit.OK] = 1, 1, 2
	if diff := cmp.Diff(classes, tally.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	if tally.Pods != 4 || tally.Namespaces() != 1 || !tally.Actionable() || tally.Features[policy.FeatureDNS][audit.Stale] != 1 {
		t.Errorf("tally is %+v", tally.Counts)
	}
}

// A command only where it works.
func TestRestart(t *testing.T) {
	t.Parallel()
	missed := audit.Finding{Class: audit.Missed, Reason: audit.ReasonNotInjected}
	for name, test := range map[string]struct {
		kind, owner, command, advice string
	}{
		"a StatefulSet":                     {"StatefulSet", "db", "kubectl -n shop rollout restart statefulset/db", ""},
		"a DaemonSet":                       {"DaemonSet", "agent", "kubectl -n shop rollout restart daemonset/agent", ""},
		"a ReplicaSet without a Deployment": {"ReplicaSet", "web", "", "delete its pods"},
		"a Job":                             {"Job", "import", "", "let it end"},
		"a CronJob's Job":                   {"Job", "report-12345678", "", "its next run"},
		"a pod of its own":                  {"Pod", "shell", "", "nobody creates it again"},
		"a controller of another kind":      {"Rollout", "web", "", "its own controller"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tally := audit.NewTally()
			tally.Add(pod(test.kind, test.owner, nil), audit.Verdict{ServiceHost: missed, DNS: missed})
			got := tally.Workloads(audit.Class.Actionable)[0].Restart
			if got.Command != test.command || !strings.Contains(got.Advice, test.advice) || (got.Advice == "") != (test.advice == "") {
				t.Errorf("restart is %+v", got)
			}
		})
	}
}
