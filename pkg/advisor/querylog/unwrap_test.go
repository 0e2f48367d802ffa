package querylog_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/test/testfile"
)

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
	for _, c := range testfile.ReadCases(t, "testdata/envelopes") {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			parser, err := querylog.New(strings.TrimSpace(string(c.Section("format"))))
			if err != nil {
				t.Fatal(err)
			}
			input := c.Section("input")
			got := read(t, parser, bytes.NewReader(input))
			for name, r := range map[string]io.Reader{ // reading in pieces changes nothing
				"byte by byte": iotest.OneByteReader(bytes.NewReader(input)), "by halves": iotest.HalfReader(bytes.NewReader(input)),
				"with a byte order mark":     io.MultiReader(strings.NewReader("\xef\xbb\xbf"), bytes.NewReader(input)),
				"with the error of the data": iotest.DataErrReader(bytes.NewReader(input)),
			} {
				if diff := cmp.Diff(got, read(t, parser, r)); diff != "" {
					t.Errorf("%s (-at once +so):\n%s", name, diff)
				}
			}
			c.Expect(t, "queries", []byte(got))
		})
	}
}
