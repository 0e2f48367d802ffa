package advisor

import "github.com/shorthop/shorthop/pkg/advisor/querylog"

// observed is the queries for a name: all, and those that no lookup has claimed.
type observed struct {
	// noData tells that all that is OK is known to have no address.
	noData    bool
	all, left [querylog.Types][querylog.Results]int64
}

func (o *observed) leftOf(t querylog.Type) int64 {
	return o.left[t][querylog.OK] + o.left[t][querylog.NXDomain] + o.left[t][querylog.Failed]
}

// most is the largest count of a result over A, AAAA and others.
func (o *observed) most(results ...querylog.Result) int64 {
	var most int64
	for t := range o.left {
		var sum int64
		for _, r := range results {
			sum += o.left[t][r]
		}
		most = max(most, sum)
	}
	return most
}

func (o *observed) any() bool {
	return o != nil && o.most(querylog.OK, querylog.NXDomain, querylog.Failed) > 0
}

// outcome is what a name gives, as far as all queries agree.
func (o *observed) outcome() stepOutcome {
	if o == nil {
		return unknownStep
	}
	var sums [querylog.Results]int64
	for t := range o.all {
		for r, n := range o.all[t] {
			sums[r] += n
		}
	}
	switch {
	case sums[querylog.OK] > 0 && o.noData:
		return noData
	case sums[querylog.OK] > 0 && sums[querylog.NXDomain]+sums[querylog.Failed] == 0:
		return answered
	case sums[querylog.OK] > 0:
		return unknownStep
	case sums[querylog.NXDomain] > 0:
		return nxDomain
	}
	return failed
}

// take claims n queries of a type. preferred results go first; a small rest goes
// with them.
func (o *observed) take(t querylog.Type, n int64, preferred ...querylog.Result) {
	claimed := n
	for _, r := range preferred {
		part := min(n, o.left[t][r])
		o.left[t][r] -= part
		n -= part
	}
	if rest := o.leftOf(t); rest > 0 && rest <= claimed/lossShare {
		o.left[t] = [querylog.Results]int64{}
	}
}

// lossShare is the share of the queries that may be left over because others of
// the same lookups were lost.
const lossShare = 50
