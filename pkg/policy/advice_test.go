package policy_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// Every file in testdata/advice has one kind of fault, which is its name. The
// comment that it begins with is the whole error.
func TestParseAdviceReportsFaults(t *testing.T) {
	t.Parallel()
	for _, file := range documents(t, "testdata/advice", ".yaml") {
		t.Run(caseName(file), func(t *testing.T) {
			t.Parallel()
			data := testfile.Read(t, file)
			_, document := leadingComment(data)
			_, err := policy.ParseAdvice(document)
			if err == nil {
				t.Fatal("the document is valid")
			}
			got := "# " + strings.ReplaceAll(err.Error(), "\n", "\n# ") + "\n"
			testfile.Expect(t, file, got+string(document))
			if _, same := policy.ParseAdviceToDecide(document); same == nil || same.Error() != err.Error() {
				t.Errorf("to decide by it: %v", same)
			}
		})
	}
}

// TestWhatIsLeftOutIsChecked reads what is covered as strictly where it is left out as where it is kept.
func TestWhatIsLeftOutIsChecked(t *testing.T) {
	t.Parallel()
	for covered, valid := range map[string]bool{
		`{}`: true, `{"high": {}}`: true, `{"high": {"2026-11-29": 1, "2026-11-30": 1440}, "medium": {"2024-02-29": 7}}`: true,
		`{"h\u0069gh": {"2026-11-29": 1}}`: true, ` { "high" : { "2026-11-29" : 10 } } `: true,
		`{"low": {}}`: false, `{"high": {"2026-11-29": 0}}`: false, `{"high": {"2026-11-29": 1441}}`: false, `{"high": {"2026-11-29": 123456}}`: false,
		`{"high": {"2026-02-29": 1}}`: false, `{"high": {"2026-11-2": 1}}`: false, `{"high": {"2026-11-29": -1}}`: false, `{"high": {"2026-11-29": 1.5}}`: false,
		`{"high": {"2026-11-29": "1"}}`: false, `{"high": {"2026-11-29": {}}}`: false, `{"high": []}`: false, `{"high": 1}`: false, `[]`: false, `1`: false, `""`: false,
		`{"high": {"2026-11-29": 1, "2026-11-29": 1}}`: false, `{"high": {}, "high": {}}`: false, `{"high": {"2026-11-29": 1}`: false, `{"high" {}}`: false,
	} {
		text := advicePart(1, 1, "d", `{"namespace": "shop", "kind": "Deployment", "name": "web", "covered": `+covered+`}`)
		kept, errKept := policy.ParseAdvice([]byte(text))
		left, errLeft := policy.ParseAdviceToDecide([]byte(text))
		if (errKept == nil) != valid || fmt.Sprint(errKept) != fmt.Sprint(errLeft) {
			t.Errorf("%s: %v, and %v where it is left out", covered, errKept, errLeft)
		}
		if valid {
			x, errX := policy.CompileAdvice(kept)
			y, errY := policy.CompileAdvice(left)
			if errX != nil || errY != nil || x.Hash() != y.Hash() {
				t.Errorf("%s: %v, %v", covered, errX, errY)
			}
		}
	}
}

