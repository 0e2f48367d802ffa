package policy_test

import (
	"fmt"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// deploymentPod is a pod of the Deployment workload, of one of its
// ReplicaSets.
func deploymentPod(namespace, workload, hash string) *policy.Request {
	return ownedPod(namespace, "ReplicaSet", workload+"-"+hash, map[string]string{"pod-template-hash": hash})
}

func ownedPod(namespace, kind, name string, labels map[string]string) *policy.Request {
	request := ordinaryRequest()
	request.Namespace = namespace
	request.Pod.Metadata = policy.PodMetadata{
		GenerateName:    name + "-",
		Labels:          labels,
		OwnerReferences: []policy.OwnerReference{{Kind: kind, Name: name, Controller: true}},
	}
	return request
}

// rolloutWorkloads are 10,000 workloads of the kinds and names that clusters
// have, each with two pods of different generations.
func rolloutWorkloads() [][2]*policy.Request {
	var all [][2]*policy.Request
	for i := range 10_000 {
		namespace := fmt.Sprintf("team-%d", i%200)
		switch name := fmt.Sprintf("%s-%d", []string{"web", "worker", "api", "billing-sync"}[i%4], i/200); i % 8 {
		case 4: // of Argo Rollouts
			all = append(all, [2]*policy.Request{
				ownedPod(namespace, "ReplicaSet", name+"-6f8d9c7b4", map[string]string{"rollouts-pod-template-hash": "6f8d9c7b4"}),
				ownedPod(namespace, "ReplicaSet", name+"-7c6d9f8b5", map[string]string{"rollouts-pod-template-hash": "7c6d9f8b5"}),
			})
		case 5: // of OpenShift
			labels := map[string]string{"deploymentconfig": name}
			all = append(all, [2]*policy.Request{
				ownedPod(namespace, "ReplicationController", name+"-9", labels), ownedPod(namespace, "ReplicationController", name+"-10", labels),
			})
		case 6: // a revision of Knative
			labels := map[string]string{policy.LabelWorkload: name}
			all = append(all, [2]*policy.Request{
				ownedPod(namespace, "ReplicaSet", name+"-00001-deployment-5d4f8c7b9", labels), ownedPod(namespace, "ReplicaSet", name+"-00002-deployment-7c6d9f8b5", labels),
			})
		case 0, 1, 2:
			all = append(all, [2]*policy.Request{
				deploymentPod(namespace, name, "5d4f8c7b9"), deploymentPod(namespace, name, "7c6d9f8b5"),
			})
		case 3:
			all = append(all, [2]*policy.Request{
				ownedPod(namespace, "Job", name+"-29384650", nil), ownedPod(namespace, "Job", name+"-29384655", nil),
			})
		default:
			first, second := ownedPod(namespace, "StatefulSet", name, nil), ownedPod(namespace, "StatefulSet", name, nil)
			first.Pod.Metadata.Name, second.Pod.Metadata.Name = name+"-0", name+"-1"
			all = append(all, [2]*policy.Request{first, second})
		}
	}
	return all
}

// TestRollout raises the percentage, the policy's and a rule's, over 10,000
// workloads: the share is within one percentage point of what is asked for, no
// workload that is in drops out, and all pods of one agree, also after a new
// ReplicaSet or the next Job of a CronJob.
func TestRollout(t *testing.T) {
	t.Parallel()
	workloads := rolloutWorkloads()
	for name, document := range map[string]string{
		"the policy's": "  rollout: {percent: %d}\n  dns: {}\n",
		"a rule's":     "  rollout: {percent: 0}\n  dns: {}\n  rules: [{name: all, rollout: {percent: %d}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := make([]bool, len(workloads))
			for _, percent := range []int{0, 1, 2, 5, 10, 20, 25, 33, 50, 66, 75, 90, 95, 99, 100} {
				compiled := compile(t, header+fmt.Sprintf(document, percent))
				selected := func(request *policy.Request) bool {
					d := compiled.Decide(request)
					if !d.DNS.Injects() && d.DNS.Reason != policy.ReasonRollout {
						t.Fatalf("reason %s", d.DNS.Reason)
					}
					return d.DNS.Injects()
				}
				n := 0
				for i, pods := range workloads {
					now := selected(pods[0])
					if now {
						n++
					}
					if in[i] && !now {
						t.Errorf("%s %s is in at less than %d percent and out there", pods[0].Namespace, pods[0].Pod.Workload(), percent)
					}
					in[i] = now
					if selected(pods[1]) != now {
						t.Errorf("two pods of %s %s differ at %d percent", pods[0].Namespace, pods[0].Pod.Workload(), percent)
					}
				}
				if share := float64(n) * 100 / float64(len(workloads)); share < float64(percent)-1 || share > float64(percent)+1 {
					t.Errorf("%.2f percent of the workloads at %d percent", share, percent)
				}
				if percent == 0 && n != 0 || percent == 100 && n != len(workloads) {
					t.Errorf("%d of %d workloads at %d percent", n, len(workloads), percent)
				}
			}
		})
	}
}

// The share that a workload is first in at does not change from release to
// release: raising the edition must not roll anything out or back.
func TestRolloutKeepsBuckets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request *policy.Request
		first   int
	}{
		"a Deployment":  {deploymentPod("shop", "web", "5d4f8c7b9"), 52},
		"a StatefulSet": {ownedPod("shop", "StatefulSet", "db", nil), 74},
		"a DaemonSet":   {ownedPod("monitoring", "DaemonSet", "agent", nil), 38},
		"a CronJob":     {ownedPod("shop", "Job", "fetch-29384650", nil), 23},
		"a Job":         {ownedPod("shop", "Job", "import", nil), 89},
	} {
		for percent := range 101 {
			compiled := compile(t, header+fmt.Sprintf("  rollout: {percent: %d}\n  dns: {}\n", percent))
			if got, want := compiled.Decide(test.request).DNS.Injects(), percent >= test.first; got != want {
				t.Errorf("%s is in at %d percent: %t, want %t", name, percent, got, want)
				break
			}
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
