package advisor

import (
	"strings"
	"testing"
)

func TestWhatWouldMakeAdviceBetter(t *testing.T) {
	t.Parallel()
	advised := func(starts int, covered int64, resolver string) Workload {
		return Workload{
			Recommendation: &Recommendation{},
			Completeness:   &Completeness{Starts: starts, CoveredSeconds: covered},
			Resolver:       WorkloadResolver{Name: resolver},
		}
	}
	const day = 24 * 60 * 60
	for name, test := range map[string]struct {
		report Report
		want   []string // what the steps begin with
	}{
		"nothing, where all is known": {Report{Workloads: []Workload{advised(1, day, "musl")}}, nil},
		"nothing of workloads, where none has advice": {
			Report{Source: Source{Gaps: []Gap{{Code: GapUnreadLog}}}, Workloads: []Workload{{}}},
			[]string{"All logs"},
		},
		"a gap is told once, for however many logs": {
			Report{Source: Source{Gaps: []Gap{{Code: GapNoAnswers}, {Code: GapNoAnswers}}}},
			[]string{"A log of all classes"},
		},
		"a start, a longer log and the resolver, of some": {
			Report{Workloads: []Workload{advised(0, 60, ""), advised(2, 60, "glibc"), advised(0, 60, "")}},
			[]string{"A log in which pods start, as after a rollout or over a night of jobs: of 2 of 3", "A longer log", "The resolver of 2 of 3 workloads"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := better(&test.report)
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf("got %q, want %q first", got[i], test.want[i])
				}
			}
		})
	}
}
