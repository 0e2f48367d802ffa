package manifest_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Case files: testdata/cases/<what is read, in words>.txtar. The text before the
// first section says why. The sections:
//
//	<any name>               a file that is read
//	pods, remarks, problems  expected, in this order, at the end, where there are any
//
// `go test ./internal/manifest -update` rewrites what is expected.
var update = flag.Bool("update", false, "rewrite the expected sections of case files")

var expectedSections = []string{"pods", "remarks", "problems"}

func TestCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/cases/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	covered := map[string]bool{}
	for _, file := range files {
		name, isCase := strings.CutSuffix(filepath.Base(file), ".txtar")
		if !isCase {
			t.Errorf("%s is not a case file", file)
			continue
		}
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var reader manifest.Reader
		var inputs []txtar.File
		for _, section := range archive.Files {
			if !slices.Contains(expectedSections, section.Name) {
				inputs = append(inputs, section)
				reader.Read(section.Name, section.Data)
			}
		}
		for i := range reader.Pods {
			covered[reader.Pods[i].From.Kind] = true
			if reader.Pods[i].From.Kind == "" {
				covered["Pod"] = true
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("the case does not say what it is for")
			}
			got := slices.Concat(inputs, outcome(&reader))
			if *update {
				if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: got}), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(texts(archive.Files), texts(got)); diff != "" {
				t.Errorf("-want +got (-update rewrites):\n%s", diff)
			}
		})
	}
	for _, kind := range manifest.KindNames() {
		if !covered[kind] {
			t.Errorf("no case has pods of a %s", kind)
		}
	}
}

// outcome is what was read, as sections.
func outcome(r *manifest.Reader) (sections []txtar.File) {
	for i, name := range expectedSections {
		var b strings.Builder
		switch i {
		case 0:
			for i := range r.Pods {
				describe(&b, &r.Pods[i])
			}
		case 1:
			for _, remark := range r.Remarks {
				fmt.Fprintln(&b, remark)
			}
		case 2:
			for _, problem := range r.Problems {
				fmt.Fprintln(&b, problem)
			}
		}
		if b.Len() > 0 {
			sections = append(sections, txtar.File{Name: name, Data: []byte(b.String())})
		}
	}
	return sections
}

func describe(b *strings.Builder, p *manifest.Pod) {
	workload := func(w policy.Workload) string {
		if w.Group != "" {
			return w.Kind + "." + w.Group + " " + w.Name
		}
		return w.Kind + " " + w.Name
	}
	name := p.Metadata.Name
	if name == "" {
		name = p.Metadata.GenerateName + "*"
	}
	fmt.Fprintf(b, "%s/%s\n  from %s", p.Namespace, name, p.Place)
	if p.From.Kind != "" {
		fmt.Fprintf(b, ": %s", workload(p.From))
	}
	if p.Guessed {
		b.WriteString(" (guessed)")
	}
	if owner, owned := p.Owner(); owned {
		fmt.Fprintf(b, "\n  owner %s %s", p.Metadata.OwnerReferences[0].APIVersion, workload(owner))
	}
	fmt.Fprintf(b, "\n  workload %s\n", workload(p.Workload()))
	for _, key := range slices.Sorted(maps.Keys(p.Metadata.Labels)) {
		fmt.Fprintf(b, "  label %s=%s\n", key, p.Metadata.Labels[key])
	}
}

func texts(files []txtar.File) map[string]string {
	m := map[string]string{}
	for _, file := range files {
		m[file.Name] = string(file.Data)
	}
	return m
}
