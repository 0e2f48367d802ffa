package querylog_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

var update = flag.Bool("update", false, "write what is read into the cases")

// read is what a log says, a line for each query.
func read(t *testing.T, parser *querylog.Parser, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(querylog.NewDocuments(r))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	u := querylog.Unwrapper{Parser: parser}
	u.Lines(data, func(_ []byte, v querylog.Verdict, r *querylog.Record) {
		words := []string{text(v, r)}
		if v == querylog.Query {
			words = []string{r.Form.String() + ":"}
			if len(r.Pod) > 0 {
				words = append(words, "pod "+string(r.Namespace)+"/"+string(r.Pod))
			}
			words = append(words, text(v, r))
			if r.NoData {
				words = append(words, "(NODATA)")
			}
		}
		out.WriteString(strings.Join(words, " ") + "\n")
	})
	return out.String()
}

// Each file is an envelope: a comment, a format if it is not common, the input, and what
// is read of it. To add one, write it without the last part, and run with -update.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/envelopes/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := make(map[string][]byte)
			for _, f := range archive.Files {
				parts[f.Name] = f.Data
			}
			parser, err := querylog.New(strings.TrimSpace(string(parts["format"])))
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, parser, bytes.NewReader(parts["input"]))
			for name, r := range map[string]io.Reader{ // reading in pieces changes nothing
				"byte by byte": iotest.OneByteReader(bytes.NewReader(parts["input"])), "by halves": iotest.HalfReader(bytes.NewReader(parts["input"])),
				"with a byte order mark":     io.MultiReader(strings.NewReader("\xef\xbb\xbf"), bytes.NewReader(parts["input"])),
				"with the error of the data": iotest.DataErrReader(bytes.NewReader(parts["input"])),
			} {
				if diff := cmp.Diff(got, read(t, parser, r)); diff != "" {
					t.Errorf("%s (-at once +so):\n%s", name, diff)
				}
			}
			if *update {
				archive.Files = append(archive.Files[:len(archive.Files)-min(1, len(parts["queries"]))], txtar.File{Name: "queries", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(parts["queries"]), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
