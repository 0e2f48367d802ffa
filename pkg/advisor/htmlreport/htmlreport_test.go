package htmlreport_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/html"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/htmlreport"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/testfile"
)

// example is a report as advise -o json prints it.
func example(t *testing.T) *advisor.Report {
	t.Helper()
	data := testfile.Read(t, "testdata/report.json")
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var r advisor.Report
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func write(t *testing.T, r *advisor.Report, comparison []advisor.Comparison) string {
	t.Helper()
	var b strings.Builder
	if err := htmlreport.Write(&b, r, comparison); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compared(r *advisor.Report) []advisor.Comparison {
	return []advisor.Comparison{
		{WorkloadKey: r.Workloads[0].WorkloadKey, Ndots: 1, Now: []int{1}, Applied: true, Before: 10, Predicted: 2, Actual: 2.125},
		{WorkloadKey: r.Workloads[1].WorkloadKey, Ndots: 3, Now: []int{2, 5}, Before: 2.75, Predicted: 3.25, Actual: 2.75},
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	r := example(t)
	got := write(t, r, compared(r))
	checkForm(t, got)
	if again := write(t, r, compared(r)); again != got {
		t.Error("the same report gives another page")
	}
	testfile.Expect(t, "testdata/report.html", got)
}

func TestPagesOfOddReports(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change     func(r *advisor.Report)
		comparison []advisor.Comparison
		want, not  []string
	}{
		"nothing at all": {
			change: func(r *advisor.Report) { *r = advisor.Report{} },
			want:   []string{"No workload asked for anything.", "No recommendation would change anything", "No name costs more", "0%"},
			not:    []string{"<svg", "<table", "Risks of", "What became of", "NaN", "0001"},
		},
		"an earlier report with nothing in common": {
			comparison: []advisor.Comparison{},
			want:       []string{"No workload has a recommendation in the earlier report"},
		},
		"no earlier report": {not: []string{"What became of"}},
		"nothing to apply": {
			change: func(r *advisor.Report) { r.Workloads = r.Workloads[2:] },
			want:   []string{"No recommendation would change anything for the better."},
			not:    []string{`id="queries-title"`},
		},
		"more than fits into a chart": {
			change: func(r *advisor.Report) {
				for len(r.Waste) < 60 {
					r.Waste = append(r.Waste, advisor.NameWaste{Name: fmt.Sprintf("host-%d.example.com", len(r.Waste)), Queries: 5, Wasted: 4})
				}
			},
			want: []string{">host-19.example.com<"},
			not:  []string{"host-20.example.com"},
		},
		"names longer than their place": {
			change: func(r *advisor.Report) {
				r.Waste[0].Name = strings.Repeat("a", 60) + ".example.com"
			},
			want: []string{">" + strings.Repeat("a", 30) + "…<"},
		},
		"characters that HTML does not have, and that make names look like others": {
			change: func(r *advisor.Report) {
				r.Waste[0].Name = "a\x00b\x1bc\u202ed\u200be\xfffаg"
			},
			want: []string{`a\x00b\x1bc\u202ed\u200be\xfff\u0430g`},
			not:  []string{"\x00", "\x1b", "\u202e", "\u200b", "\xff", "\u0430"},
		},
		"numbers beyond all measure": {
			change: func(r *advisor.Report) {
				r.Waste[0].Queries, r.Waste[0].Wasted = 1<<62, 1<<61
				r.Source.Results.NoError = 1 << 61
				r.Workloads[0].Queries, r.Workloads[1].Recommendation.Queries = 1<<62, 0
			},
			want: []string{"4,611,686,018,427,387,904"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := example(t)
			if test.change != nil {
				test.change(r)
			}
			got := write(t, r, test.comparison)
			checkForm(t, got)
			body := got[strings.Index(got, "<body>"):strings.Index(got, "<script>")]
			for _, want := range test.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q", want)
				}
			}
			for _, not := range test.not {
				if strings.Contains(body, not) {
					t.Errorf("there is %q", not)
				}
			}
		})
	}
}

