// Package testfile reads the files of tests, with their input and with what they expect. `go test -update` rewrites what they
// expect.
package testfile

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite what files expect")

// Read returns what is in a file.
func Read(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// Write writes a file, which everybody may read.
func Write[T string | []byte](tb testing.TB, path string, content T) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Expect fails the test unless the file has this content. Under -update it writes the content into the file instead.
func Expect[T string | []byte](tb testing.TB, path string, got T) {
	tb.Helper()
	if *update {
		Write(tb, path, got)
		return
	}
	if diff := cmp.Diff(string(Read(tb, path)), string(got)); diff != "" {
		tb.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

// Case is a case file. Its comment says what the case is about; its sections have the input and the expected output.
type Case struct {
	Path string
	*txtar.Archive
}

// ReadCase reads a case file.
func ReadCase(tb testing.TB, path string) *Case {
	tb.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		tb.Errorf("%s: no comment says what the case is about", path)
	}
	return &Case{path, archive}
}

// ReadCases reads the case files of a folder. Any other file in it is an error.
func ReadCases(tb testing.TB, folder string) []*Case {
	tb.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		tb.Fatal(err)
	}
	var cases []*Case
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		switch {
		case filepath.Ext(path) == extension:
			cases = append(cases, ReadCase(tb, path))
		case !entry.IsDir():
			tb.Errorf("%s is not a case file", path)
		}
	}
	if len(cases) == 0 {
		tb.Fatalf("no cases in %s", folder)
	}
	return cases
}

// Each runs a test for each case file of a folder, beside each other, by the file's name.
func Each(t *testing.T, folder string, test func(t *testing.T, c *Case)) {
	t.Helper()
	for _, c := range ReadCases(t, folder) {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

const extension = ".txtar"

// Name is the file's name without its extension: words that say what happens.
func (c *Case) Name() string { return strings.TrimSuffix(filepath.Base(c.Path), extension) }

// Section returns what a section has, nil if it is not there.
func (c *Case) Section(name string) []byte {
	if i := c.index(name); i >= 0 {
		return c.Files[i].Data
	}
	return nil
}

func (c *Case) index(name string) int {
	return slices.IndexFunc(c.Files, func(f txtar.File) bool { return f.Name == name })
}

// OnlyHas fails the test where the case has a section that is not among these, or has one twice.
func (c *Case) OnlyHas(tb testing.TB, known ...string) {
	tb.Helper()
	for i, section := range c.Files {
		if !slices.Contains(known, section.Name) {
			tb.Errorf("unknown section %s", section.Name)
		}
		if c.index(section.Name) < i {
			tb.Errorf("section %s is there twice", section.Name)
		}
	}
}

// Expect fails the test unless a section has this content; a section that is not there counts as empty. Under -update it writes
// the content into the section instead, and removes a section that would be empty.
func (c *Case) Expect(tb testing.TB, name string, got []byte) {
	tb.Helper()
	if !*update {
		if diff := cmp.Diff(string(c.Section(name)), string(got)); diff != "" {
			tb.Errorf("%s (-want +got; -update rewrites it):\n%s", name, diff)
		}
		return
	}
	i := c.index(name)
	switch {
	case i >= 0 && len(got) == 0:
		c.Files = slices.Delete(c.Files, i, i+1)
	case i >= 0:
		c.Files[i].Data = got
	case len(got) > 0:
		c.Files = append(c.Files, txtar.File{Name: name, Data: got})
	}
	Write(tb, c.Path, txtar.Format(c.Archive))
}
