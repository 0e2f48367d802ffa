package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/testfile"
)

func TestParseBenchmarks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		output string
		want   []benchmark
	}{
		"nothing": {"PASS\nok  \texample.com/a\t0.1s\n", nil},
		"the number of CPUs is cut off, and only that": {
			"BenchmarkDecide/rules=10-2 \t 100 \t 120 ns/op \t 0 B/op \t 1 allocs/op\nBenchmarkRead/30-containers \t 5 \t 7.5 ns/op\n",
			[]benchmark{
				{"Decide/rules=10", map[string]float64{"ns/op": 120, "B/op": 0, "allocs/op": 1}},
				{"Read/30-containers", map[string]float64{"ns/op": 7.5}},
			},
		},
		"of repeated runs it is the median": {
			"BenchmarkA-2 1 30 ns/op\nBenchmarkA-2 1 10 ns/op\nBenchmarkA-2 1 20 ns/op\n",
			[]benchmark{{"A", map[string]float64{"ns/op": 20}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseBenchmarks([]byte(test.output))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got, err := parseBenchmarks([]byte("BenchmarkA-2 1 many ns/op\n")); err == nil {
		t.Errorf("a value that is no number becomes %v", got)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %v of 1 to 100 is %v, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	r := &results{
		Handler: []handlerRow{{Review: "typical", Ratio: map[string]float64{"null": 0.35, "conventional": 0.061}}},
		Decide:  []decideRow{{Rules: 100, NS: 2001}, {Rules: 1000, NS: 10000}},
		Serving: []servingRow{{Server: nameShorthop, CPU: 150}, {Server: servingNames[kindConstant], CPU: 100}, {Server: nameShorthop, Rate: 500, CPU: 200}},
	}
	for _, s := range settings {
		for variant, figures := range map[string][3]float64{variantNone: {2}, nameShorthop: {3.25, 3, 16}, variantConstant: {3}, variantMAP: {4, 0, 20}} {
			r.Creates = append(r.Creates, createRow{Setting: s.name, Variant: variant, SerialP50: figures[0], CPU: figures[1], APIServerCPU: figures[2]})
		}
	}
	r.Footprint.Idle.Anonymous, r.Large.Idle.Anonymous = 16.1, 44
	r.QueryLogs = &queryLogs{Lines: 4_000_000, Seconds: 1, PeakMiB: 256.4, SplitLines: 1_000_000, SplitSeconds: 0.06}
	met := map[string]bool{}
	for _, g := range r.goals() {
		met[g.what] = g.met
	}
	want := map[string]bool{
		"CPU of a typical review, of controller-runtime's null handler":                                   true,
		"the same, of a conventional handler":                                                             false,
		"the same over HTTPS, 32 under way, of a bare TLS handler":                                        true,
		"latency added to a pod's creation, of a constant patch's: service host only":                     true,
		"CPU of API server and webhook per pod, of a MutatingAdmissionPolicy's: service host only":        false,
		"latency added to a pod's creation, of a constant patch's: ndots only":                            true,
		"CPU of API server and webhook per pod, of a MutatingAdmissionPolicy's: ndots only":               false,
		"latency added to a pod's creation, of a constant patch's: NodeLocal + service host":              true,
		"CPU of API server and webhook per pod, of a MutatingAdmissionPolicy's: NodeLocal + service host": false,
		"Decide, 100 rules":      false,
		"Decide, 1,000 rules":    true,
		"the same, allocations":  true,
		"anonymous memory, idle": false,
		"the same, 10,000 namespaces, 1,000 rules, advice of 10,000 workloads": true,
		"advise, lines of query logs per second on two cores":                  true,
		"the same, time of that to split lines into fields":                    false,
		"the same, resident memory at the peak, 10,000 clients":                false,
	}
	if diff := cmp.Diff(want, met); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What has not been measured has not been reached.
	for _, g := range (&results{}).goals() {
		if g.met && strings.Contains(g.what, "latency") {
			t.Errorf("%s: met without a measurement", g.what)
		}
	}
}

// The pages are arithmetic on what was measured: nobody edits them.
func TestPagesAreMadeFromTheResults(t *testing.T) {
	t.Parallel()
	const root = "../../"
	r, err := readResults(root + resultsFile)
	if err != nil {
		t.Fatal(err)
	}
	q, err := readQueries(root + queriesFile)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"docs/results/bench.md": r.page(), "docs/growth.md": growthPage(r, q)} {
		testfile.Expect(t, root+file, want)
	}
}

func TestPoliciesAreYAML(t *testing.T) {
	t.Parallel()
	for i := range settings {
		if _, err := yaml.YAMLToJSONStrict([]byte(mutatingPolicy(&settings[i], "team", "192.0.2.1", 6443))); err != nil {
			t.Errorf("%s: %v", settings[i].name, err)
		}
	}
}
