package policy_test

import (
	"fmt"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// deploymentPod is a pod of the Deployment workload, of one of its
// ReplicaSets.
func deploymentPod(namespace, workload, hash string) *policy.Request {
	request := ordinaryRequest()
	request.Namespace = namespace
	request.Pod.Metadata = policy.PodMetadata{
		GenerateName:    workload + "-" + hash + "-",
		Labels:          map[string]string{"pod-template-hash": hash},
		OwnerReferences: []policy.OwnerReference{{Kind: "ReplicaSet", Name: workload + "-" + hash, Controller: true}},
	}
	return request
}

// TestRollout follows a thousand workloads from 0 to 100 percent.
func TestRollout(t *testing.T) {
	t.Parallel()
	const workloads = 1000
	out := map[int]bool{}
	for percent := range 101 {
		compiled := compile(t, header+fmt.Sprintf("  rollout: {percent: %d}\n  dns: {}\n", percent))
		selected := func(namespace, workload, hash string) bool {
			d := compiled.Decide(deploymentPod(namespace, workload, hash))
			if !d.DNS.Injects() && d.DNS.Reason != policy.ReasonRollout {
				t.Fatalf("reason %s", d.DNS.Reason)
			}
			return d.DNS.Injects()
		}
		n := 0
		for i := range workloads {
			namespace, workload := fmt.Sprintf("team-%d", i%50), fmt.Sprintf("web-%d", i)
			in := selected(namespace, workload, "5d4f8c7b9")
			if in {
				n++
			}
			if out[i] && !in {
				t.Errorf("%s/%s is in at less than %d percent and out there", namespace, workload, percent)
			}
			out[i] = in
			if other := selected(namespace, workload, "7c6d9f8b5"); other != in {
				t.Errorf("two pods of %s/%s differ at %d percent", namespace, workload, percent)
			}
		}
		switch share := float64(n) * 100 / workloads; {
		case percent == 0 && n != 0, percent == 100 && n != workloads:
			t.Errorf("%d of %d workloads at %d percent", n, workloads, percent)
		case share < float64(percent)-5 || share > float64(percent)+5:
			t.Errorf("%v percent of the workloads at %d percent", share, percent)
		}
	}
}

// Workloads of one name in many namespaces are not all in or all out.
func TestRolloutTellsNamespacesApart(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+"  rollout: {percent: 50}\n  dns: {}\n")
	n := 0
	for i := range 200 {
		if compiled.Decide(deploymentPod(fmt.Sprintf("team-%d", i), "web", "5d4f8c7b9")).DNS.Injects() {
			n++
		}
	}
	if n < 70 || n > 130 {
		t.Errorf("%d of 200 namespaces at 50 percent", n)
	}
}
