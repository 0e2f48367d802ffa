package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// signposts are the pages by which somebody who has never seen the repository finds the place of a change.
var signposts = []string{"ARCHITECTURE.md", "CONTRIBUTING.md"}

var (
	fence      = regexp.MustCompile("(?s)\n```\n(.*?)\n```\n")
	marked     = regexp.MustCompile("`([^`]+)`")
	pathOfOurs = regexp.MustCompile(`^(?:cmd|internal|pkg|test|charts|hack|docs|examples|\.ci)/[\w.*/-]+$`)
	bareFile   = regexp.MustCompile(`^[\w*]+\.(?:go|md|yaml|json)$`)
	placeOnMap = regexp.MustCompile(`(?:^|\s)((?:cmd|internal|pkg|test|charts)/[a-z0-9/-]+)`)
	testName   = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w+$`)
	// inFile is "`name` in `file.go`", and ofFile "`file.go` (what it says of `name`)".
	inFile = regexp.MustCompile("`(\\w+)` in `([\\w./-]+\\.go)`")
	ofFile = regexp.MustCompile("`([\\w./-]+\\.go)` \\(([^)]*)\\)")
	goName = regexp.MustCompile("`(?:\\w+\\.)?(\\w+)`")
)

// TestSignpostsPointAtWhatIsThere looks for every file, folder, test, target of make and name in Go that the signposts name.
// What it finds missing was moved or renamed: mend the page in the same commit.
func TestSignpostsPointAtWhatIsThere(t *testing.T) {
	t.Parallel()
	tests := testsByName(t)
	makefile := "\n" + read(t, repository+"/Makefile")
	for _, page := range signposts {
		found := 0
		for line := range strings.Lines(fence.ReplaceAllString(read(t, repository+"/"+page), "\n")) {
			folders := foldersOf(line)
			for _, match := range marked.FindAllStringSubmatch(line, -1) {
				name := match[1]
				target, isTarget := strings.CutPrefix(name, "make ")
				switch {
				case pathOfOurs.MatchString(name):
					if files, err := filepath.Glob(filepath.Join(repository, name)); err != nil || len(files) == 0 {
						t.Errorf("%s names %s, which is not there: say where it is now", page, name)
					}
				case strings.HasSuffix(name, ".go") && bareFile.MatchString(name):
					if len(inFolders(folders, name)) == 0 {
						t.Errorf("%s names %s, which is in no folder that the same line names (%s): write its whole path", page, name, strings.Join(folders, ", "))
					}
				case testName.MatchString(name):
					if !tests[name] {
						t.Errorf("%s names %s, and no such test is there", page, name)
					}
				case isTarget:
					for _, word := range strings.Fields(target) {
						if !strings.Contains(word, "=") && !strings.Contains(makefile, "\n"+word+":") {
							t.Errorf("%s says `%s`, and the Makefile has no target %s", page, name, word)
						}
					}
				default:
					continue
				}
				found++
			}
			for _, match := range inFile.FindAllStringSubmatch(line, -1) {
				wantName(t, page, folders, match[2], match[1])
			}
			for _, match := range ofFile.FindAllStringSubmatch(line, -1) {
				for _, name := range goName.FindAllStringSubmatch(match[2], -1) {
					wantName(t, page, folders, match[1], name[1])
				}
			}
		}
		if found < 20 {
			t.Errorf("%s: found no more than %d names: is it read as it is written?", page, found)
		}
	}
}

// TestEveryPackageIsOnTheMap compares the list at the top of ARCHITECTURE.md with the folders that have Go files. A package
// may be named by a folder above it.
func TestEveryPackageIsOnTheMap(t *testing.T) {
	t.Parallel()
	onMap := map[string]bool{}
	list := fence.FindStringSubmatch(read(t, repository+"/ARCHITECTURE.md"))
	if list == nil {
		t.Fatal("ARCHITECTURE.md has no list")
	}
	for _, place := range placeOnMap.FindAllStringSubmatch(list[1], -1) {
		onMap[place[1]] = true
		if _, err := os.Stat(filepath.Join(repository, place[1])); err != nil {
			t.Errorf("the list in ARCHITECTURE.md has %s, which is not there", place[1])
		}
	}
	for _, folder := range []string{"cmd", "internal", "pkg", "test"} {
		walk(t, folder, func(file string) {
			named := path.Dir(file) == folder || !strings.HasSuffix(file, ".go")
			for at := path.Dir(file); at != "." && !named; at = path.Dir(at) {
				named = onMap[at]
			}
			if !named {
				onMap[path.Dir(file)] = true // once is enough
				t.Errorf("the list in ARCHITECTURE.md lacks %s: add what the package is for", path.Dir(file))
			}
		})
	}
}

// TestQuestionsAreAnsweredByFewFiles keeps the promise of the table of questions: four files each at most.
func TestQuestionsAreAnsweredByFewFiles(t *testing.T) {
	t.Parallel()
	questions := 0
	for line := range strings.Lines(read(t, repository+"/ARCHITECTURE.md")) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || !strings.HasSuffix(cells[0], "?") {
			continue
		}
		questions++
		files := 0
		for _, match := range marked.FindAllStringSubmatch(cells[2], -1) {
			if strings.HasSuffix(match[1], ".go") {
				files++
			}
		}
		if files < 1 || files > 4 {
			t.Errorf("%s is answered by %d files, want 1 to 4", strings.TrimPrefix(cells[0], "| "), files)
		}
	}
	if questions != 5 {
		t.Errorf("found %d questions, want 5", questions)
	}
}

// wantName fails the test unless a file has a word.
func wantName(t *testing.T, page string, folders []string, file, word string) {
	t.Helper()
	files := []string{filepath.Join(repository, file)}
	if !strings.Contains(file, "/") {
		files = inFolders(folders, file)
	}
	if len(files) == 0 {
		return // that is said elsewhere
	}
	if !regexp.MustCompile(`\b` + word + `\b`).MatchString(read(t, files[0])) {
		t.Errorf("%s: %s does not have %s any more: say where it is now", page, file, word)
	}
}

// foldersOf are the folders that a line names, and those of the files that it names.
func foldersOf(line string) (folders []string) {
	for _, match := range marked.FindAllStringSubmatch(line, -1) {
		name := match[1]
		if !pathOfOurs.MatchString(name) {
			continue
		}
		if strings.Contains(path.Base(name), ".") {
			name = path.Dir(name)
		}
		if !slices.Contains(folders, name) {
			folders = append(folders, name)
		}
	}
	return folders
}

func inFolders(folders []string, pattern string) (files []string) {
	for _, folder := range folders {
		more, _ := filepath.Glob(filepath.Join(repository, folder, pattern)) // a pattern of \w and * is never malformed
		files = append(files, more...)
	}
	return files
}

// testsByName has the tests, fuzzers and benchmarks of the repository.
func testsByName(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	tests := map[string]bool{}
	for _, folder := range []string{"cmd", "internal", "pkg", "test"} {
		walk(t, folder, func(file string) {
			if strings.HasSuffix(file, "_test.go") {
				for _, match := range function.FindAllStringSubmatch(read(t, filepath.Join(repository, file)), -1) {
					tests[match[1]] = true
				}
			}
		})
	}
	return tests
}

// walk visits the files below a folder, but those of testdata. Their paths begin at the repository.
func walk(t *testing.T, folder string, visit func(file string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(repository), folder, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case !entry.IsDir():
			visit(file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
