package cli_test

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// The page has tests of its own: here is whether it gets to standard output, with the
// exit code of the table and the figures of the report.
func TestAdviseWritesAPage(t *testing.T) {
	t.Parallel()
	for file, want := range map[string][]string{
		"a-table-of-three-workloads":  {"crawl/fetcher", "cache.dev.svc.cluster.local", "44.4%"},
		"what-became-of-a-prediction": {"What became of the earlier recommendations"},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile("testdata/advise/" + file + caseExtension)
			if err != nil {
				t.Fatal(err)
			}
			c := parseCase(t, archive)
			expected := sections(c.expected)
			c.args = append(c.args, "-o", "html")
			got := sections(c.run(t))
			if got["exit"] != expected["exit"] || got["stderr"] != expected["stderr"] {
				t.Errorf("exit %q, stderr %q; want %q and %q as with a table", got["exit"], got["stderr"], expected["exit"], expected["stderr"])
			}
			page := got["stdout"]
			if !strings.HasPrefix(page, "<!DOCTYPE html>") || !strings.HasSuffix(page, "</html>\n") {
				t.Error("not a whole page")
			}
			for _, words := range want {
				if !strings.Contains(page, words) {
					t.Errorf("the page does not have %q", words)
				}
			}
		})
	}
}
