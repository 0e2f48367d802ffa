package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var namedTestOrFuzzer = regexp.MustCompile("`((?:test|internal|pkg)/[a-z0-9/]+)\\.((?:Test|Fuzz)\\w+)`")

// TestWhatShowsItExists looks for the tests and fuzzers that pages name: those on which the threat model and the table of platforms
// stand above all.
func TestWhatShowsItExists(t *testing.T) {
	t.Parallel()
	found := map[string]int{}
	for _, page := range pages(t) {
		for _, match := range namedTestOrFuzzer.FindAllStringSubmatch(read(t, page), -1) {
			found[filepath.Base(page)]++
			files, err := filepath.Glob(filepath.Join(repository, match[1], "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			defined := false
			for _, file := range files {
				defined = defined || strings.Contains(read(t, file), "\nfunc "+match[2]+"(")
			}
			if !defined {
				t.Errorf("%s: %s has no %s", page, match[1], match[2])
			}
		}
	}
	for _, page := range []string{"security.md", "platforms.md"} {
		if found[page] < 8 {
			t.Errorf("%s names %d tests", page, found[page])
		}
	}
}
