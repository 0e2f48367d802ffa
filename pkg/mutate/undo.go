package mutate

import (
	"maps"
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Undo returns the pod without what an earlier review added, as far as the
// pod's record can be believed (ReadRecord): a record that is missing or
// damaged takes nothing out but itself, and a feature that does not describe
// the pod stays on it. The pod is not changed; what the result does not need to
// change it shares with it.
//
// The keys policy.AnnotationInjected and policy.LabelPinned are ours. A value
// that somebody else gave them does not come back.
func Undo(pod *policy.Pod) *policy.Pod {
	reading := ReadRecord(pod)
	return reading.undo(pod)
}

// undo is Undo of a pod with this record.
func (r *Record) undo(pod *policy.Pod) *policy.Pod {
	_, annotated := pod.Metadata.Annotations[policy.AnnotationInjected]
	_, pinned := pod.Metadata.Labels[policy.LabelPinned]
	if !annotated && !pinned {
		return pod
	}
	original := *pod
	original.Metadata.Annotations = without(pod.Metadata.Annotations, policy.AnnotationInjected)
	original.Metadata.Labels = without(pod.Metadata.Labels, policy.LabelPinned)
	if r.ServiceHost != "" || r.ResOptions != "" {
		original.Spec.InitContainers = r.undoContainers(pod.Spec.InitContainers)
		original.Spec.Containers = r.undoContainers(pod.Spec.Containers)
	}
	if r.DNS != "" {
		original.Spec.DNSConfig = r.undoDNSConfig(pod.Spec.DNSConfig)
		if r.Added.DNSPolicy != nil {
			original.Spec.DNSPolicy = *r.Added.DNSPolicy
		}
	}
	return &original
}

// without returns the map without a key.
func without(m map[string]string, key string) map[string]string {
	if _, ok := m[key]; !ok {
		return m
	}
	rest := maps.Clone(m)
	delete(rest, key)
	return rest
}

func (r *Record) undoContainers(containers []policy.Container) []policy.Container {
	undone := slices.Clone(containers)
	for i := range undone {
		at := r.oursIn(&undone[i], true, true)
		if len(at) == 0 {
			continue
		}
		env := slices.Clone(undone[i].Env)
		for _, j := range slices.Backward(at) {
			env = slices.Delete(env, j, j+1)
		}
		undone[i].Env = env
	}
	return undone
}

func (r *Record) undoDNSConfig(config *policy.DNSConfig) *policy.DNSConfig {
	if config == nil {
		return nil
	}
	a := &r.Added
	undone := policy.DNSConfig{
		Nameservers: takeFromFront(config.Nameservers, a.Nameservers, a.UserNameservers),
		Searches:    takeFromFront(config.Searches, a.Searches, a.UserSearches),
	}
	for _, search := range a.ExtraSearches {
		if i := slices.Index(undone.Searches, search); i >= 0 {
			undone.Searches = slices.Delete(undone.Searches, i, i+1)
		}
	}
	undone.Options = slices.Clone(config.Options)
	for _, name := range a.Options {
		if i := optionIndex(undone.Options, name); i >= 0 {
			undone.Options = slices.Delete(undone.Options, i, i+1)
		}
	}
	if a.DNSConfig && len(undone.Nameservers)+len(undone.Searches)+len(undone.Options) == 0 {
		return nil
	}
	return &undone
}
