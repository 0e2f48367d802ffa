package mutate_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// TestReviewUnderAnotherPolicy: a pod that was patched under one policy comes
// back under another, as pods do that are saved and created again.
func TestReviewUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	policies := propertyPolicies(t)
	var (
		mu       sync.Mutex
		compared = map[string]int{}
	)
	t.Run("trials", func(t *testing.T) {
		forEachTrial(t, 2500, func(x *trial) {
			if x.odd {
				return
			}
			other := policies[x.rng.IntN(len(policies))]
			x.json = x.typedRoundTrip(x.json)
			under, first := x.patched(other, x.json)
			x.request.Pod = decode(t, x.json)
			last, lastResult := x.patched(x.policy, x.typedRoundTrip(under))
			if first.RecordReason != "" {
				return // what the first policy did counts as the user's
			}
			direct, directResult := x.patched(x.policy, x.json)
			if !sameFeatures(&directResult.Decision, &lastResult.Decision) {
				x.failf("after policy %s the decision differs: %+v, want %+v", other.Name(), lastResult.Decision, directResult.Decision)
			}

			want, got, fresh := decode(t, under), decode(t, last), decode(t, direct)
			wantOptions, gotOptions, freshOptions := x.takeResOptions(want), x.takeResOptions(got), x.takeResOptions(fresh)
			if through := &directResult.Decision.Fallthrough; through.Injects() || !x.stays(policy.FeatureFallthrough, x.policy, through.Outcome) {
				wantOptions = freshOptions
			}
			if !slices.Equal(wantOptions, gotOptions) {
				x.failf("after policy %s RES_OPTIONS are %q, want %q", other.Name(), gotOptions, wantOptions)
			}
			if !x.stays(policy.FeatureServiceHost, x.policy, directResult.Decision.ServiceHost.Outcome) {
				copyServiceHost(want, fresh)
			}
			switch now := directResult.Decision.DNS; {
			case now.Injects():
				copyDNS(want, decode(t, direct))
				setPinned(want, decode(t, direct).Metadata.Labels)
			case !x.stays(policy.FeatureDNS, x.policy, now.Outcome):
				copyDNS(want, decode(t, direct))
				// A value of the user's does not come back, and goes with any patch.
				if first.Decision.DNS.Injects() || len(lastResult.Operations) > 0 {
					setPinned(want, nil)
				}
			case !first.Decision.DNS.Injects() && len(lastResult.Operations) > 0:
				// The key is ours: a review that patches anything takes
				// somebody else's value out, though DNS stays as it is.
				setPinned(want, nil)
			}
			if diff := diffPods(withoutRecord(want), withoutRecord(got)); diff != "" {
				x.failf("after policy %s (-want +got):\n%s", other.Name(), diff)
			}
			if lastResult.RecordReason != "" {
				return
			}
			if diff := diffPods(withoutOurKeys(decode(t, x.json)), withoutOurKeys(mutate.Undo(decode(t, last)))); diff != "" {
				x.failf("Undo after policy %s and this one (-want +got):\n%s", other.Name(), diff)
			}
			mu.Lock()
			defer mu.Unlock()
			compared[fmt.Sprintf("service host %t to %t", first.Decision.ServiceHost.Injects(), directResult.Decision.ServiceHost.Injects())]++
			compared[fmt.Sprintf("fallthrough %s to %s", first.Decision.Fallthrough.Carrier, directResult.Decision.Fallthrough.Carrier)]++
			compared[fmt.Sprintf("dns %s to %s", first.Decision.DNS.Mode, directResult.Decision.DNS.Mode)]++
		})
	})
	for _, kind := range []string{
		"service host true to true", "service host true to false", "service host false to true",
		"dns Options to Options", "dns Options to NodeLocal", "dns NodeLocal to Options", "dns NodeLocal to NodeLocal", "dns NodeLocal to ", "dns  to NodeLocal",
		"fallthrough RES_OPTIONS to ", "fallthrough  to RES_OPTIONS", "fallthrough RES_OPTIONS to RES_OPTIONS", "fallthrough  to resolv.conf",
	} {
		if compared[kind] == 0 && !testing.Short() {
			t.Errorf("%s: never compared", kind)
		}
	}
	t.Log(compared)
}

// stayReasons are the skips that leave on a pod what an earlier review put
// there, written down once more.
var stayReasons = []policy.Reason{
	"disabled_by_pod_label", "disabled_by_namespace_label", "namespace_closed", "excluded_namespace", "mode_off",
	"operation", "mirror_pod", "namespace_unknown", "object_size", "ephemeral_container", "no_new_container",
}

// stays reports whether a skip leaves on the pod what an earlier review put
// there: for its reason, or because a label asks for it, which is asked after
// two reasons that do not.
func (x *trial) stays(f policy.Feature, compiled *policy.Compiled, o policy.Outcome) bool {
	early := o.Reason == policy.ReasonDNSPod || o.Reason == policy.ReasonFeatureDisabled
	return slices.Contains(stayReasons, o.Reason) || early && compiled.LeavesAlone(f, &x.request)
}

// takeResOptions takes RES_OPTIONS out of the containers that have none in the
// trial's pod, and returns them.
func (x *trial) takeResOptions(pod *policy.Pod) []string {
	original := decode(x.t, x.json)
	named := func(v policy.EnvVar) bool { return v.Name == policy.EnvResOptions }
	var taken []string
	for at, list := range [][]policy.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		users := [][]policy.Container{original.Spec.InitContainers, original.Spec.Containers}[at]
		for i := range list {
			value := ""
			if j := slices.IndexFunc(list[i].Env, named); j >= 0 && !slices.ContainsFunc(users[i].Env, named) {
				value = list[i].Env[j].Value
				if list[i].Env = slices.Delete(list[i].Env, j, j+1); len(list[i].Env) == 0 {
					list[i].Env = nil
				}
			}
			taken = append(taken, value)
		}
	}
	return taken
}

func copyServiceHost(to, from *policy.Pod) {
	to.Spec.InitContainers, to.Spec.Containers = from.Spec.InitContainers, from.Spec.Containers
}

func copyDNS(to, from *policy.Pod) {
	to.Spec.DNSPolicy, to.Spec.DNSConfig = from.Spec.DNSPolicy, from.Spec.DNSConfig
}

// setPinned gives the pod the label that labels have.
func setPinned(pod *policy.Pod, labels map[string]string) {
	changed := map[string]string{}
	maps.Copy(changed, pod.Metadata.Labels)
	delete(changed, policy.LabelPinned)
	if value, ok := labels[policy.LabelPinned]; ok {
		changed[policy.LabelPinned] = value
	}
	pod.Metadata.Labels = changed
}

func withoutRecord(pod *policy.Pod) *policy.Pod {
	bare := *pod
	bare.Metadata.Annotations = maps.Clone(pod.Metadata.Annotations)
	delete(bare.Metadata.Annotations, policy.AnnotationInjected)
	return &bare
}
