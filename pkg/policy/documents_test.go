package policy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

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

// Every file in testdata/invalid has one fault, which is its name. The comment
// that it begins with is the whole error, one "# " for each line of it.
func TestParseReportsFaults(t *testing.T) {
	t.Parallel()
	for _, file := range documents(t, "testdata/invalid", ".yaml") {
		t.Run(caseName(file), func(t *testing.T) {
			t.Parallel()
			data := testfile.Read(t, file)
			_, err := policy.Parse(data)
			if err == nil {
				t.Fatal("the document is valid")
			}
			got := "# " + strings.ReplaceAll(err.Error(), "\n", "\n# ") + "\n"
			_, document := leadingComment(data)
			testfile.Expect(t, file, got+string(document))
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
			c := testfile.ReadCase(t, file)
			c.OnlyHas(t, "document.yaml", "defaulted.yaml")
			parsed := reviewtest.Parse(t, c.Section("document.yaml"))
			got := jsontest.YAML(t, parsed)
			c.Expect(t, "defaulted.yaml", got)

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
	data := testfile.Read(t, "../../examples/policy.yaml")
	if _, err := policy.Parse(data); err != nil {
		t.Error(err)
	}
}
