package advisor_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/test/loggen"
)

func loggedOf(t *testing.T, cluster *loggen.Cluster, log []byte) []loggen.Logged {
	t.Helper()
	all, err := cluster.Logged(log)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func asLines(t testing.TB, records []any) []byte {
	t.Helper()
	data, err := loggen.Lines(records)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asDocument(t testing.TB, records []any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The same traffic says the same in whatever envelope it comes.
func TestEveryEnvelopeSaysTheSame(t *testing.T) {
	t.Parallel()
	cluster, log, _ := simulate(t, loggen.Options{Seed: *seed + 3, Workloads: 30, Lookups: 60, Timestamps: true, Loss: 5})
	want := advise(t, cluster, log, nil)
	all := loggedOf(t, cluster, log)
	for name, write := range loggen.Envelopes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, data := range map[string][]byte{"lines": asLines(t, write(all)), "a document": asDocument(t, write(all))} {
				got := advise(t, cluster, data, nil)
				if diff := cmp.Diff(want.Workloads, got.Workloads); diff != "" || got.Source.Skipped.Malformed > 0 {
					t.Errorf("%s: %d lines malformed (-plain +so):\n%s", how, got.Source.Skipped.Malformed, diff)
				}
			}
		})
	}
}

// Records that name the pod say the same of names and ndots. What they cannot know, they
// do not: which resolver wrote the queries.
func TestEverySourceSaysTheSame(t *testing.T) {
	t.Parallel()
	cluster, log, _ := simulate(t, loggen.Options{Seed: *seed + 4, Workloads: 40, Lookups: 60, Timestamps: true})
	all := loggedOf(t, cluster, log)
	want := advise(t, cluster, log, nil)
	for name, source := range map[string]struct {
		write func(*loggen.Logged) []any
		form  string
	}{"Inspektor Gadget": {loggen.Gadget, "Inspektor Gadget"}, "Hubble": {loggen.Flows, "Hubble"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var records []any
			for i := range all {
				records = append(records, source.write(&all[i])...)
			}
			got := advise(t, cluster, asLines(t, records), nil)
			if diff := cmp.Diff(got.Workloads, advise(t, cluster, asDocument(t, records), nil).Workloads); diff != "" {
				t.Errorf("(-lines +a document):\n%s", diff)
			}
			if got.Source.Queries != want.Source.Queries || got.Source.Skipped.Requests == 0 || len(got.Unattributed) > 0 {
				t.Errorf("%d queries of %d, %d requests, unattributed %+v", got.Source.Queries, want.Source.Queries, got.Source.Skipped.Requests, got.Unattributed)
			}
			sameAdvice(t, want, got)
			// A resolver that asks all nameservers at once has as many answers.
			var copies []byte
			for i := range all {
				one := asLines(t, source.write(&all[i]))
				copies = append(append(copies, one...), bytes.ReplaceAll(one, []byte(`"10.96.0.10"`), []byte(`"10.96.0.11"`))...)
			}
			copied := advise(t, cluster, copies, nil)
			sameAdvice(t, want, copied)
			if copied.Source.Retries != want.Source.Queries || copied.Source.ReadTwicePercent > 0 {
				t.Errorf("%d copies of %d count as retries, %.0f %% as read twice", copied.Source.Retries, want.Source.Queries, copied.Source.ReadTwicePercent)
			}
			for i := range got.Workloads {
				if w := &got.Workloads[i]; w.Resolver.Name != "" || w.Resolver.Pairs != 0 {
					t.Errorf("%s: the resolver is said to be %q by %d pairs", w.Name, w.Resolver.Name, w.Resolver.Pairs)
				}
			}
			told := false
			for _, g := range got.Source.Gaps {
				told = told || g.Code == advisor.GapSourceLacks && strings.Contains(g.Text, source.form)
			}
			if !told {
				t.Errorf("gaps %+v do not say what the source lacks", got.Source.Gaps)
			}
		})
	}
}

// An answer that is known to have no address, to the last step of a search list, is of that
// lookup, and no lookup of a name with a dot at its end: in this world a client that asks
// for AAAA only looks up www.example.net, which has none.
func TestNoDataAtTheLastStepIsNoOtherName(t *testing.T) {
	t.Parallel()
	cluster, log, made := simulate(t, loggen.Options{Seed: 21, Workloads: 60, Lookups: 60, Timestamps: true})
	var records []any
	for _, l := range loggedOf(t, cluster, log) {
		records = append(records, loggen.Gadget(&l)...)
	}
	got := advise(t, cluster, asLines(t, records), nil)
	rooted, searched := 0, 0
	for _, l := range made {
		if cluster.Workloads[l.Workload].Name == "app-21" && l.Name == "www.example.net" {
			searched++
		}
	}
	for i := range got.Workloads {
		for _, u := range got.Workloads[i].Names {
			switch {
			case got.Workloads[i].Name != "app-21":
			case u.Name == "www.example.net.":
				rooted += int(u.Lookups)
			case u.Name == "www.example.net":
				searched -= int(u.Lookups)
			}
		}
	}
	if rooted != 0 || searched != 0 {
		t.Errorf("%d lookups of www.example.net. that nobody made, and %d of www.example.net that were not found", rooted, searched)
	}
}

// sameAdvice compares names and ndots by workload.
func sameAdvice(t *testing.T, want, got *advisor.Report) {
	t.Helper()
	type advice struct {
		Ndots int
		Names map[string]int64
	}
	of := func(r *advisor.Report) map[string]advice {
		all := make(map[string]advice)
		for i := range r.Workloads {
			w := &r.Workloads[i]
			a := advice{Names: make(map[string]int64)}
			for _, u := range w.Names {
				a.Names[u.Name] = u.Lookups
			}
			if w.Recommendation != nil {
				a.Ndots = w.Recommendation.Ndots
			}
			all[w.Name] = a
		}
		return all
	}
	if diff := cmp.Diff(of(want), of(got)); diff != "" {
		t.Errorf("(-CoreDNS's log +this):\n%s", diff)
	}
}
