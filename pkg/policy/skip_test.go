package policy_test

import (
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// A pod is patched up to the size at which the patch could take it above 1 MiB: 8 KiB for the pod, and 768 bytes for each of
// its containers, of whichever list.
func TestTheLargestPodsThatArePatched(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+"  dns: {}\n")
	for name, spec := range map[string]policy.PodSpec{
		"one container":        {Containers: make([]policy.Container, 1)},
		"many containers":      {Containers: make([]policy.Container, 500)},
		"init containers":      {InitContainers: make([]policy.Container, 40), Containers: make([]policy.Container, 1)},
		"ephemeral containers": {EphemeralContainers: make([]policy.Container, 30), Containers: make([]policy.Container, 1)},
	} {
		largest := 1<<20 - 8<<10 - 768*(len(spec.InitContainers)+len(spec.Containers)+len(spec.EphemeralContainers))
		for size, skipped := range map[int]bool{largest: false, largest + 1: true} {
			d := compiled.Decide(&policy.Request{
				Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true, Pod: &policy.Pod{Spec: spec}, ObjectSize: size,
			})
			if got := d.DNS.Reason == policy.ReasonObjectSize; got != skipped {
				t.Errorf("%s, %d bytes: dns is %s %s", name, size, d.DNS.Action, d.DNS.Reason)
			}
		}
	}
}
