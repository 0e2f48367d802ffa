package integration_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/audit"
)

// checkProgress counts the pods of each namespace as the API server has them, and adds up what the report has by
// namespace.
func (a *auditedCluster) checkProgress(t *testing.T, report *auditReport, want map[audit.Class]int) {
	t.Helper()
	pods := map[string]int{}
	options := metav1.ListOptions{Limit: 500, FieldSelector: "status.phase!=Succeeded,status.phase!=Failed"}
	for {
		page, err := a.Client.CoreV1().Pods(metav1.NamespaceAll).List(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Items {
			pods[page.Items[i].Namespace]++
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	sum := audit.Progress{}
	for _, p := range report.Progress {
		if pods[p.Namespace] != p.Pods || p.Pods != p.Injected+p.Stale+p.Missed+p.OptedOut+p.Other {
			t.Errorf("namespace %s has %d pods, its progress is %+v", p.Namespace, pods[p.Namespace], p)
		}
		if p.Percent < 0 || p.Percent > 100 || p.Percent == 100 && p.Stale+p.Missed > 0 {
			t.Errorf("namespace %s: %d %% of %+v", p.Namespace, p.Percent, p)
		}
		delete(pods, p.Namespace)
		sum.Pods, sum.Injected, sum.Stale = sum.Pods+p.Pods, sum.Injected+p.Injected, sum.Stale+p.Stale
		sum.Missed, sum.OptedOut, sum.Other = sum.Missed+p.Missed, sum.OptedOut+p.OptedOut, sum.Other+p.Other
	}
	if len(pods) > 0 {
		t.Errorf("namespaces without progress: %v", pods)
	}
	other := want[audit.Edited] + want[audit.Unknown] + want[audit.Skipped]
	planted := audit.Progress{
		Pods:     report.Pods,
		Injected: want[audit.OK] + want[audit.Pinned], Stale: want[audit.Stale], Missed: want[audit.Missed], OptedOut: want[audit.OptedOut], Other: other,
	}
	if sum != planted {
		t.Errorf("progress of all namespaces is %+v, want %+v", sum, planted)
	}
	t.Logf("progress of %d namespaces", len(report.Progress))
}
