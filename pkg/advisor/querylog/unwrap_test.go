package querylog_test

import (
	"bytes"
	"io"
	"regexp"
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
	testfile.Each(t, "testdata/envelopes", func(t *testing.T, c *testfile.Case) {
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

// GELF over TCP has a zero behind each object. No file of cases has it, as a zero makes a
// file a binary one.
func TestZerosPartObjects(t *testing.T) {
	t.Parallel()
	const object = `{"short_message": "[INFO] 10.244.1.5:30007 - 14 \"A IN db. udp 44 false 512\" NXDOMAIN qr,aa,rd 117 0.000123s", "timestamp": 1795168800}` + "\x00"
	const query = "lines of CoreDNS in JSON: 10.244.1.5 asks db type 0: 1, source 30007:14, 2026-11-20T10:00:00Z\n"
	parser, err := querylog.New("")
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, parser, strings.NewReader(strings.Repeat(object, 3)))
	if diff := cmp.Diff(strings.Repeat(query, 3), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A key that the code knows and no file tries could be lost without a test that fails:
// alone in a record, a time counts by whatever key.
func TestEveryKeyOfATimeIsTried(t *testing.T) {
	t.Parallel()
	for _, keys := range []struct{ source, function, tried string }{
		{"jsontime.go", "rankOf", "testdata/envelopes/time-by-every-key.txtar"},
		{"partial.go", "isLine", "testdata/envelopes/partial-by-every-key.txtar"},
	} {
		source := string(testfile.Read(t, keys.source))
		comments, code, _ := strings.Cut(source, "func "+keys.function+"(")
		code, _, _ = strings.Cut(code, "\n}\n")
		found := 0
		for line := range strings.Lines(code) {
			if !strings.Contains(line, "case ") {
				continue
			}
			for _, match := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(line, -1) {
				found++
				if !strings.Contains(string(testfile.Read(t, keys.tried)), match[0]+": ") {
					t.Errorf("%s: %s of %s is in no record of %s: add one", keys.source, match[1], keys.function, keys.tried)
				}
				if keys.function == "rankOf" && !regexp.MustCompile(`[ \t]`+match[1]+`[ ,\n]`).MatchString(comments) {
					t.Errorf("%s: the table lacks %s", keys.source, match[1])
				}
			}
		}
		if found < 5 {
			t.Errorf("%s: found no more than %d keys in %s", keys.source, found, keys.function)
		}
	}
}

// TestLinesOfJSONCostNothingEach: what tells where documents begin and end looks at each line of a buffer, and copies
// nothing of it.
func TestLinesOfJSONCostNothingEach(t *testing.T) {
	const n = 10_000
	log := strings.Repeat(`{"log":"[INFO] 10.244.1.5:30007 - 14 \"A IN api.example.com. udp 44 false 512\" NOERROR qr,aa,rd 117 0.000123s"}`+"\n", n)
	if allocations := testing.AllocsPerRun(3, func() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{querylog.NewDocuments(strings.NewReader(log))}); err != nil {
			t.Fatal(err)
		}
	}); allocations > n/100 {
		t.Errorf("%.0f allocations for %d lines", allocations, n)
	}
}
