package cli_test

import (
	"strings"
	"testing"
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
			c := parseCase(t, "testdata/advise/"+file+caseExtension)
			c.args = append(c.args, "-o", "html")
			got := c.run(t)
			exit, stderr := string(c.Section("exit")), string(c.Section("stderr"))
			if got["exit"] != exit || got["stderr"] != stderr {
				t.Errorf("exit %q, stderr %q; want %q and %q as with a table", got["exit"], got["stderr"], exit, stderr)
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
