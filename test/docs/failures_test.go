package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`((?:test|internal|pkg)/[a-z0-9/]+)\\.(Test\\w+)`")
	definedTest = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
)

// TestFailureModesAreShown looks for the tests that docs/failure-modes.md names, and on that page for those of test/faults.
func TestFailureModesAreShown(t *testing.T) {
	t.Parallel()
	const name = repository + "/docs/failure-modes.md"
	page := read(t, name)
	folders := map[string]map[string]bool{}
	defined := func(folder string) map[string]bool {
		if tests, known := folders[folder]; known {
			return tests
		}
		tests := map[string]bool{}
		files, err := filepath.Glob(filepath.Join(repository, folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, match := range definedTest.FindAllStringSubmatch(read(t, file), -1) {
				tests[match[1]] = true
			}
		}
		folders[folder] = tests
		return tests
	}

	named := map[string]bool{}
	for _, match := range namedTest.FindAllStringSubmatch(page, -1) {
		folder, test := match[1], match[2]
		named[folder+"."+test] = true
		if !defined(folder)[test] {
			t.Errorf("%s: %s has no test %s", name, folder, test)
		}
	}
	for test := range defined("test/faults") {
		if !named["test/faults."+test] {
			t.Errorf("%s does not say what %s of test/faults shows", name, test)
		}
	}
	// A row without a test is a promise that nobody keeps an eye on.
	_, tables, _ := strings.Cut(page, "\n## The cluster\n")
	if tables == "" {
		t.Errorf("%s has no section on the cluster", name)
	}
	for line := range strings.Lines(tables) {
		row := strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| fault ")
		if row && !namedTest.MatchString(line) {
			t.Errorf("%s: no test shows this: %s", name, line)
		}
	}
}