// Every string of a report, also of fields that are still to come, is taken to be
// hostile: the page has the elements and attributes of one with plain strings.
func TestStringsAreNeverMarkup(t *testing.T) {
	t.Parallel()
	const own = "→–…’" // of the page
	shape := func(s string) []string {
		r := &advisor.Report{}
		fill(reflect.ValueOf(r).Elem(), s)
		c := []advisor.Comparison{{}}
		fill(reflect.ValueOf(c), s)
		page := write(t, r, c)
		checkForm(t, page)
		if raw := hostile.Raw([]byte(page), own); raw != "" {
			t.Errorf("the page has %s", raw)
		}
		var shape []string
		for _, e := range elements(t, page) {
			attributes := []string{e.Data}
			for _, a := range e.Attr {
				attributes = append(attributes, a.Key)
			}
			shape = append(shape, strings.Join(attributes, " "))
		}
		return shape
	}
	plain := shape("plain")
	if len(plain) < 100 {
		t.Fatalf("only %d elements", len(plain))
	}
	for _, text := range hostile.Texts() {
		if text.Text == "" {
			continue // what is empty has no elements
		}
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(plain, shape(text.Text)); diff != "" {
				t.Errorf("other elements (-plain +hostile):\n%s", diff)
			}
		})
	}
}

// The report is somebody else's: what the page shows of it is a copy.
func TestTheReportStaysAsItIs(t *testing.T) {
	t.Parallel()
	filled := func() (*advisor.Report, []advisor.Comparison) {
		r, c := &advisor.Report{}, []advisor.Comparison{{}}
		fill(reflect.ValueOf(r).Elem(), "a\x1bb")
		fill(reflect.ValueOf(c), "a\x1bb")
		return r, c
	}
	r, c := filled()
	write(t, r, c)
	wantReport, wantComparison := filled()
	if diff := cmp.Diff(wantReport, r, cmpopts.IgnoreUnexported(advisor.Gap{})) + cmp.Diff(wantComparison, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// fill sets every string to s, every number to 1, and gives every list one entry.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s)
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		fill(v.Index(0), s)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), s)
			}
		}
	default:
		panic("fill does not know " + v.Type().String())
	}
}

// elements parses a page.
func elements(t *testing.T, page string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var all []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// checkForm checks what holds for every page: all that is opened is closed, labels
// lead somewhere, nothing is loaded, and the policy lets the page's own style and
// script in.
func checkForm(t *testing.T, page string) {
	t.Helper()
	checkNesting(t, page)
	ids := make(map[string]int)
	var references, hashes []string
	var policy string
	for _, e := range elements(t, page) {
		if id := attribute(e, "id"); id != "" {
			ids[id]++
		}
		for _, key := range []string{"aria-labelledby", "aria-controls"} {
			references = append(references, strings.Fields(attribute(e, key))...)
		}
		if src, href := attribute(e, "src"), attribute(e, "href"); src != "" || href != "" && href != "data:," {
			t.Errorf("<%s> loads %s%s", e.Data, src, href)
		}
		switch {
		case e.Data == "style" || e.Data == "script":
			sum := sha256.Sum256([]byte(e.FirstChild.Data))
			hashes = append(hashes, fmt.Sprintf("%s-src 'sha256-%s'", e.Data, base64.StdEncoding.EncodeToString(sum[:])))
		case attribute(e, "http-equiv") == "Content-Security-Policy":
			policy = attribute(e, "content")
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %s is there %d times", id, n)
		}
	}
	for _, id := range references {
		if ids[id] == 0 {
			t.Errorf("no id %s", id)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || len(hashes) != 2 {
		t.Errorf("the policy is %q, with %d styles and scripts", policy, len(hashes))
	}
	for _, hash := range hashes {
		if !strings.Contains(policy, hash) {
			t.Errorf("the policy %q does not have %s", policy, hash)
		}
	}
}

// checkNesting is stricter than a parser, which closes what is left open.
func checkNesting(t *testing.T, page string) {
	t.Helper()
	void := []string{"meta", "link", "input"}
	var open []string
	for tokens := html.NewTokenizer(strings.NewReader(page)); ; {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return
		case html.StartTagToken:
			token := tokens.Token()
			var keys []string
			for _, a := range token.Attr {
				if slices.Contains(keys, a.Key) {
					t.Errorf("<%s> has %s twice", token.Data, a.Key)
				}
				keys = append(keys, a.Key)
			}
			if !slices.Contains(void, token.Data) {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			name := tokens.Token().Data
			if len(open) == 0 || open[len(open)-1] != name {
				t.Errorf("</%s> closes %v", name, open)
				return
			}
			open = open[:len(open)-1]
		default:
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrorsAreReturned(t *testing.T) {
	t.Parallel()
	if err := htmlreport.Write(full{}, example(t), nil); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
