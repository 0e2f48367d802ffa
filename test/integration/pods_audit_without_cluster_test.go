package integration_test

import (
	"testing"

	"github.com/shorthop/shorthop/test/cluster"
)

// A server that runs without the API server discovers nothing, and its /debug/policy has no such field: that is
// something to go by, and no reason to give up.
func TestAuditByAReplicaThatDiscoversNothing(t *testing.T) {
	t.Parallel()
	a := newAuditedCluster(t, nil)
	a.document = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: audit}
spec:
  cluster: {domain: cluster.local}
  dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}
`
	replaceFile(t, a.policyFile, a.document)
	a.install()
	runAsPod(t, a.Cluster, a.kubelet, a.start("", "--cluster-access=false").Webhook, plainPod("shorthop-0"))

	run := a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-A", "-o", "json")
	report := run.report(t)
	if p := report.Policy; p.From != "pod shorthop-0" || !p.GatesKnown || !p.DiscoveryKnown {
		t.Errorf("the policy is %+v: %s", p, run.stderr)
	}
	if run.code != 0 || report.Pods != 1 { // Shorthop's own
		t.Errorf("%d pods, exit code %d: %s", report.Pods, run.code, run.stderr)
	}
}
