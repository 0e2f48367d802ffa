package discovery_test

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/<the cluster, in words>.txtar. The text before the first
// section says what the case is about. The sections:
//
//	resolv.conf     of our pod; left out: none that is of this cluster
//	services.yaml   a list of Services, as kubectl shows them
//	cluster.yaml    spec.cluster of the policy; left out: empty
//	result.yaml     expected
//
// `go test ./internal/discovery -update` rewrites what is expected.
func TestCases(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "resolv.conf", "services.yaml", "cluster.yaml", "result.yaml")
		facts := discovery.Facts{ResolvConf: string(c.Section("resolv.conf"))}
		for _, object := range objectserver.Parse(t, c.Section("services.yaml")) {
			facts.Services = append(facts.Services, discovery.Read(&object))
		}
		if err := yaml.UnmarshalStrict(c.Section("cluster.yaml"), &facts.Configured); err != nil {
			t.Fatal(err)
		}
		got := jsontest.YAML(t, discovery.Discover(facts))
		c.Expect(t, "result.yaml", got)
	})
}
