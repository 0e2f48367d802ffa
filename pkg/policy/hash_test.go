package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
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
	for _, file := range documents(t, "testdata/defaults", ".txtar") {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		add(caseName(file), archive.Files[0].Data)
	}
	example, err := os.ReadFile("../../examples/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	add("examples/policy.yaml", example)
	if *update {
		writeFile(t, golden, []byte(got.String()))
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
