package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
)

// FuzzParse: no document makes Parse panic; what it accepts can be compiled and
// decides without a panic; and it says the same when it is written out and read
// again.
func FuzzParse(f *testing.F) {
	for _, file := range documents(f, "testdata/invalid", ".yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, document := leadingComment(data)
		f.Add(document)
	}
	archives := documents(f, "testdata/defaults", ".txtar")
	cases, err := filepath.Glob("../mutate/testdata/cases/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(archives, cases...) {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, section := range archive.Files {
			switch section.Name {
			case "document.yaml", "defaulted.yaml", "policy.yaml", "earlier-policy.yaml":
				f.Add(section.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		parsed, err := policy.Parse(document)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		compiled, err := policy.Compile(parsed, "shorthop")
		if err != nil {
			t.Fatalf("accepted and cannot be compiled: %v", err)
		}
		compiled.Decide(ordinaryRequest())
		policy.Lint(parsed)

		written, err := yaml.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.Parse(written)
		if err != nil {
			t.Fatalf("written out it is not accepted: %v\n%s", err, written)
		}
		recompiled, err := policy.Compile(again, "shorthop")
		if err != nil {
			t.Fatal(err)
		}
		if compiled.Hash() != recompiled.Hash() {
			t.Errorf("written out it has another hash:\n%s", written)
		}
	})
}
