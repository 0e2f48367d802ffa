package advisor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

func webPod() *advisor.Pod {
	p := &advisor.Pod{Metadata: advisor.Metadata{PodMetadata: policy.PodMetadata{
		Namespace: "shop", Name: "web-0", OwnerReferences: []policy.OwnerReference{{Kind: "StatefulSet", Name: "web", Controller: true}},
	}}}
	p.Spec.Containers = []advisor.Container{{ContainerImage: policy.ContainerImage{Image: "web:1"}}}
	p.Status.Phase, p.Status.PodIP = "Running", "10.0.0.1"
	return p
}

// read reads a log in which the only pod is web in shop.
func read(t testing.TB, log io.Reader) (*advisor.Report, error) {
	t.Helper()
	clients := advisor.NewClients(nil, nil)
	clients.Add(webPod())
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{
		ClusterDomain: "cluster.local", Host: resolver.ResolvConf{Searches: []string{}},
	})
	err := collector.Read(log, nil)
	return collector.Report(advisor.Settings{Names: -1}), err
}

func line(port, id int, rrtype, name, code string) string {
	return fmt.Sprintf("[INFO] 10.0.0.1:%d - %d \"%s IN %s. udp 50 false 512\" %s qr,aa,rd 149 0.000102s\n", port, id, rrtype, name, code)
}

// chain is a lookup's lines, up to the answer.
func chain(port int, rrtype, name, answer string) string {
	var b strings.Builder
	for i, suffix := range []string{".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ""} {
		code := "NXDOMAIN"
		if name+suffix == answer {
			code = "NOERROR"
		}
		b.WriteString(line(port, i+1, rrtype, name+suffix, code))
		if code == "NOERROR" {
			break
		}
	}
	return b.String()
}

func TestOddInputs(t *testing.T) {
	t.Parallel()
	good := line(1, 1, "A", "web.shop.svc.cluster.local", "NOERROR")
	for name, test := range map[string]struct {
		log                       string
		queries, other, malformed int64
	}{
		"nothing":                     {"", 0, 0, 0},
		"no newline at the end":       {strings.TrimSuffix(good, "\n"), 1, 0, 0},
		"carriage returns":            {strings.ReplaceAll(good+good, "\n", "\r\n"), 2, 0, 0},
		"empty lines":                 {"\n\n" + good + "\n", 1, 0, 0},
		"a line of 10 MiB":            {good + strings.Repeat("x", 10<<20) + "\n" + good, 2, 0, 1},
		"two of them, the last cut":   {strings.Repeat("x", 10<<20) + "\n" + good + strings.Repeat("y", 10<<20), 1, 0, 2},
		"a query in a line of 10 MiB": {good[:40] + strings.Repeat("a.", 5<<20) + good[40:] + good, 1, 0, 1},
		"binary":                      {"\x00\x01\x02\n" + good + "\xff\xfe\"\n", 1, 2, 0},
		"more than a block":           {strings.Repeat(good, 10_000), 10_000, 0, 0},
		"other lines between":         {strings.Repeat("[INFO] Reloading\n"+good, 3), 3, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := read(t, iotest.HalfReader(strings.NewReader(test.log)))
			if err != nil {
				t.Fatal(err)
			}
			got := [3]int64{report.Source.Queries, report.Source.Skipped.Other, report.Source.Skipped.Malformed}
			if want := [3]int64{test.queries, test.other, test.malformed}; got != want {
				t.Errorf("queries, other and malformed lines: got %v, want %v", got, want)
			}
			if sum := got[0] + got[1] + got[2]; sum != report.Source.Lines {
				t.Errorf("%d lines, but %d of any kind", report.Source.Lines, sum)
			}
		})
	}
}

