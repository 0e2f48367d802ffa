// Package chart_test holds the Helm chart to the code and to real tools.
//
//	generated_test.go, presets_test.go, schema_test.go   what is generated or copied is up to date; run by `make test`
//	the others                          real helm, helm-unittest, promtool and API servers; run by `make test-chart`
package chart_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

const (
	root     = "../.."
	chartDir = root + "/charts/shorthop"
)

func TestVersionIsTheRepositorys(t *testing.T) {
	t.Parallel()
	var chart struct{ Version, AppVersion string }
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/Chart.yaml"), &chart); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(read(t, root+"/VERSION")))
	if chart.Version != want || chart.AppVersion != want {
		t.Errorf("Chart.yaml has version %s and appVersion %s, the file VERSION says %s", chart.Version, chart.AppVersion, want)
	}
}

// The template needs these three to be there, so values.yaml repeats what the code has.
func TestDefaultsOfTheFilterAreThePolicys(t *testing.T) {
	t.Parallel()
	var values struct{ Policy policy.Spec }
	if err := sigsyaml.UnmarshalStrict(subtree(t, "policy"), &values.Policy); err != nil {
		t.Fatal(err)
	}
	want := new(policy.InjectionPolicy)
	policy.SetDefaults(want)
	if diff := cmp.Diff(want.Spec.ExcludedNamespaces, values.Policy.ExcludedNamespaces); diff != "" {
		t.Errorf("policy.excludedNamespaces (-code +values.yaml):\n%s", diff)
	}
	if diff := cmp.Diff(want.Spec.LabelAliases, values.Policy.LabelAliases); diff != "" {
		t.Errorf("policy.labelAliases (-code +values.yaml):\n%s", diff)
	}
	if want.Spec.NamespaceOptOut != values.Policy.NamespaceOptOut {
		t.Errorf("policy.namespaceOptOut is %s, in the code %s", values.Policy.NamespaceOptOut, want.Spec.NamespaceOptOut)
	}
}

// The README ends with a table that is made from the comments of values.yaml.
func TestREADMEHasEveryValue(t *testing.T) {
	t.Parallel()
	const heading = "\n## Values\n"
	file := chartDir + "/README.md"
	stored := string(read(t, file))
	before, _, found := strings.Cut(stored, heading)
	if !found {
		t.Fatal("README.md has no section Values")
	}
	var page strings.Builder
	page.WriteString(before + heading + "\nGenerated from [values.yaml](values.yaml): `go test ./test/chart -update`.\n\n| value | default | meaning |\n|---|---|---|\n")
	var document yaml.Node
	if err := yaml.Unmarshal(read(t, chartDir+"/values.yaml"), &document); err != nil {
		t.Fatal(err)
	}
	writeValues(t, &page, "", document.Content[0])
	testfile.Expect(t, file, page.String())
}

// writeValues writes a row for every value that has a comment. A value without one belongs to what it is part of.
func writeValues(t *testing.T, page *strings.Builder, prefix string, mapping *yaml.Node) {
	t.Helper()
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		path := prefix + key.Value
		comment := strings.ReplaceAll(strings.ReplaceAll(key.HeadComment, "\n# ", " "), "# ", "")
		deeper := value.Kind == yaml.MappingNode && hasComments(value)
		if comment == "" && !deeper {
			t.Errorf("values.yaml: %s has no comment", path)
		}
		if comment != "" {
			fallback := ""
			if !deeper {
				fallback = "`" + compact(t, value) + "`"
			}
			fmt.Fprintf(page, "| `%s` | %s | %s |\n", path, fallback, strings.ReplaceAll(comment, "|", "\\|"))
		}
		if deeper {
			writeValues(t, page, path+".", value)
		}
	}
}

func hasComments(mapping *yaml.Node) bool {
	for i := 0; i < len(mapping.Content); i += 2 {
		value := mapping.Content[i+1]
		if mapping.Content[i].HeadComment != "" || value.Kind == yaml.MappingNode && hasComments(value) {
			return true
		}
	}
	return false
}

// compact returns a value as JSON on one line.
func compact(t *testing.T, node *yaml.Node) string {
	t.Helper()
	var value any
	if err := node.Decode(&value); err != nil {
		t.Fatal(err)
	}
	encoded := jsontest.Marshal(t, value)
	return string(encoded)
}

// No page tells to upgrade in the way that leaves out what a new chart has added.
func TestPagesKeepValuesByResetThenReuse(t *testing.T) {
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	commands := 0
	for _, page := range append(pages, root+"/README.md", chartDir+"/README.md", chartDir+"/templates/NOTES.txt") {
		for line := range strings.Lines(string(read(t, page))) {
			if !strings.Contains(line, "helm upgrade ") || !strings.Contains(line, "shorthop ") {
				continue
			}
			commands++
			if strings.Contains(line, " --reuse-values") || !strings.Contains(line, "--reset-then-reuse-values") {
				t.Errorf("%s: %s", filepath.Base(page), line)
			}
		}
	}
	if commands < 8 {
		t.Errorf("%d commands: this test has lost its subject", commands)
	}
}

// subtree returns one top-level value of values.yaml.
func subtree(t *testing.T, key string) []byte {
	t.Helper()
	var values map[string]json.RawMessage
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	return values[key]
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	return testfile.Read(t, file)
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	testfile.Write(t, file, content)
}
