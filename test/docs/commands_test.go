package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

const repository = "../.."

// pages are all pages that people read.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{repository + "/README.md", repository + "/CONTRIBUTING.md", repository + "/ARCHITECTURE.md", repository + "/CHANGELOG.md", repository + "/charts/shorthop/README.md"}
	for _, pattern := range []string{"/docs/*.md", "/docs/results/*.md"} {
		more, err := filepath.Glob(repository + pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, more...)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	content := testfile.Read(t, file)
	return string(content)
}

var link = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := match[1]
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s: link to %s: %v", page, target, err)
			}
		}
	}
}

var shellBlock = regexp.MustCompile("(?s)\n```sh\n(.*?)\n```\n")

// TestCommandsExist looks at every command of every page: the target of make, the subcommand and the flags of
// kubectl-shorthop, the files and values of helm. Those of docs/operations.md are also run, by test/e2e.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	makefile := read(t, repository+"/Makefile")
	seen := map[string]int{}
	for _, page := range pages(t) {
		for _, block := range shellBlock.FindAllStringSubmatch(read(t, page), -1) {
			for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
				line, _, _ = strings.Cut(line, " #")
				words := strings.Fields(line)
				if len(words) == 0 {
					continue
				}
				program := filepath.Base(words[0])
				if program == "kubectl" && len(words) > 1 && words[1] == "shorthop" {
					program, words = "kubectl-shorthop", words[1:]
				}
				seen[program]++
				switch program {
				case "make":
					if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[1]) + `:`).MatchString(makefile) {
						t.Errorf("%s: %s: there is no such target", page, line)
					}
				case "kubectl-shorthop":
					var stderr bytes.Buffer
					// With --help the flags are parsed, and nothing is done.
					if code := cli.Main(append(words[1:], "--help"), cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &stderr}); code != 0 {
						t.Errorf("%s: %s: %s", page, line, stderr.String())
					}
				case "helm":
					checkHelm(t, page, words)
				}
			}
		}
	}
	for _, program := range []string{"make", "kubectl-shorthop", "helm"} {
		if seen[program] == 0 {
			t.Errorf("no page has a command of %s: this test has looked at nothing", program)
		}
	}
}

// checkHelm looks at the files and values that a helm command names. my-values.yaml is the reader's.
func checkHelm(t *testing.T, page string, words []string) {
	t.Helper()
	for i, word := range words {
		switch word {
		case "charts/shorthop":
			if _, err := os.Stat(filepath.Join(repository, word)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		case "-f", "--values":
			if _, err := os.Stat(filepath.Join(repository, words[i+1])); err != nil && words[i+1] != "my-values.yaml" {
				t.Errorf("%s: %v", page, err)
			}
		case "--set", "--set-json":
			path, _, _ := strings.Cut(strings.Trim(words[i+1], `'"`), "=")
			if !isValue(t, strings.Split(path, ".")) {
				t.Errorf("%s: the chart has no value %s", page, path)
			}
		}
	}
}

// schemaNode is what matters of a JSON schema here.
type schemaNode struct {
	Ref        string                 `json:"$ref"`
	Properties map[string]*schemaNode `json:"properties"`
	Defs       map[string]*schemaNode `json:"$defs"`
}

// isValue reports whether the chart's schema knows of a value.
func isValue(t *testing.T, path []string) bool {
	t.Helper()
	root := jsontest.Decode[schemaNode](t, []byte(read(t, repository+"/charts/shorthop/values.schema.json")))
	node := &root
	for _, name := range path {
		if ref, found := strings.CutPrefix(node.Ref, "#/$defs/"); found {
			node = root.Defs[ref]
		}
		if node = node.Properties[name]; node == nil {
			return false
		}
	}
	return true
}
