package mutate_test

import (
	"encoding/json"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
)

// The bits of FuzzReview's flags; the rest chooses the policy.
const (
	flagNamespaceUnknown = 1 << iota
	flagNamespaceClosed
	flagEphemeral
	flagForge // give the pod's record the right checksum
	flagBits  = iota
)

// FuzzReview reviews whatever decodes as a pod. Only what the API server
// or its validation guarantees is taken for granted: metadata and spec are
// objects, containers are objects with names of their own, and no object has a
// key twice.
func FuzzReview(f *testing.F) {
	policies := propertyPolicies(f)
	for i, file := range caseFiles(f) {
		c := readCase(f, file)
		flags := uint16(i % len(policies) << flagBits)
		f.Add(c.pod, flags)
		f.Add(c.incoming(f), flags|flagForge)
		if c.request.Operation == policy.OperationAddEphemeralContainer {
			f.Add(c.pod, flags|flagEphemeral)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, flags uint16) {
		document, ok := podDocument(t, text, flags&flagForge != 0)
		if !ok {
			return
		}
		compiled := policies[int(flags>>flagBits)%len(policies)]
		request := policy.Request{
			Operation:      policy.OperationCreatePod,
			Namespace:      "shop",
			NamespaceKnown: flags&flagNamespaceUnknown == 0,
		}
		if flags&flagNamespaceClosed != 0 {
			request.NamespaceLabels = map[string]string{policy.LabelInject: "disabled"}
		}
		if flags&flagEphemeral != 0 {
			request.Operation = policy.OperationAddEphemeralContainer
		}

		review := func(pod []byte) mutate.Result {
			r := request
			r.Pod, r.ObjectSize = decode(t, pod), len(pod)
			return mutate.Review(compiled, r)
		}
		result := review(document)
		patch := patchOf(t, result)
		for _, op := range result.Operations {
			if err := allowedOperation(op, request.Operation); err != nil {
				t.Fatal(err)
			}
		}
		patched := apply(t, document, patch)
		if second := review(patched); len(second.Operations) > 0 {
			t.Fatalf("a second review has operations: %s\nafter: %s", patchOf(t, second), patch)
		}
		if request.Operation == policy.OperationCreatePod && result.RecordReason == "" {
			if diff := diffPods(result.Request.Pod, mutate.Undo(decode(t, patched))); diff != "" {
				t.Fatalf("Undo (-want +got):\n%s\npatch: %s", diff, patch)
			}
		}
	})
}

// podDocument writes a document as the API server would, if it is a pod at
// all.
func podDocument(t *testing.T, text []byte, forge bool) ([]byte, bool) {
	o, err := toObject(text)
	if err != nil {
		return nil, false
	}
	metadata, spec := asObject(o["metadata"]), asObject(o["spec"])
	if metadata == nil || spec == nil {
		return nil, false
	}
	names := map[any]bool{}
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, c := range listIn(spec, list) {
			container := asObject(c)
			if container == nil || names[container["name"]] {
				return nil, false
			}
			names[container["name"]] = true
		}
	}
	document, err := json.Marshal(o)
	if err != nil {
		return nil, false
	}
	pod, err := tryDecode(document)
	if err != nil {
		return nil, false
	}
	if !forge {
		return document, true
	}
	record, ok := mutate.Reseal(pod)
	if !ok {
		return document, true
	}
	annotations := asObject(metadata["annotations"])
	annotations[policy.AnnotationInjected] = record
	document = jsontest.Marshal(t, o)
	return document, true
}
