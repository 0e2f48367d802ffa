package audit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/hostile"
)

// pod is one of a workload in namespace shop.
func pod(apiVersion, kind, owner string, labels map[string]string) *audit.Pod {
	p := &audit.Pod{}
	p.Metadata.Namespace, p.Metadata.Name, p.Metadata.Labels = "shop", owner+"-x", labels
	if apiVersion != "" || kind != "Pod" {
		p.Metadata.OwnerReferences = []policy.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: owner, Controller: true}}
	}
	p.Pod.Metadata = p.Metadata.PodMetadata
	return p
}

func TestTallyGroupsByWorkload(t *testing.T) {
	t.Parallel()
	missed := audit.Finding{Class: audit.Missed, Reason: audit.ReasonNotInjected}
	stale := audit.Finding{Class: audit.Stale, Reason: audit.ReasonOlderPolicy}
	ok := audit.Finding{Class: audit.OK, Reason: "enabled_by_policy"}
	left := audit.Finding{Class: audit.Skipped, Reason: "resolver_unknown"}
	hash := map[string]string{"pod-template-hash": "abc"}

	tally := audit.NewTally()
	tally.Add(pod("apps/v1", "ReplicaSet", "web-abc", hash), audit.Verdict{ServiceHost: missed, DNS: missed, Fallthrough: left})
	tally.Add(pod("apps/v1", "ReplicaSet", "web-abc", hash), audit.Verdict{ServiceHost: ok, DNS: stale, Fallthrough: left})
	tally.Add(pod("apps/v1", "ReplicaSet", "web-def", map[string]string{"pod-template-hash": "def"}), audit.Verdict{ServiceHost: ok, DNS: ok, Fallthrough: left})
	tally.Add(pod("apps/v1", "DaemonSet", "agent", nil), audit.Verdict{ServiceHost: ok, DNS: ok, Fallthrough: left})

	got := tally.Workloads(func(class audit.Class) bool { return class.Actionable() })
	want := []*audit.Workload{{
		Namespace: "shop", Workload: policy.Workload{Group: "apps", Kind: "Deployment", Name: "web"}, Pods: 3,
		Findings: []audit.Group{
			{Feature: policy.FeatureServiceHost, Class: audit.Missed, Reason: audit.ReasonNotInjected, Pods: 1},
			{Feature: policy.FeatureDNS, Class: audit.Missed, Reason: audit.ReasonNotInjected, Pods: 1},
			{Feature: policy.FeatureDNS, Class: audit.Stale, Reason: audit.ReasonOlderPolicy, Pods: 1},
			{Feature: policy.FeatureServiceHost, Class: audit.OK, Reason: "enabled_by_policy", Pods: 2},
			{Feature: policy.FeatureDNS, Class: audit.OK, Reason: "enabled_by_policy", Pods: 1},
			{Feature: policy.FeatureFallthrough, Class: audit.Skipped, Reason: "resolver_unknown", Pods: 3},
		},
		Restart: &audit.Restart{Command: []string{"kubectl", "-n", "shop", "rollout", "restart", "deployment/web"}},
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

// A command only where it works, and only for names that no shell takes for
// anything else.
func TestRestart(t *testing.T) {
	t.Parallel()
	const other = "its own controller"
	hash := map[string]string{"pod-template-hash": "abc"}
	for name, test := range map[string]struct {
		apiVersion, kind, owner string
		labels                  map[string]string
		command, advice         string
	}{
		"a Deployment":                                  {"apps/v1", "ReplicaSet", "web-abc", hash, "kubectl -n shop rollout restart deployment/web", ""},
		"a StatefulSet":                                 {"apps/v1", "StatefulSet", "db", nil, "kubectl -n shop rollout restart statefulset/db", ""},
		"a DaemonSet":                                   {"apps/v1", "DaemonSet", "agent", nil, "kubectl -n shop rollout restart daemonset/agent", ""},
		"a name with dots":                              {"apps/v1", "StatefulSet", "db.eu", nil, "kubectl -n shop rollout restart statefulset/db.eu", ""},
		"a ReplicaSet without a Deployment":             {"apps/v1", "ReplicaSet", "web", nil, "", "delete its pods"},
		"a ReplicationController":                       {"v1", "ReplicationController", "web", nil, "", "delete its pods"},
		"a Job":                                         {"batch/v1", "Job", "import", nil, "", "let it end"},
		"a CronJob's Job":                               {"batch/v1", "Job", "report-29345678", nil, "", "its next run"},
		"a Job named by a date":                         {"batch/v1", "Job", "migrate-20240115", nil, "", "let it end"},
		"a Deployment of a version that is gone":        {"apps/v1beta1", "ReplicaSet", "web-abc", hash, "kubectl -n shop rollout restart deployment/web", ""},
		"a StatefulSet of a version that is gone":       {"apps/v1beta2", "StatefulSet", "db", nil, "kubectl -n shop rollout restart statefulset/db", ""},
		"a Rollout of a version that is gone":           {"apps/v1beta1", "Rollout", "web", nil, "", other},
		"an apiVersion of two slashes":                  {"apps/v1/v1", "StatefulSet", "db", nil, "", other},
		"a ReplicaSet of the core API, with the hash":   {"v1", "ReplicaSet", "web-abc", hash, "", other},
		"a pod of its own":                              {"", "Pod", "shell", nil, "", "nobody creates it again"},
		"a controller of another kind":                  {"argoproj.io/v1alpha1", "Rollout", "web", nil, "", other},
		"a StatefulSet of another API":                  {"apps.kruise.io/v1beta1", "StatefulSet", "db", nil, "", other},
		"a Deployment of another API":                   {"evil.example.com/v1", "Deployment", "web", nil, "", other},
		"a Deployment of an older API":                  {"extensions/v1beta1", "Deployment", "web", nil, "", other},
		"a Deployment of no API":                        {"", "Deployment", "web", nil, "", other},
		"a ReplicaSet of another API, with the hash":    {"example.com/v1", "ReplicaSet", "web-abc", hash, "", other},
		"a kind that only looks like Deployment":        {"apps/v1", "Deployment ", "web", nil, "", other},
		"a kind in lower case":                          {"apps/v1", "deployment", "web", nil, "", other},
		"a Job of another API":                          {"example.com/v1", "Job", "import", nil, "", other},
		"a Pod as an owner":                             {"v1", "Pod", "shell", nil, "", "nobody creates it again"},
		"a name in upper case":                          {"apps/v1", "Deployment", "Web", nil, "", other},
		"a name that is too long":                       {"apps/v1", "Deployment", strings.Repeat("a", 254), nil, "", other},
		"a name that would be a Deployment's after all": {"apps/v1", "ReplicaSet", "x;id-abc", hash, "", other},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := restart(t, test.apiVersion, test.kind, test.owner, test.labels)
			if strings.Join(got.Command, " ") != test.command || !strings.Contains(got.Advice, test.advice) || (got.Advice == "") != (test.advice == "") {
				t.Errorf("restart is %+v", got)
			}
		})
	}
	for _, text := range hostile.Texts() {
		t.Run("named by "+text.Name, func(t *testing.T) {
			t.Parallel()
			for _, got := range []*audit.Restart{
				restart(t, "apps/v1", "Deployment", text.Text, nil),
				restart(t, "apps/v1", text.Text, "web", nil),
				restart(t, text.Text, "Deployment", "web", nil),
				restart(t, "apps/v1", "ReplicaSet", text.Text+"-abc", hash),
			} {
				if len(got.Command) > 0 || strings.Contains(got.Advice, text.Text) && text.Text != "" {
					t.Errorf("restart is %+v", got)
				}
			}
		})
	}
}

func restart(t *testing.T, apiVersion, kind, owner string, labels map[string]string) *audit.Restart {
	t.Helper()
	missed := audit.Finding{Class: audit.Missed, Reason: audit.ReasonNotInjected}
	tally := audit.NewTally()
	tally.Add(pod(apiVersion, kind, owner, labels), audit.Verdict{ServiceHost: missed, DNS: missed})
	return tally.Workloads(audit.Class.Actionable)[0].Restart
}

// What is kept of an owner's name does not grow with it.
func TestLongNamesAreNotKept(t *testing.T) {
	t.Parallel()
	tally := audit.NewTally()
	long := strings.Repeat("a", 1<<20)
	tally.Add(pod(long, long, long, nil), audit.Verdict{})
	w := tally.Workloads(func(audit.Class) bool { return true })
	if len(w) != 1 || len(w[0].Name) > 300 || len(w[0].Kind) > 300 || len(w[0].Group) > 300 {
		t.Errorf("%d workloads, the first %.400v", len(w), w[0])
	}
}
