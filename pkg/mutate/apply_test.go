package mutate_test

import (
	"maps"
	"reflect"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func compile(t testing.TB, document []byte, ownNamespace string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, document, ownNamespace)
}

// patchOf is the patch as the API server gets it; an empty array where nothing
// changes.
func patchOf(t testing.TB, r mutate.Result) []byte {
	t.Helper()
	if len(r.Operations) == 0 {
		return []byte("[]")
	}
	return jsontest.Marshal(t, r.Operations)
}

// apply applies a JSON Patch with the library of the API server.
func apply(t testing.TB, document, patch []byte) []byte {
	t.Helper()
	return reviewtest.Patch(t, document, patch)
}

func decode(t testing.TB, document []byte) *policy.Pod {
	t.Helper()
	pod, err := tryDecode(document)
	if err != nil {
		t.Fatalf("pod cannot be decoded: %v\n%.4000s", err, document)
	}
	return pod
}

// tryDecode decodes a pod as the admission server does.
func tryDecode(document []byte) (*policy.Pod, error) {
	var pod policy.Pod
	err := jsonv2.Unmarshal(document, &pod, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return &pod, err
}

// diffPods compares what is read of pods. Whether an empty list or map is
// there makes no difference to anybody.
func diffPods(want, got *policy.Pod) string {
	if reflect.DeepEqual(want, got) { // much faster
		return ""
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// withoutOurKeys is a copy of the pod without the annotation and the label
// that are ours whoever wrote them.
func withoutOurKeys(pod *policy.Pod) *policy.Pod {
	bare := *pod
	strip := func(m map[string]string, key string) map[string]string {
		rest := maps.Clone(m)
		delete(rest, key)
		if len(rest) == 0 {
			return nil
		}
		return rest
	}
	bare.Metadata.Annotations = strip(pod.Metadata.Annotations, policy.AnnotationInjected)
	bare.Metadata.Labels = strip(pod.Metadata.Labels, policy.LabelPinned)
	return &bare
}