func compileAdvice(t testing.TB, texts ...string) (*policy.Advice, error) {
	t.Helper()
	var parts []*policy.DNSAdvice
	for _, text := range texts {
		part, err := policy.ParseAdvice([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	return policy.CompileAdvice(parts...)
}

func advicePart(number, of int, document string, workloads ...string) string {
	return fmt.Sprintf(`{"apiVersion": "shorthop.dev/v1alpha1", "kind": "DNSAdvice", "metadata": {"name": "default"},
		"spec": {"part": {"number": %d, "of": %d, "document": %q}, "workloads": [%s]}}`, number, of, document, strings.Join(workloads, ","))
}

func TestPartsOfADocumentAreUsedTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	const (
		web = `{"namespace": "shop", "kind": "Deployment", "name": "web", "needed": {"3": "2026-11-29"}}`
		api = `{"namespace": "shop", "kind": "Deployment", "name": "api", "needed": {"3": "2026-11-29"}}`
	)
	whole := `{"apiVersion": "shorthop.dev/v1alpha1", "kind": "DNSAdvice", "spec": {"workloads": []}}`
	cases := map[string]struct {
		parts []string
		want  string
	}{
		"all parts in any order":   {[]string{advicePart(2, 2, "a", api), advicePart(1, 2, "a", web)}, ""},
		"one document without any": {[]string{whole}, ""},
		"none":                     {nil, "no document of kind DNSAdvice"},
		"one is missing":           {[]string{advicePart(1, 2, "a", web)}, "part 2 of 2 is missing"},
		"one is there twice":       {[]string{advicePart(1, 2, "a", web), advicePart(1, 2, "a", api)}, "part 1 is there twice"},
		"one is of another":        {[]string{advicePart(1, 2, "a", web), advicePart(2, 2, "b", api)}, `parts of different documents: 1 of 2 of "a", and 2 of 2 of "b"`},
		"one is a whole document":  {[]string{advicePart(1, 2, "a", web), whole}, "2 documents, and one of them is no part: there is one document, or its parts"},
		"a workload in two":        {[]string{advicePart(1, 2, "a", web), advicePart(2, 2, "a", web)}, "shop/Deployment/web is in more than one part"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if _, err := compileAdvice(t, c.parts...); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	there, errThere := compileAdvice(t, advicePart(1, 2, "a", web), advicePart(2, 2, "a", api))
	back, errBack := compileAdvice(t, advicePart(2, 2, "a", api), advicePart(1, 2, "a", web))
	if errThere != nil || errBack != nil || there.Hash() != back.Hash() {
		t.Errorf("the order of the parts makes another document: %v, %v", errThere, errBack)
	}
}

// A digest must not depend on how JSON is written.
func TestADigestIsOfTheWordsWhateverTheirNotation(t *testing.T) {
	t.Parallel()
	lists := [][]string{
		nil, {}, {""}, {"", ""}, {"a"}, {"a", "b"}, {"ab"}, {"a,b"}, {"[", "]"}, {`"`}, {`\`, "a"}, {"<&>"}, {"ü"}, {" a "}, {"a\nb"},
	}
	seen := map[policy.Digest][]string{}
	for _, words := range lists {
		want := policy.DigestOf(words)
		if other, known := seen[want]; known && len(other)+len(words) > 0 {
			t.Errorf("%q and %q have the same digest", words, other)
		}
		seen[want] = words
		compact, _ := json.Marshal(words)
		indented, _ := json.MarshalIndent(words, " ", "\t")
		for _, text := range [][]byte{compact, indented} {
			var got policy.Digest
			if err := json.Unmarshal(text, &got); err != nil || got != want {
				t.Errorf("%s: got %x, want %x (error %v)", text, got, want, err)
			}
		}
	}
	for _, text := range []string{`7`, `"a"`, `{"a":"b"}`, `[7]`, `["a",7]`} {
		got := policy.Digest(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	words := policy.DigestOf([]string{"serve"})
	lines := []string{policy.CommandLine(0, 0), policy.CommandLine(words, 0), policy.CommandLine(0, words), policy.CommandLine(words, words)}
	if lines[0] != "" || len(slices.Compact(slices.Sorted(slices.Values(lines)))) != len(lines) {
		t.Errorf("command lines that differ are %q", lines)
	}
}

func TestAdviceThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	text := advicePart(1, 1, "d")
	for padding, want := range map[int]bool{policy.MaxAdviceSize - len(text): true, policy.MaxAdviceSize - len(text) + 1: false} {
		if _, err := policy.ParseAdvice([]byte(text + strings.Repeat(" ", padding))); (err == nil) != want {
			t.Errorf("%d bytes: %v", len(text)+padding, err)
		}
	}
}

func TestRepository(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"web": "web", "web:1": "web", "registry.example.com:5000/web": "registry.example.com:5000/web",
		"registry.example.com:5000/web:1@sha256:abc": "registry.example.com:5000/web", "web@sha256:abc": "web",
	} {
		if got := policy.Repository(image); got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
	}
}

// manyAdvised is what a cluster of n workloads comes to: two versions of three
// containers each.
func manyAdvised(n int) []byte {
	a := policy.DNSAdvice{Metadata: metaName("default")}
	a.APIVersion, a.Kind = policy.APIVersion, policy.KindAdvice
	for i := range n {
		w := policy.AdvisedWorkload{
			Namespace: fmt.Sprintf("team-%d", i%200), Kind: "Deployment", Name: fmt.Sprintf("service-%d-backend", i),
			Ndots: new(int32(2 + i%3)), Fallthrough: new(int32(2)), Confidence: policy.ConfidenceHigh,
			Needed:            map[string]policy.Date{"2": "2026-11-29"},
			FallthroughNeeded: map[string]policy.Date{"2": "2026-11-29"},
			Covered:           map[policy.Confidence]map[policy.Date]int32{policy.ConfidenceHigh: {}},
		}
		for version := range 2 {
			w.References = append(w.References,
				policy.AdviceReference{Image: fmt.Sprintf("registry.example.com/team-%d/service-%d-backend:v1.%d.0", i%200, i, version), Command: "9c1185a5c5e9fc54", Seen: "2026-11-29"},
				policy.AdviceReference{Image: fmt.Sprintf("registry.example.com/mesh/proxy:1.2%d", version), Command: "af63dc4c8601ec8c", Seen: "2026-11-29"},
				policy.AdviceReference{Image: fmt.Sprintf("registry.example.com/team-%d/service-%d-migrate:v1.%d.0", i%200, i, version), Seen: "2026-11-29"})
		}
		for day := range 7 {
			w.Covered[policy.ConfidenceHigh][policy.Date(fmt.Sprintf("2026-11-%02d", 20+day))] = 720
		}
		a.Spec.Workloads = append(a.Spec.Workloads, w)
	}
	data, err := json.Marshal(&a)
	if err != nil {
		panic(err)
	}
	return data
}

func loadAdvice(t testing.TB, data []byte) *policy.Advice {
	t.Helper()
	parsed, err := policy.ParseAdviceToDecide(data)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.CompileAdvice(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// TestAdviceOfTenThousandWorkloadsIsSmall also is the record of how large it is:
// go test -v.
func TestAdviceOfTenThousandWorkloadsIsSmall(t *testing.T) {
	const workloads, limit = 10_000, 8 << 20
	data := manyAdvised(workloads)
	var before, after runtime.MemStats
	runtime.GC() // twice: pools give up what they hold at the second
	runtime.GC()
	runtime.ReadMemStats(&before)
	a := loadAdvice(t, data)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d workloads: %.1f MiB of JSON, %.1f MiB in memory", a.Len(), float64(len(data))/(1<<20), float64(size)/(1<<20))
	if size > limit {
		t.Errorf("%d bytes, more than %d", size, limit)
	}
	runtime.KeepAlive(data)
	runtime.KeepAlive(a)
}

// cpuTime is what the process has used.
func cpuTime(t testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkLoadAdvice(b *testing.B) {
	data := manyAdvised(10_000)
	b.SetBytes(int64(len(data)))
	before := cpuTime(b)
	for b.Loop() {
		loadAdvice(b, data)
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op") // which a busy machine does not change much
}

func BenchmarkDecideByAdvice(b *testing.B) {
	compiled, request := compile(b, header+"  dns: {advice: Apply}\n"), adviceRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		compiled.Decide(request)
	}
}

// adviceRequest is the ordinary one, with advice for its workload among 10,000.
func adviceRequest(t testing.TB) *policy.Request {
	r := ordinaryRequest()
	text := strings.Replace(string(manyAdvised(10_000)), `"workloads":[`, `"workloads":[{"namespace": "shop", "kind": "Deployment", "name": "web",
		"ndots": 2, "fallthrough": 2, "confidence": "high", "references": [{"image": "registry.example.com/web:1"}, {"image": "registry.example.com/proxy:1"}]},`, 1)
	r.Advice = loadAdvice(t, []byte(text))
	return r
}

func TestDecideByAdviceDoesNotAllocate(t *testing.T) {
	request := adviceRequest(t)
	for name, document := range map[string]string{
		"advised":               header + "  dns: {advice: Apply}\n",
		"advised in node-local": header + "  cluster: {domain: cluster.local}\n  dns: {mode: NodeLocal, advice: Apply}\n",
		"advised by repository": header + "  dns: {advice: Apply}\n  advice: {match: Repository}\n",
	} {
		compiled := compile(t, document)
		if d := compiled.Decide(request); d.Advice.Reason != policy.ReasonAdvised || !slices.Contains(d.DNS.Options, policy.Option{Name: "ndots", Value: "2"}) {
			t.Errorf("%s: %+v, %+v", name, d.Advice, d.DNS)
		}
		if n := testing.AllocsPerRun(100, func() { compiled.Decide(request) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
