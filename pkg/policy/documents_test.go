package policy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
)

var update = flag.Bool("update", false, "rewrite what the files in testdata expect")

// documents lists the files of a directory, which must all have the extension.
func documents(t testing.TB, directory, extension string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != extension {
			t.Errorf("%s/%s is not a %s file", directory, entry.Name(), extension)
			continue
		}
		files = append(files, filepath.Join(directory, entry.Name()))
	}
	return files
}

func caseName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
}

func writeFile(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every file in testdata/invalid has one fault, which is its name. The comment
// that it begins with is the whole error, one "# " for each line of it.
func TestParseReportsFaults(t *testing.T) {
	t.Parallel()
	for _, file := range documents(t, "testdata/invalid", ".yaml") {
		t.Run(caseName(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = policy.Parse(data)
			if err == nil {
				t.Fatal("the document is valid")
			}
			got := "# " + strings.ReplaceAll(err.Error(), "\n", "\n# ") + "\n"
			want, document := leadingComment(data)
			if *update {
				writeFile(t, file, append([]byte(got), document...))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// leadingComment splits a document after the lines that begin with "# ".
func leadingComment(data []byte) (comment string, document []byte) {
	document = data
	for bytes.HasPrefix(document, []byte("# ")) {
		_, document, _ = bytes.Cut(document, []byte("\n"))
	}
	return string(data[:len(data)-len(document)]), document
}

// Every archive in testdata/defaults has a document and what it comes to with
// its defaults, so that a changed default is seen in review.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, file := range documents(t, "testdata/defaults", ".txtar") {
		t.Run(caseName(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) == 0 || archive.Files[0].Name != "document.yaml" || len(archive.Files) > 2 ||
				len(archive.Files) == 2 && archive.Files[1].Name != "defaulted.yaml" {
				t.Fatal("want the sections document.yaml and defaulted.yaml")
			}
			parsed, err := policy.Parse(archive.Files[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(parsed)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "defaulted.yaml", Data: got})
				writeFile(t, file, txtar.Format(archive))
			}
			if len(archive.Files) < 2 {
				t.Fatal("no section defaulted.yaml")
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), string(got)); diff != "" {
				t.Errorf("defaulted document (-want +got):\n%s", diff)
			}

			// Defaulting is done once: what it made is what it makes of it.
			again, err := policy.Parse(got)
			if err != nil {
				t.Fatalf("the defaulted document is not valid: %v", err)
			}
			if diff := cmp.Diff(parsed, again); diff != "" {
				t.Errorf("defaulting twice (-once +twice):\n%s", diff)
			}
		})
	}
}

// The example that the documentation shows is valid.
func TestExampleIsValid(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../examples/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Parse(data); err != nil {
		t.Error(err)
	}
}
