package mutate_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// TestCases runs every case file, and then wants every reason to have been
// reached by one, and by one whose pod comes back with a record of ours.
func TestCases(t *testing.T) {
	t.Parallel()
	var (
		mu      sync.Mutex
		ran     int
		reached = map[policy.Reason]bool{}
		back    = map[policy.Reason]bool{}
	)
	files := caseFiles(t)
	t.Run("file", func(t *testing.T) {
		for _, file := range files {
			t.Run(file.Name(), func(t *testing.T) {
				t.Parallel()
				c := readCase(t, file)
				result := runCase(t, c)
				cameBack := c.cameBack(&result, decode(t, c.incoming(t)))
				mu.Lock()
				defer mu.Unlock()
				ran++
				reached[result.Decision.ServiceHost.Reason] = true
				reached[result.Decision.DNS.Reason] = true
				reached[result.Decision.Fallthrough.Reason] = true
				reached[result.Decision.Advice.Reason] = true
				reached[result.RecordReason] = true
				for _, reason := range cameBack {
					back[reason] = true
				}
			})
		}
	})
	for _, reason := range policy.Reasons() {
		if ran < len(files) {
			break // -run chose some
		}
		if !reached[reason.Reason] {
			t.Errorf("no case reaches reason %s: add one to testdata/cases", reason.Reason)
		}
		if !back[reason.Reason] {
			t.Errorf("no case has a pod that comes back under reason %s with a record of ours in its annotations: "+
				"add one to testdata/cases, as those that are called a-pod-that-comes-back-... are", reason.Reason)
		}
	}
}

func runCase(t *testing.T, c *testCase) mutate.Result {
	t.Helper()
	incoming := c.incoming(t)
	result := c.review(t, c.compiled, incoming)

	patch := c.patchText(t, &result)
	c.Expect(t, sectionDecision, decisionText(t, c.compiled, &result))
	c.Expect(t, sectionPatch, []byte(patch))

	inEnvironment := slices.ContainsFunc(result.Operations, func(o jsonpatch.Operation) bool { return strings.Contains(o.Path, "/env") })
	if inEnvironment != (result.ChangesServiceHost || result.ChangesResOptions) ||
		result.ChangesServiceHost && !strings.Contains(patch+string(incoming), policy.EnvServiceHost) ||
		result.ChangesResOptions && !strings.Contains(patch+string(incoming), policy.EnvResOptions) {
		t.Errorf("said to change: the service host %t, RES_OPTIONS %t", result.ChangesServiceHost, result.ChangesResOptions)
	}

	besides := c.compiled.Besides(&result.Request, &result.Decision)
	for first, behind := range map[policy.Reason][]policy.Reason{
		result.Decision.ServiceHost.Reason: besides.ServiceHost, result.Decision.DNS.Reason: besides.DNS, result.Decision.Fallthrough.Reason: besides.Fallthrough,
	} {
		for k, reason := range behind {
			if reason == first || slices.Contains(behind[:k], reason) {
				t.Errorf("%s is found behind itself (%s %s): the condition asks no Request.heeds", reason, first, behind)
			}
		}
	}

	patched := apply(t, incoming, patchOf(t, result))
	if second := c.review(t, c.compiled, patched); len(second.Operations) > 0 {
		t.Errorf("a second review has operations: %s", patchOf(t, second))
	}
	if c.request.Operation == policy.OperationAddEphemeralContainer || result.RecordReason != "" {
		return result // nothing is recorded, so nothing can be undone
	}
	if diff := diffPods(result.Request.Pod, mutate.Undo(decode(t, patched))); diff != "" {
		t.Errorf("Undo of the patched pod (-want +got):\n%s", diff)
	}
	actual := decode(t, incoming)
	if _, recorded := actual.Metadata.Annotations[policy.AnnotationInjected]; !recorded {
		if diff := diffPods(withoutOurKeys(actual), result.Request.Pod); diff != "" {
			t.Errorf("the pod that is decided on is not the user's (-want +got):\n%s", diff)
		}
	}
	return result
}