func TestWhatWasReadBeforeAnErrorCounts(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection lost")
	report, err := read(t, io.MultiReader(strings.NewReader(line(1, 1, "A", "web.shop.svc.cluster.local", "NOERROR")), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || report.Source.Queries != 1 {
		t.Errorf("got %v and %d queries, want the error and 1", err, report.Source.Queries)
	}
}

// Memory is bounded: names beyond the limit are counted, and keep their answers.
func TestMoreNamesThanAreKept(t *testing.T) {
	t.Parallel()
	const lookups = 70_000
	var log strings.Builder
	for i := range lookups {
		log.WriteString(line(i%60_000+1, i/60_000+1, "A", fmt.Sprintf("n%d.example.com", i), "NOERROR"))
	}
	log.WriteString(line(1, 9, "A", "late.db.data.svc.cluster.local", "NOERROR"))
	report, err := read(t, strings.NewReader(log.String()))
	if err != nil {
		t.Fatal(err)
	}
	w := &report.Workloads[0]
	if w.Queries != lookups+1 || w.Overflow == 0 || w.Recommendation.Confidence != advisor.ConfidenceLow {
		t.Errorf("%d queries, %d beyond the limit, confidence %s", w.Queries, w.Overflow, w.Recommendation.Confidence)
	}
	if want := 4; w.Recommendation.Ndots != want { // late.db.data.svc with cluster.local
		t.Errorf("ndots %d, want %d", w.Recommendation.Ndots, want)
	}
}

// FuzzCollector: whatever a log has, every line is counted once, and the report and
// its rules can be encoded.
func FuzzCollector(f *testing.F) {
	f.Add([]byte(chain(1, "A", "db.data", "db.data.svc.cluster.local")))
	f.Add([]byte(line(1, 1, "A", `a\"b\\.<script>`, "NOERROR") + "\x00\n\"\n"))
	f.Add([]byte(strings.Repeat(line(1, 2, "AAAA", "..", "NXDOMAIN"), 3)))
	f.Add([]byte(line(1, 1, "A", "a..cluster.local", "NXDOMAIN")))
	f.Fuzz(func(t *testing.T, log []byte) {
		report, err := read(t, bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		lines := int64(0)
		for l := range bytes.Lines(log) {
			if len(bytes.TrimSuffix(bytes.TrimSuffix(l, []byte("\n")), []byte("\r"))) > 0 {
				lines++
			}
		}
		s := report.Source
		if s.Lines != lines || s.Queries+s.Skipped.Other+s.Skipped.Malformed != lines {
			t.Fatalf("%d lines: %+v", lines, s)
		}
		if _, err := json.Marshal(report); err != nil {
			t.Fatal(err)
		}
		for i := range report.Workloads {
			if w := &report.Workloads[i]; w.Recommendation != nil && (w.Recommendation.Ndots < 1 || w.Recommendation.Ndots > 5 || w.Recommendation.Queries < 0) {
				t.Fatalf("%+v", w.Recommendation)
			}
		}
	})
}

// TestLinesThatAreReadAgainCountOnce: a copy of a log, in one file or in two, and logs
// that overlap, say what the log says.
func TestLinesThatAreReadAgainCountOnce(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200 {
		at := fmt.Sprintf("2026-01-02T03:%02d:%02dZ ", i/60, i%60)
		for l := range strings.Lines(chain(1000+2*i, "A", fmt.Sprintf("api%d.example.com", i), fmt.Sprintf("api%d.example.com", i))) {
			b.WriteString(at + l)
		}
	}
	whole := b.String()
	middle := strings.Index(whole, "2026-01-02T03:01:30Z")
	end := strings.Index(whole, "2026-01-02T03:02:30Z")
	report := func(logs ...string) *advisor.Report {
		clients := advisor.NewClients(nil, nil)
		clients.Add(webPod())
		collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{
			ClusterDomain: "cluster.local", Host: resolver.ResolvConf{Searches: []string{}},
		})
		for _, log := range logs {
			if err := collector.Read(strings.NewReader(log), nil); err != nil {
				t.Error(err)
			}
		}
		return collector.Report(advisor.Settings{Names: -1})
	}
	once := report(whole)
	for what, logs := range map[string][]string{
		"a copy":                {whole, whole},
		"three copies":          {whole, whole, whole},
		"a copy in one file":    {whole + whole},
		"windows that overlap":  {whole[:end], whole[middle:]},
		"the later one first":   {whole[middle:], whole[:end]},
		"a part that is inside": {whole, whole[middle:end]},
	} {
		again := report(logs...)
		if diff := cmp.Diff(once.Workloads[0].Names, again.Workloads[0].Names); diff != "" {
			t.Errorf("%s (-once +again):\n%s", what, diff)
		}
		if once.Workloads[0].Queries != again.Workloads[0].Queries {
			t.Errorf("%s: %d queries, once %d", what, again.Workloads[0].Queries, once.Workloads[0].Queries)
		}
		told := slices.ContainsFunc(again.Source.Gaps, func(g advisor.Gap) bool {
			return g.Code == advisor.GapReadTwice && g.Confidence == advisor.ConfidenceHigh
		})
		if !told {
			t.Errorf("%s is not told: %v", what, again.Source.Gaps)
		}
	}
}
