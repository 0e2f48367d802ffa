package webhookconfig_test

import (
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/compare/<what is different>.txtar. The sections:
//
//	found.yaml, wanted.yaml  what an entry has, and what it should have
//	differences              expected; `go test ./internal/webhookconfig -update` rewrites it
func TestCompareFilters(t *testing.T) {
	t.Parallel()
	effects := map[webhookconfig.Effect]string{
		webhookconfig.LeavesOutMore: "leaves out more", webhookconfig.TakesOnly: "takes only", webhookconfig.Drift: "drift",
	}
	testfile.Each(t, "testdata/compare", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "found.yaml", "wanted.yaml", "differences")
		var found, wanted admissionv1.MutatingWebhook
		readYAML(t, c, "found.yaml", &found)
		readYAML(t, c, "wanted.yaml", &wanted)
		var got []byte
		for _, d := range webhookconfig.CompareFilters(&found, &wanted) {
			got = fmt.Appendf(got, "%s: %s\n", effects[d.Effect], d.Text)
		}
		c.Expect(t, "differences", got)
	})
}
