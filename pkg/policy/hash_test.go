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
// testdata/hashes.txt. All of them change with a new default that is written into
// every policy, which is to be a decision: a field that is false by
// default need not be filled in. Nothing else may change them.
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
	if testfile.Expect(t, golden, got.String()); t.Failed() {
		t.Log("A policy that stays as it is has another hash now. After the upgrade audit calls every pod that was injected under it stale. " +
			"Was that meant? Then -update, and a line in CHANGELOG.md.")
	}
}
