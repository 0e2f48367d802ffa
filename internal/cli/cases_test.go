package cli_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/<command>/<what happens, in words>.txtar. The text
// before the first section is one line that begins with "$ kubectl-shorthop",
// the command line. The sections:
//
//	stdin             what standard input has
//	<log> x<number>   a query log that is so often there: each time a minute later (or
//	                  as "every 3s" behind it says), from another port, and all in the
//	                  order of their time
//	<any other name>  a file that the command may open, and with a slash in it the
//	                  folder too; files under examples/ are those of the repository
//	exit, stdout, stderr   expected, in this order, at the end
//
// `go test ./internal/cli -run TestCases -update` rewrites what is expected.
const (
	repository    = "../.."
	caseExtension = ".txtar"
	prompt        = "$ kubectl-shorthop "
)

var (
	caseCommands     = []string{"advise", "audit", "detect", "doctor", "explain", "general", "lint", "resolvers", "webhook-config"}
	expectedSections = []string{"exit", "stdout", "stderr"}
)

func TestCases(t *testing.T) {
	t.Parallel()
	for _, file := range caseFiles(t) {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), caseExtension)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := parseCase(t, file)
			got := c.run(t)
			for _, section := range expectedSections {
				c.Expect(t, section, []byte(got[section]))
			}
		})
	}
}

// testCase is a case file that is taken apart.
type testCase struct {
	*testfile.Case
	args   []string
	inputs []txtar.File
}

// often is a query log that is there so often: "120", or "120 every 3s".
func often(t *testing.T, log []byte, how string) []byte {
	t.Helper()
	number, every, found := strings.Cut(how, " every ")
	step := time.Minute
	times, err := strconv.Atoi(number)
	if err == nil && found {
		step, err = time.ParseDuration(every)
	}
	if err != nil {
		t.Fatal(err)
	}
	// What stands before the port and behind it, for each line.
	client := regexp.MustCompile(`(?s)^(.*?(?:\]|\d):)(\d+)( - .*)$`)
	var lines []string
	for line := range strings.Lines(string(log)) {
		var at time.Time
		if end := strings.IndexAny(line, " \t"); end > 0 {
			if at, err = time.Parse(time.RFC3339, line[:end]); err == nil {
				line = line[end:]
			}
		}
		words := client.FindStringSubmatch(line)
		port := 0
		if words != nil {
			port, _ = strconv.Atoi(words[2])
		} else {
			words = []string{"", line, "", ""}
		}
		for n := range times {
			again := words[1] + words[3]
			if words[2] != "" {
				again = words[1] + strconv.Itoa(1024+(port+257*n)%64000) + words[3]
			}
			if !at.IsZero() {
				again = at.Add(time.Duration(n)*step).Format(time.RFC3339) + again
			}
			lines = append(lines, again)
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		const length = len("2026-01-02T03:04:05Z")
		return strings.Compare(a[:min(length, len(a))], b[:min(length, len(b))])
	})
	return []byte(strings.Join(lines, ""))
}

func parseCase(t *testing.T, file string) *testCase {
	t.Helper()
	c := &testCase{Case: testfile.ReadCase(t, file)}
	command := strings.TrimSpace(string(c.Comment))
	line, found := strings.CutPrefix(command, strings.TrimSpace(prompt))
	if !found || strings.Contains(line, "\n") {
		t.Fatalf("want one line that begins with %q, got %q", prompt, command)
	}
	for word := range strings.FieldsSeq(line) {
		c.args = append(c.args, strings.Trim(word, `'`)) // '' is an empty argument
	}
	for _, section := range c.Files {
		if log, times, found := strings.Cut(section.Name, " x"); found {
			section = txtar.File{Name: log, Data: often(t, section.Data, times)}
		}
		if slices.ContainsFunc(c.inputs, func(f txtar.File) bool { return f.Name == section.Name }) {
			t.Errorf("section %s is there twice", section.Name)
		}
		if !slices.Contains(expectedSections, section.Name) && section.Name != "report" {
			c.inputs = append(c.inputs, section)
		}
	}
	return c
}

