//go:build chart

package chart_test

import (
	"testing"

	"github.com/shorthop/shorthop/test/rotation"
)

// upgradeRate is how many pods are created a second.
const upgradeRate = 40

// A release of the first edition becomes one of today's by the documented command, and goes back, while pods are created:
// none is missed. Replicas are replaced as the Deployment would.
func TestUpgradeAndRollbackUnderLoad(t *testing.T) {
	for name, helm := range majors {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { newest.uninstall(t) })
			// What is late because the machine is busy is not missed.
			newest.helmOf(t, helm, "install", release, firstEdition, "--set=certificates.mode=self-managed", "--set=timeoutSeconds=20")
			replicas := startReplicas(t)
			load, err := rotation.StartLoad(t.Context(), newest.Config, replicas.balancer, upgradeRate, "default")
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range [][]string{
				{"upgrade", release, chartDir, "--reset-then-reuse-values"},
				{"upgrade", release, chartDir, "--reset-then-reuse-values", "--set=ports.webhook=10250,commonLabels.team=a,webhook.annotations.a=b"},
				{"rollback", release, "1"},
			} {
				newest.helmOf(t, helm, step...)
				replicas.roll(t)
			}
			result := load.Stop()
			t.Log(result)
			if result.Missed > 0 || len(result.Errors) > 0 || result.Created == 0 {
				t.Errorf("%d pods are missed, %d of %d are not created: %v", result.Missed, len(result.Errors), result.Created, result.Errors)
			}
		})
	}
}
