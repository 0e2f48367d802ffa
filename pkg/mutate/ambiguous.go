package mutate

import (
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
)

// ambiguous returns the names that more than one container of a pod has, nil where
// there are none. The API server refuses such a pod, but webhooks see it first: by
// name, which is all that a record has, its containers cannot be told apart.
func ambiguous(pod *policy.Pod) map[string]bool {
	const few = 8 // that are compared without a map
	all, names := [][]policy.Container{pod.Spec.InitContainers, pod.Spec.Containers}, map[string]bool(nil)
	if len(all[0])+len(all[1]) <= few {
		var seen [few]string
		n := 0
		for _, list := range all {
			for i := range list {
				if slices.Contains(seen[:n], list[i].Name) {
					names = with(names, list[i].Name)
				}
				seen[n] = list[i].Name
				n++
			}
		}
		return names
	}
	seen := map[string]bool{}
	for _, list := range all {
		for i := range list {
			if seen[list[i].Name] {
				names = with(names, list[i].Name)
			}
			seen[list[i].Name] = true
		}
	}
	return names
}

func with(names map[string]bool, name string) map[string]bool {
	if names == nil {
		names = map[string]bool{}
	}
	names[name] = true
	return names
}