// run returns what it came to, by the names of expectedSections.
func (c *testCase) run(t *testing.T) map[string]string {
	t.Helper()
	var out, err bytes.Buffer
	opened := make(map[string]bool)
	streams := cli.Streams{
		In: strings.NewReader(""), Out: &out, Err: &err,
		Open: func(name string) (io.ReadCloser, error) {
			opened[name] = true
			return c.open(name)
		},
	}
	if data, found := c.input("stdin"); found {
		streams.In = bytes.NewReader(data)
	}
	code := cli.Main(c.args, streams)
	opened["stdin"] = slices.Contains(c.args, "-")
	for _, input := range c.inputs {
		if !opened[input.Name] {
			t.Errorf("section %s is stale: the command does not read it", input.Name)
		}
	}
	return map[string]string{"exit": strconv.Itoa(code) + "\n", "stdout": out.String(), "stderr": err.String()}
}

func (c *testCase) input(name string) (data []byte, found bool) {
	for _, file := range c.inputs {
		if file.Name == name {
			return file.Data, true
		}
	}
	return nil, false
}

func (c *testCase) open(name string) (io.ReadCloser, error) {
	if data, found := c.input(name); found {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	if c.isFolder(name) {
		files := fstest.MapFS{}
		for _, file := range c.inputs {
			files[file.Name] = &fstest.MapFile{Data: file.Data}
		}
		return files.Open(name)
	}
	if strings.HasPrefix(name, "examples/") {
		return os.Open(filepath.Join(repository, name))
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (c *testCase) isFolder(name string) bool {
	return slices.ContainsFunc(c.inputs, func(f txtar.File) bool { return strings.HasPrefix(f.Name, name+"/") })
}

// caseFiles lists the case files. Anything else under testdata but inputs of fuzzers is a mistake.
func caseFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("testdata", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == filepath.Join("testdata", "fuzz"), path == filepath.Join("testdata", "evidence"): // evidence_test.go has those
			return fs.SkipDir
		case entry.IsDir():
			if name := entry.Name(); name != "testdata" && !slices.Contains(caseCommands, name) {
				t.Errorf("%s is not the folder of a command", path)
			}
		case filepath.Ext(path) != caseExtension:
			t.Errorf("%s is not a %s file", path, caseExtension)
		default:
			files = append(files, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// run runs a command line in process, with the files of the repository and
// nothing else.
func run(t *testing.T, stdin []byte, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(args, cli.Streams{
		In: bytes.NewReader(stdin), Out: &out, Err: &errs,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(repository, name)) },
	})
	return out.String(), errs.String(), code
}

var errDisk = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDisk }

func TestResultThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	var errs bytes.Buffer
	code := cli.Main([]string{"version"}, cli.Streams{Out: fullDisk{}, Err: &errs})
	if code != 2 || !strings.Contains(errs.String(), errDisk.Error()) {
		t.Errorf("got exit code %d and %q, want 2 and the error", code, errs.String())
	}
}

// endless is a file without an end.
type endless struct{ fs.File }

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	return len(p), nil
}
func (endless) Close() error { return nil }

func TestFilesWithoutAnEndAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"lint", "endless.yaml"}, {"lint", "-"}, {"audit", "--policy", "endless.yaml"},
		{"explain", "-f", "pod.yaml", "--policy", "endless.yaml"}, {"advise", "--pods", "pods.json", "--policy", "endless.yaml", "dns.log"},
	} {
		var out, errs bytes.Buffer
		code := cli.Main(args, cli.Streams{
			In: endless{}, Out: &out, Err: &errs,
			Open: func(string) (io.ReadCloser, error) { return endless{}, nil },
		})
		if code == 0 || !strings.Contains(out.String()+errs.String(), "too large") {
			t.Errorf("%v: exit code %d, %s", args, code, errs.String())
		}
	}
}
