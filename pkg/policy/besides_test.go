package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// reasonsBeside are all reasons of a decision, with spaces between them.
func reasonsBeside(first policy.Reason, behind []policy.Reason) string {
	words := []string{string(first)}
	for _, reason := range behind {
		words = append(words, string(reason))
	}
	return strings.Join(words, " ")
}

// Case files: testdata/besides/<what stands behind a reason, in words>.txtar. The sections:
//
//	policy.yaml   the policy
//	request.yaml  what differs from the creation of a pod in namespace web: see policy.Request
//	pod.yaml      the pod; left out: one container of which nothing is said
//	reasons.yaml  expected: the first reason of each feature, and those behind it
func TestReasonsBehindTheFirst(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/besides", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "policy.yaml", "request.yaml", "pod.yaml", "reasons.yaml")
		request := policy.Request{Operation: policy.OperationCreatePod, Namespace: "web", NamespaceKnown: true, Pod: &policy.Pod{}}
		if err := yaml.UnmarshalStrict(c.Section("request.yaml"), &request); err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(c.Section("pod.yaml"), request.Pod); err != nil {
			t.Fatal(err)
		}
		if request.Pod.Spec.Containers == nil {
			request.Pod.Spec.Containers = []policy.Container{{Name: "app", Image: "example.com/app"}}
		}
		compiled := compile(t, string(c.Section("policy.yaml")))
		d := compiled.Decide(&request)
		besides := compiled.Besides(&request, &d)
		c.Expect(t, "reasons.yaml", jsontest.YAML(t, map[string]string{
			"serviceHost": reasonsBeside(d.ServiceHost.Reason, besides.ServiceHost), "dns": reasonsBeside(d.DNS.Reason, besides.DNS),
			"fallthrough": reasonsBeside(d.Fallthrough.Reason, besides.Fallthrough),
		}))
		if diff := cmp.Diff(d, compiled.Decide(&request)); diff != "" {
			t.Errorf("the decision is another one afterwards:\n%s", diff)
		}
	})
}
