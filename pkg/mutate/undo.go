package mutate

import (
	"maps"
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Undo returns the pod without what an earlier review added, as far as the
// pod's record can be trusted: a record that is missing, damaged or does not
// describe the pod takes nothing out but itself. The pod is not changed; what
// the result does not need to change it shares with it.
//
// The keys policy.AnnotationInjected and policy.LabelPinned are ours. A value
// that somebody else gave them does not come back.
func Undo(pod *policy.Pod) *policy.Pod {
	_, annotated := pod.Metadata.Annotations[policy.AnnotationInjected]
	_, pinned := pod.Metadata.Labels[policy.LabelPinned]
	if !annotated && !pinned {
		return pod
	}
	original := *pod
	original.Metadata.Annotations = without(pod.Metadata.Annotations, policy.AnnotationInjected)
	original.Metadata.Labels = without(pod.Metadata.Labels, policy.LabelPinned)
	record, ok := ReadRecord(pod)
	if !ok {
		return &original
	}
	if record.ServiceHost != "" {
		original.Spec.InitContainers = record.undoContainers(pod.Spec.InitContainers)
		original.Spec.Containers = record.undoContainers(pod.Spec.Containers)
	}
	if record.DNS != "" {
		original.Spec.DNSConfig = record.undoDNSConfig(pod.Spec.DNSConfig)
		if record.Added.DNSPolicy != nil {
			original.Spec.DNSPolicy = *record.Added.DNSPolicy
		}
	}
	return &original
}

// without returns the map without a key; nil where nothing is left, as the API
// server would store it.
func without(m map[string]string, key string) map[string]string {
	if _, ok := m[key]; !ok {
		return m
	}
	if len(m) == 1 {
		return nil
	}
	rest := maps.Clone(m)
	delete(rest, key)
	return rest
}

func (r *Record) undoContainers(containers []policy.Container) []policy.Container {
	undone := slices.Clone(containers)
	for i := range undone {
		if !slices.Contains(r.Added.Containers, undone[i].Name) || !r.isOurs(undone[i].Env) {
			continue
		}
		env := slices.Clone(undone[i].Env[r.variables():])
		if len(env) == 0 {
			env = nil
		}
		undone[i].Env = env
	}
	return undone
}

// variables is how many variables a container got.
func (r *Record) variables() int {
	if r.Added.Port != "" {
		return 2
	}
	return 1
}

// isOurs reports whether a container's env begins with what we put there.
func (r *Record) isOurs(env []policy.EnvVar) bool {
	want := variablesFor(r.ServiceHost, r.Added.Port)
	return len(env) >= len(want) && slices.Equal(env[:len(want)], want)
}

func (r *Record) undoDNSConfig(config *policy.DNSConfig) *policy.DNSConfig {
	if config == nil {
		return nil
	}
	a := &r.Added
	undone := policy.DNSConfig{
		Nameservers: nilIfEmpty(config.Nameservers[a.Nameservers:]),
		Searches:    nilIfEmpty(config.Searches[a.Searches:]),
	}
	options := slices.Clone(config.Options)
	for _, name := range a.Options {
		if i := optionIndex(options, name); i >= 0 {
			options = slices.Delete(options, i, i+1)
		}
	}
	undone.Options = nilIfEmpty(options)
	if a.DNSConfig && len(undone.Nameservers)+len(undone.Searches)+len(undone.Options) == 0 {
		return nil
	}
	return &undone
}

func nilIfEmpty[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
