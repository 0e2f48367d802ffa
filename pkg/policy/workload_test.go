package policy_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/workload/<what a pod belongs to, in words>.txtar. The sections:
//
//	pod.yaml       the pod
//	workload.yaml  expected: the workload behind it
//	owners         entries of match.owners, one on a line and without the braces
//	matching       expected: those of them that hold for the pod
func TestWorkload(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/workload", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "pod.yaml", "workload.yaml", "owners", "matching")
		request := ordinaryRequest()
		request.Pod = &policy.Pod{}
		if err := yaml.UnmarshalStrict(c.Section("pod.yaml"), request.Pod); err != nil {
			t.Fatal(err)
		}
		c.Expect(t, "workload.yaml", jsontest.YAML(t, request.Pod.Workload()))
		var matching strings.Builder
		for owner := range strings.Lines(string(c.Section("owners"))) {
			rule := "  rules: [{name: matched, match: {owners: [{" + strings.TrimSpace(owner) + "}]}}]\n"
			if compile(t, header+"  dns: {}\n"+rule).Decide(request).Rule == "matched" {
				matching.WriteString(owner)
			}
		}
		c.Expect(t, "matching", []byte(matching.String()))
	})
}

func TestWorkloadsThatCannotBe(t *testing.T) {
	t.Parallel()
	for w, want := range map[policy.Workload]bool{
		{Kind: "Deployment", Name: "web"}: true, {Kind: strings.Repeat("K", 63), Name: "web"}: true, {Kind: strings.Repeat("K", 64), Name: "web"}: false,
		{Kind: "x; curl", Name: "web"}: false, {Kind: "Deployment", Name: "web*"}: false, {Kind: "Deployment"}: false, {Name: "web"}: false,
	} {
		if w.IsValid() != want {
			t.Errorf("%+v: %t", w, w.IsValid())
		}
	}
}
