package advisor

import (
	"cmp"
	"slices"
)

// Comparison holds what an earlier report predicted against what a later one saw.
// Queries are per lookup, since no two logs have the same lookups.
type Comparison struct {
	WorkloadKey
	// Ndots that was recommended, and Now that in force.
	Ndots int   `json:"ndots"`
	Now   []int `json:"now"`
	// Applied tells whether all pods have it now.
	Applied bool `json:"applied"`
	// Before, Predicted and Actual are queries per lookup.
	Before    float64 `json:"before"`
	Predicted float64 `json:"predicted"`
	Actual    float64 `json:"actual"`
}

// Compare lists the workloads of both reports for which the earlier one has a
// recommendation to apply.
func Compare(earlier, now *Report) []Comparison {
	comparisons := []Comparison{}
	for i := range earlier.Workloads {
		before := &earlier.Workloads[i]
		if before.Recommendation == nil || !before.Recommendation.Apply || before.Lookups == 0 {
			continue
		}
		at := slices.IndexFunc(now.Workloads, func(w Workload) bool { return w.WorkloadKey == before.WorkloadKey })
		if at < 0 || now.Workloads[at].Lookups == 0 {
			continue
		}
		after := &now.Workloads[at]
		comparisons = append(comparisons, Comparison{
			WorkloadKey: before.WorkloadKey, Ndots: before.Recommendation.Ndots, Now: after.Ndots,
			Applied:   slices.Equal(after.Ndots, []int{before.Recommendation.Ndots}),
			Before:    float64(before.Queries) / float64(before.Lookups),
			Predicted: float64(before.Recommendation.Queries) / float64(before.Lookups),
			Actual:    float64(after.Queries) / float64(after.Lookups),
		})
	}
	slices.SortFunc(comparisons, func(a, b Comparison) int {
		return cmp.Or(a.compare(b.WorkloadKey), cmp.Compare(a.Ndots, b.Ndots))
	})
	return comparisons
}
