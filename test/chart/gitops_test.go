//go:build chart

package chart_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// Argo CD renders the chart and applies everything but Leases, which are among the kinds that it leaves out by default. The
// server, with the token of its service account, makes its own, and the detector scans.
func TestTheDetectorRunsWhereTheLeaseWasLeftOut(t *testing.T) {
	left := 0
	for key, o := range render(t, "--set=certificates.mode=self-managed", "--set=detector.interval=1s") {
		if o.GetKind() == "Lease" {
			left++
			continue
		}
		if strings.HasPrefix(o.GetAnnotations()["helm.sh/hook"], "test") {
			continue
		}
		if _, err := newest.resource(t, o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "argocd-controller"}); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		t.Cleanup(func() {
			if err := newest.resource(t, o).Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	leases := newest.Client.CoordinationV1().Leases(namespace)
	if _, err := leases.Get(t.Context(), release+"-detector", metav1.GetOptions{}); left != 1 || !apierrors.IsNotFound(err) {
		t.Fatalf("%d Leases were left out, and reading the detector's says %v: this test has lost its subject", left, err)
	}

	webhook := startSelfManaged(t, kubeconfigOf(t, release))
	t.Cleanup(func() { // before the objects go; the server would make the Lease again
		webhook.Kill()
		if err := leases.Delete(context.WithoutCancel(t.Context()), release+"-detector", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		return slices.Contains(scrape(t, webhook.MetricsURL), "shorthop_detector_last_success_timestamp_seconds"), nil
	}); err != nil {
		t.Errorf("the detector does not scan: %v\n%s", err, webhook.Logs())
	}
	if _, err := leases.Get(t.Context(), release+"-detector", metav1.GetOptions{}); err != nil {
		t.Errorf("the detector's Lease: %v", err)
	}
}

// A Lease that the server has made is not Helm's until the next upgrade. Helm 4 leaves it behind when the release goes, and a
// release that is installed in its place has to take it over.
func TestALeaseThatTheServerHasMade(t *testing.T) {
	for name, helm := range majors {
		t.Run(name, func(t *testing.T) {
			before := inventory(t, newest)
			install := []string{"install", release, chartDir, "--set=certificates.mode=self-managed"}
			made := func() {
				leases := newest.Client.CoordinationV1().Leases(namespace)
				if err := leases.Delete(t.Context(), release+"-detector", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				webhook := startSelfManaged(t, kubeconfigOf(t, release))
				defer webhook.Kill()
				if err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
					_, err := leases.Get(ctx, release+"-detector", metav1.GetOptions{})
					return err == nil, nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			leftBehind := func() []string {
				return slices.DeleteFunc(inventory(t, newest), func(o string) bool { return slices.Contains(before, o) })
			}
			t.Cleanup(func() { newest.uninstall(t) })

			newest.helmOf(t, helm, install...)
			made()
			newest.helmOf(t, helm, "upgrade", release, chartDir, "--reset-then-reuse-values")
			newest.helmOf(t, helm, "uninstall", release)
			if left := leftBehind(); len(left) > 0 {
				t.Errorf("after an upgrade, uninstalling leaves %q", left)
			}

			newest.helmOf(t, helm, install...)
			made()
			newest.helmOf(t, helm, "uninstall", release)
			left := leftBehind()
			if want := "leases " + namespace + "/" + release + "-detector"; name == "Helm 4" && !slices.Equal(left, []string{want}) {
				t.Errorf("without an upgrade, uninstalling leaves %q, want %q", left, want)
			}
			newest.helmOf(t, helm, append(install, "--take-ownership")...)
			newest.helmOf(t, helm, "uninstall", release)
			if left := leftBehind(); len(left) > 0 {
				t.Errorf("uninstalling leaves %q", left)
			}
		})
	}
}
