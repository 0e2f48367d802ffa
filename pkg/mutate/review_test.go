package mutate_test

import (
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// The options of a pod may have room behind them, which may belong to
// something else.
func TestReviewWritesNothingBehindTheOptions(t *testing.T) {
	t.Parallel()
	compiled := compile(t, []byte("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec: {dns: {}}\n"), "")
	options := []policy.DNSOption{{Name: "edns0"}, {Name: "rotate"}}
	pod := &policy.Pod{Spec: policy.PodSpec{
		Containers: []policy.Container{{Name: "app"}},
		DNSConfig:  &policy.DNSConfig{Options: options[:1]},
	}}
	result := mutate.Review(compiled, policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true, Pod: pod,
	})
	if len(result.Operations) == 0 {
		t.Fatal("no operations")
	}
	if options[1].Name != "rotate" {
		t.Errorf("the option behind the pod's is %s now", options[1].Name)
	}
}

// Undo leaves alone what it gets: the admission server decides on its result
// and patches the pod itself.
func TestUndoDoesNotChangeThePod(t *testing.T) {
	t.Parallel()
	for _, file := range caseFiles(t) {
		c := readCase(t, file)
		document := c.incoming(t)
		document = apply(t, document, patchOf(t, c.review(t, c.compiled, document)))
		pod := decode(t, document)
		mutate.Undo(pod)
		if diff := diffPods(decode(t, document), pod); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file.Path, diff)
		}
	}
}

// DryRun shows the operations that Enforce would make. They differ in the
// policy's hash.
func TestDryRunShowsWhatEnforceWouldDo(t *testing.T) {
	t.Parallel()
	const spec = "serviceHost: {host: api.example.com}, dns: {}}\n"
	header := "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec: {"
	review := func(mode string) mutate.Result {
		return mutate.Review(compile(t, []byte(header+"mode: "+mode+", "+spec), ""), policy.Request{
			Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true,
			Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{{Name: "app"}}}},
		})
	}
	enforce, dryRun := review("Enforce"), review("DryRun")
	if enforce.DryRun() || !dryRun.DryRun() {
		t.Errorf("DryRun is %t in mode Enforce and %t in mode DryRun", enforce.DryRun(), dryRun.DryRun())
	}
	if len(enforce.Operations) != len(dryRun.Operations) || len(enforce.Operations) == 0 {
		t.Fatalf("%d operations in mode Enforce, %d in mode DryRun", len(enforce.Operations), len(dryRun.Operations))
	}
	for i := range enforce.Operations {
		if e, d := enforce.Operations[i], dryRun.Operations[i]; e.Operation != d.Operation || e.Path != d.Path {
			t.Errorf("operation %d: %s %s in mode Enforce, %s %s in mode DryRun", i, e.Operation, e.Path, d.Operation, d.Path)
		}
	}
}

// The API server refuses a pod with two containers of one name, but sees it after us: until then neither is taken for the
// other, so both get the variables and neither is recorded.
func TestContainersOfOneNameAreNotRecorded(t *testing.T) {
	t.Parallel()
	compiled := compile(t, []byte("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\n"+
		"spec: {serviceHost: {host: api.example.com}, dns: {}, resolvers: [{images: ['*'], resolver: glibc}]}\n"), "")
	for others, want := range map[string]string{
		`,{"name":"other"}`: `"containers":["other"],"resOptionsContainers":["other"]`,
		``:                  compiled.Hash() + `","dns":"Options","added":{"options":["ndots"]`, // and nothing of the variables
	} {
		pod := []byte(`{"metadata":{},"spec":{"containers":[{"name":"app"},{"name":"app"}` + others + `]}}`)
		result := mutate.Review(compiled, policy.Request{
			Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true, Pod: decode(t, pod), ObjectSize: len(pod),
		})
		patched := decode(t, apply(t, pod, patchOf(t, result)))
		for i, container := range patched.Spec.Containers {
			if len(container.Env) != 2 {
				t.Errorf("container %d has the variables %v", i, container.Env)
			}
		}
		if record := patched.Metadata.Annotations[policy.AnnotationInjected]; !strings.Contains(record, want) {
			t.Errorf("the record is %s, want %s", record, want)
		}
	}
}
