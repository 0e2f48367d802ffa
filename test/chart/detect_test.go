//go:build chart

package chart_test

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/test/testfile"
)

// What detect prints for each flavour, the chart takes: its schema and its templates.
func TestValuesOfDetectAreTaken(t *testing.T) {
	files, err := filepath.Glob(root + "/internal/*/testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range archive.Files {
			if section.Name != "detect.yaml" {
				continue
			}
			tried++
			values := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(file), ".txtar")+".yaml")
			testfile.Write(t, values, section.Data)
			render(t, "--values="+values)
		}
	}
	if tried < 20 {
		t.Fatalf("%d files of values", tried)
	}
}
