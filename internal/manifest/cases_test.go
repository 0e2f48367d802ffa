package manifest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/cases/<what is read, in words>.txtar. The text before the
// first section says why. The sections:
//
//	<any name>               a file that is read
//	pods, remarks, problems  expected, in this order, at the end, where there are any
//
// `go test ./internal/manifest -update` rewrites what is expected.
var expectedSections = []string{"pods", "remarks", "problems"}

func TestCases(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	for _, c := range testfile.ReadCases(t, "testdata/cases") {
		var reader manifest.Reader
		for _, section := range c.Files {
			if !slices.Contains(expectedSections, section.Name) {
				reader.Read(section.Name, section.Data)
			}
		}
		for i := range reader.Pods {
			covered[reader.Pods[i].From.Kind] = true
			if reader.Pods[i].From.Kind == "" {
				covered["Pod"] = true
			}
		}
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			for i, got := range outcome(&reader) {
				c.Expect(t, expectedSections[i], []byte(got))
			}
		})
	}
	for _, kind := range manifest.KindNames() {
		if !covered[kind] {
			t.Errorf("no case has pods of a %s", kind)
		}
	}
}

// outcome is what was read: the texts of expectedSections.
func outcome(r *manifest.Reader) []string {
	var pods, remarks, problems strings.Builder
	for i := range r.Pods {
		describe(&pods, &r.Pods[i])
	}
	for _, remark := range r.Remarks {
		fmt.Fprintln(&remarks, remark)
	}
	for _, problem := range r.Problems {
		fmt.Fprintln(&problems, problem)
	}
	return []string{pods.String(), remarks.String(), problems.String()}
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
