package mutate_test

import (
	"fmt"
	"maps"
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
			last, lastResult := x.patched(x.policy, x.typedRoundTrip(under))
			if first.RecordReason != "" {
				return // what the first policy did counts as the user's
			}
			direct, directResult := x.patched(x.policy, x.json)
			if !sameFeatures(&directResult.Decision, &lastResult.Decision) {
				x.failf("after policy %s the decision differs: %+v, want %+v", other.Name(), lastResult.Decision, directResult.Decision)
			}

			want, got := decode(t, under), decode(t, last)
			if directResult.Decision.ServiceHost.Injects() {
				copyServiceHost(want, decode(t, direct))
			}
			if directResult.Decision.DNS.Injects() {
				copyDNS(want, decode(t, direct))
			}
			if diff := diffPods(withoutRecord(want), withoutRecord(got)); diff != "" {
				x.failf("after policy %s (-want +got):\n%s", other.Name(), diff)
			}
			if lastResult.RecordReason != "" {
				return
			}
			if diff := diffPods(withoutOurKeys(decode(t, x.json)), withoutOurKeys(mutate.Undo(got))); diff != "" {
				x.failf("Undo after policy %s and this one (-want +got):\n%s", other.Name(), diff)
			}
			mu.Lock()
			defer mu.Unlock()
			compared[fmt.Sprintf("service host %t to %t", first.Decision.ServiceHost.Injects(), directResult.Decision.ServiceHost.Injects())]++
			compared[fmt.Sprintf("dns %s to %s", first.Decision.DNS.Mode, directResult.Decision.DNS.Mode)]++
		})
	})
	for _, kind := range []string{
		"service host true to true", "service host true to false", "service host false to true",
		"dns Options to Options", "dns Options to NodeLocal", "dns NodeLocal to Options", "dns NodeLocal to NodeLocal", "dns NodeLocal to ", "dns  to NodeLocal",
	} {
		if compared[kind] == 0 {
			t.Errorf("%s: never compared", kind)
		}
	}
	t.Log(compared)
}

func copyServiceHost(to, from *policy.Pod) {
	to.Spec.InitContainers, to.Spec.Containers = from.Spec.InitContainers, from.Spec.Containers
}

func copyDNS(to, from *policy.Pod) {
	to.Spec.DNSPolicy, to.Spec.DNSConfig = from.Spec.DNSPolicy, from.Spec.DNSConfig
	labels := maps.Clone(to.Metadata.Labels)
	delete(labels, policy.LabelPinned)
	if value, ok := from.Metadata.Labels[policy.LabelPinned]; ok {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[policy.LabelPinned] = value
	}
	to.Metadata.Labels = labels
}

func withoutRecord(pod *policy.Pod) *policy.Pod {
	bare := *pod
	bare.Metadata.Annotations = maps.Clone(pod.Metadata.Annotations)
	delete(bare.Metadata.Annotations, policy.AnnotationInjected)
	return &bare
}
