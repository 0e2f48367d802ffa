package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestLint holds the warnings about valid policies to the case files.
func TestLint(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/lint", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "policy.yaml", "warnings")
		document := c.Section("policy.yaml")
		if _, err := policy.Parse(document); err != nil {
			t.Fatalf("not valid: %v", err)
		}
		var got strings.Builder
		for _, warning := range policy.Lint(document) {
			fmt.Fprintln(&got, warning)
		}
		c.Expect(t, "warnings", []byte(got.String()))
	})
}
