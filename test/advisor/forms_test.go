//go:build e2e

package advisor_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/test/loggen"
)

// compareForms writes a log of real traffic in every form that is read. Envelopes say
// all that the lines do; Inspektor Gadget and Hubble the same names and ndots.
func compareForms(t *testing.T, cluster *loggen.Cluster, log []byte) {
	t.Helper()
	all, err := cluster.Logged(log)
	if err != nil {
		t.Fatal(err)
	}
	want := advise(t, cluster, loggen.Plain(all))
	form := func(values []any) *advisor.Report {
		data, err := loggen.Lines(values)
		if err != nil {
			t.Fatal(err)
		}
		report := advise(t, cluster, data)
		if report.Source.Queries != want.Source.Queries || report.Source.Skipped.Malformed > 0 || len(report.Unattributed) > 0 {
			t.Errorf("%d queries of %d, %d malformed, unattributed %+v", report.Source.Queries, want.Source.Queries, report.Source.Skipped.Malformed, report.Unattributed)
		}
		return report
	}
	for name, write := range loggen.Envelopes {
		if diff := cmp.Diff(want.Workloads, form(write(all)).Workloads); diff != "" {
			t.Errorf("%s (-plain +so):\n%s", name, diff)
		}
	}
	for name, write := range map[string]func(*loggen.Logged) []any{"Inspektor Gadget": loggen.Gadget, "Hubble": loggen.Flows} {
		var values []any
		for i := range all {
			values = append(values, write(&all[i])...)
		}
		report := form(values)
		// What the source says of NODATA, CoreDNS's log does not: there, a name with a dot
		// at its end may be left over that nobody looked up. Of one workload in twenty it
		// may be so. Hubble has no IDs: two lookups of a name in one second from one port
		// may pass for one. Inspektor Gadget's counts are exact. The advice must be the same.
		names := 0
		as, got := adviceOf(want), adviceOf(report)
		for workload, a := range as {
			if got[workload].Ndots != a.Ndots {
				t.Errorf("%s: %s has ndots %d, by CoreDNS's log %d", name, workload, got[workload].Ndots, a.Ndots)
			}
			for looked, lookups := range got[workload].Names {
				if _, known := a.Names[looked]; !known {
					t.Errorf("%s: %s looks %s up %d times, by CoreDNS's log never", name, workload, looked, lookups)
				}
			}
			other := false
			for looked, lookups := range a.Names {
				found, ok := got[workload].Names[looked]
				tolerated := 0.0
				if name == "Hubble" {
					tolerated = max(3, float64(lookups)/20) // seen: 2 of 29, of hundreds a second
				}
				switch {
				case !ok && strings.HasSuffix(looked, "."):
					other = true
				case math.Abs(float64(found-lookups)) > tolerated:
					t.Errorf("%s: %s looks %s up %d times, by CoreDNS's log %d", name, workload, looked, found, lookups)
				}
			}
			if other {
				names++
			}
			if diff := cmp.Diff(a.Names, got[workload].Names); diff != "" {
				t.Logf("%s: %s (-CoreDNS's log +this):\n%s", name, workload, diff)
			}
		}
		if 20*names > len(as) {
			t.Errorf("%s: %d of %d workloads have other names", name, names, len(as))
		}
		told := false
		for _, g := range report.Source.Gaps {
			told = told || g.Code == advisor.GapSourceLacks
		}
		if !told {
			t.Errorf("%s: gaps %+v do not say what the source lacks", name, report.Source.Gaps)
		}
	}
	t.Logf("%d queries in %d forms", len(all), len(loggen.Envelopes)+2)
}

// advised is what a workload's names and ndots are.
type advised struct {
	Ndots int
	Names map[string]int64
}

func adviceOf(r *advisor.Report) map[string]advised {
	all := make(map[string]advised)
	for i := range r.Workloads {
		w := &r.Workloads[i]
		a := advised{Names: make(map[string]int64)}
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
