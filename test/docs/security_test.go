package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var namedTestOrFuzzer = regexp.MustCompile("`((?:test|internal|pkg)/[a-z0-9/]+)\\.((?:Test|Fuzz)\\w+)`")

// TestTheThreatModelIsShown looks for the tests and fuzzers that docs/security.md names.
func TestTheThreatModelIsShown(t *testing.T) {
	t.Parallel()
	const name = repository + "/docs/security.md"
	found := namedTestOrFuzzer.FindAllStringSubmatch(read(t, name), -1)
	if len(found) < 10 {
		t.Errorf("%s names %d tests", name, len(found))
	}
	for _, match := range found {
		files, err := filepath.Glob(filepath.Join(repository, match[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		defined := false
		for _, file := range files {
			defined = defined || strings.Contains(read(t, file), "\nfunc "+match[2]+"(")
		}
		if !defined {
			t.Errorf("%s: %s has no %s", name, match[1], match[2])
		}
	}
}
