package mutate_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// TestReviewOfEphemeralContainers: an update that adds ephemeral containers.
func TestReviewOfEphemeralContainers(t *testing.T) {
	t.Parallel()
	forEachTrial(t, 600, func(x *trial) {
		x.request.Operation = policy.OperationAddEphemeralContainer
		for i := range x.rng.IntN(4) { // the generator's containers have all that matters here
			if i >= len(x.typed.Spec.Containers) {
				break
			}
			c := &x.typed.Spec.Containers[i]
			x.typed.Spec.EphemeralContainers = append(x.typed.Spec.EphemeralContainers, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: fmt.Sprintf("debug-%d", i), Image: "busybox", Env: c.Env},
			})
		}
		old := x.typed.DeepCopy()
		n := len(old.Spec.EphemeralContainers)
		old.Spec.EphemeralContainers = old.Spec.EphemeralContainers[:x.rng.IntN(n+1)]
		x.request.OldPod = decode(t, x.marshal(old))
		x.json = x.marshal(x.typed)

		patched, result := x.patched(x.policy, x.json)
		if result.Decision.DNS.Injects() {
			x.failf("DNS of a running pod is changed")
		}
		before, err := toObject(x.json)
		if err != nil {
			x.failf("%v", err)
		}
		after, err := toObject(patched)
		if err != nil {
			x.failf("%v", err)
		}
		was, is := listIn(asObject(before["spec"]), "ephemeralContainers"), listIn(asObject(after["spec"]), "ephemeralContainers")
		for i := range was {
			w, s := asObject(was[i]), asObject(is[i])
			existed := slices.ContainsFunc(old.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == w["name"] })
			wasEnv := listIn(w, "env")
			want := wasEnv
			if !existed {
				want = slices.Concat(expectedVariables(&result.Decision.ServiceHost, w, s), wasEnv)
			}
			if got := listIn(s, "env"); len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
				x.failf("ephemeral container %v has %v, want %v", w["name"], got, want)
			}
			delete(w, "env")
			delete(s, "env")
		}
		if !reflect.DeepEqual(before, after) {
			x.failf("more than variables changed: %s", patchOf(t, result))
		}
	})
}
