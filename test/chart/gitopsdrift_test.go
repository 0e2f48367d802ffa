//go:build chart

package chart_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shorthop/shorthop/test/cluster"
)

// What is rendered can be applied again and again once the replicas have written what is theirs: nothing changes, there is no
// conflict, and what differs from the release is what docs/gitops.md names.
func TestWhatDiffersAfterASync(t *testing.T) {
	const manager = "argocd-controller"
	released := map[string]*unstructured.Unstructured{}
	for key, o := range render(t, "--set=certificates.mode=self-managed", "--set=detector.interval=1s") {
		if strings.HasPrefix(o.GetAnnotations()["helm.sh/hook"], "test") {
			continue
		}
		released[key] = o
		if _, err := newest.resource(t, o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: manager}); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		t.Cleanup(func() {
			if err := newest.resource(t, o).Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	webhook := startSelfManaged(t, kubeconfigOf(t, release))
	if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		return slices.Contains(scrape(t, webhook.MetricsURL), "shorthop_detector_last_success_timestamp_seconds"), nil
	}); err != nil {
		t.Fatalf("the detector does not scan: %v\n%s", err, webhook.Logs())
	}
	if _, err := webhook.Stop(t.Context()); err != nil { // it would write on while this looks
		t.Fatal(err)
	}

	differs := map[string]string{}
	for key, o := range released {
		live, err := newest.resource(t, o).Get(t.Context(), o.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		again, err := newest.resource(t, o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: manager, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Errorf("%s: a second sync: %v", key, err)
			continue
		}
		for _, object := range []*unstructured.Unstructured{live, again} {
			object.SetManagedFields(nil)
		}
		if diff := cmp.Diff(live.Object, again.Object); diff != "" {
			t.Errorf("%s: a second sync changes (-live +synced):\n%s", key, diff)
		}
		switch live.GetKind() {
		case "Secret":
			if data, _, _ := unstructured.NestedMap(live.Object, "data"); len(data) > 0 {
				differs[live.GetKind()+" "+live.GetName()] = "data"
			}
		case "Lease":
			if times, found, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", "renewTime"); found && times != nil {
				differs[live.GetKind()+" "+live.GetName()] = "spec"
			}
		case "MutatingWebhookConfiguration":
			entries, _, _ := unstructured.NestedSlice(live.Object, "webhooks")
			for _, entry := range entries {
				if bundle, _, _ := unstructured.NestedString(entry.(object), "clientConfig", "caBundle"); bundle != "" {
					differs[live.GetKind()+" "+live.GetName()] = "webhooks[].clientConfig.caBundle"
				}
			}
		}
	}
	want := map[string]string{
		"Secret " + release + "-ca":               "data",
		"Lease " + release + "-detector":          "spec",
		"MutatingWebhookConfiguration " + release: "webhooks[].clientConfig.caBundle",
	}
	if diff := cmp.Diff(want, differs); diff != "" {
		t.Errorf("what differs (-want +got):\n%s", diff)
	}
	page := string(read(t, root+"/docs/gitops.md"))
	for name, field := range want {
		kind, _, _ := strings.Cut(name, " ")
		if !strings.Contains(page, "| "+kind+" |") || !strings.Contains(page, "`"+field+"`") {
			t.Errorf("docs/gitops.md does not say that %s of the %s differs", field, kind)
		}
	}
}
