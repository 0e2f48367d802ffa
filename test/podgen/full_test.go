package podgen_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/test/podgen"
)

// TestEveryFieldIsSet fails when the API types have a field that the generator never sets, and when the list of fields
// that cannot be set has an entry without use. Print the figures with -v.
func TestEveryFieldIsSet(t *testing.T) {
	t.Parallel()

	const drawn = 4000
	seen := map[string]int{}
	rng := source(7)
	for i := range drawn {
		pod := podgen.Full(rng, "shop")
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{podgen.EphemeralContainer(rng, pod, fmt.Sprintf("debug-%d", i))}
		podgen.CountFields(pod, seen)
	}

	unsettable := podgen.Unsettable()
	used := map[string]bool{}
	fields, settable, rarest := podgen.Fields(), 0, ""
	for _, field := range fields {
		entry := ""
		for path := range unsettable {
			if podgen.Below(field, path) {
				entry = path
			}
		}
		switch {
		case entry != "" && seen[field] > 0:
			t.Errorf("%s is set, and listed as one that cannot be (%s: %s)", field, entry, unsettable[entry])
		case entry != "":
			used[entry] = true
		case seen[field] == 0:
			t.Errorf("%s is set in none of %d pods: draw it, or list it with the reason why it cannot be", field, drawn)
		default:
			settable++
			if rarest == "" || seen[field] < seen[rarest] {
				rarest = field
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(unsettable)) {
		if !used[path] {
			t.Errorf("%s is listed as one that cannot be set, and is no field", path)
		}
	}
	t.Logf("%d pods set %d of %d fields; %d cannot be set; the rarest, %s, is set %d times",
		drawn, settable, len(fields), len(fields)-settable, rarest, seen[rarest])
}
