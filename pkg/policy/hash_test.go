package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// A policy's hash is on every pod that was injected under it: one that changes
// with a version of ours makes audit call all these pods stale. So the hashes of
// the documents in testdata/defaults and of the example are kept in
// testdata/hashes.txt, where a new default shows and nothing else should.
func TestHashesStay(t *testing.T) {
	t.Parallel()
	const golden = "testdata/hashes.txt"
	var got strings.Builder
	add := func(name string, document []byte) {
		t.Helper()
		fmt.Fprintf(&got, "%s %s\n", compile(t, string(document)).Hash(), name)
	}
	for _, c := range testfile.ReadCases(t, "testdata/defaults") {
		add(c.Name(), c.Section("document.yaml"))
	}
	example := testfile.Read(t, "../../examples/policy.yaml")
	add("examples/policy.yaml", example)
	testfile.Expect(t, golden, got.String())
}
