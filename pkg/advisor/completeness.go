package advisor

import (
	"slices"
	"time"
)

// Completeness is what the logs have of a workload.
type Completeness struct {
	// From and To are its own first and last query, left out without timestamps.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// CoveredSeconds is the time between these that the logs with its queries cover,
	// without their holes.
	CoveredSeconds int64 `json:"coveredSeconds"`
	// Logs is in how many pieces of logs its queries are: of one server each, and
	// without a jump back in time.
	Logs int `json:"logs"`
	// Starts is how many of its pods started while all of these were written, and for
	// ten minutes more.
	Starts int `json:"starts"`
	// MissingPercent is the share of the queries that the lookups must have made and
	// the logs do not have.
	MissingPercent float64 `json:"missingPercent"`
	// Unfinished is lookups whose last queries are not there.
	Unfinished int64 `json:"unfinished"`
	// Foreign is queries that pods of other namespaces made from its addresses. They
	// count nowhere else.
	Foreign int64 `json:"foreign"`
}

// coverage is what all logs cover.
type coverage struct {
	// intervals are by segment, and logs the log of each.
	intervals [][]interval
	logs      []int32
	// trusted tells of a segment that nearly all of its queries have a time, and that it
	// is not a part of each minute.
	trusted []bool
	// tenures with queries are by group.
	tenures map[int32][]seenTenure
	// programs are by workload what its pods run.
	programs map[WorkloadKey][]program
}

// seconds are covered by any log.
func (v *coverage) seconds() int64 {
	var seconds int64
	joined, _ := union(slices.Concat(v.intervals...))
	for _, i := range joined {
		seconds += i.to - i.from
	}
	return seconds
}

// seenTenure is a pod with queries.
type seenTenure struct {
	*tenure
	*presence
	// early tells that its address had asked just before.
	early bool
}

func (c *Collector) coverage() coverage {
	v := coverage{tenures: make(map[int32][]seenTenure)}
	counted := &c.shards[0].segments
	counted.flush()
	for i := range counted.list {
		s := &counted.list[i]
		v.intervals = append(v.intervals, s.covered())
		v.logs = append(v.logs, s.log)
		_, _, thinned := s.everyMinute()
		v.trusted = append(v.trusted, s.untimed*percentTotal <= s.timed && !thinned)
	}
	for _, s := range c.shards {
		for i, p := range s.seen {
			if p != nil {
				t := &c.clients.tenures[i]
				v.tenures[t.group] = append(v.tenures[t.group], seenTenure{t, p, c.tally.early[int32(i)]})
			}
		}
	}
	v.programs = c.programs(&v)
	return v
}

// completeness says what the logs have of a workload.
func (a *assembly) completeness(evidences []*evidence) *Completeness {
	var c Completeness
	var first, last uint32
	var expected, missing int64
	var segments []uint16
	for _, e := range evidences {
		c.Foreign += e.foreign
		expected += e.expected
		missing += e.missing
		for i := range e.lookups {
			if l := &e.lookups[i]; l.unfinished {
				c.Unfinished += l.lookups()
			}
		}
		for _, t := range a.logs.tenures[e.id] {
			if t.first != 0 && (first == 0 || t.first < first) {
				first = t.first
			}
			last = max(last, t.last)
			segments = append(segments, t.segments[:t.n]...)
			if a.logs.started(t) {
				c.Starts++
			}
		}
	}
	slices.Sort(segments)
	segments = slices.Compact(segments)
	c.Logs = len(segments)
	if expected > 0 {
		c.MissingPercent = rounded(percentTotal * float64(missing) / float64(expected))
	}
	if first != 0 {
		c.From, c.To = time.Unix(int64(first), 0).UTC(), time.Unix(int64(last), 0).UTC()
		var all []interval
		for _, segment := range segments {
			all = append(all, a.logs.intervals[segment]...)
		}
		_, covered := union(within(all, int64(first), int64(last)))
		c.CoveredSeconds = int64(covered / time.Second)
	}
	return &c
}

// started tells whether a start of a pod was seen.
func (v *coverage) started(t seenTenure) bool {
	if t.beyond || t.early {
		return false
	}
	var logs [][]interval
	for _, segment := range t.segments[:t.n] {
		if !v.trusted[segment] {
			return false
		}
		logs = append(logs, v.intervals[segment])
	}
	return slices.ContainsFunc(t.starts, func(s start) bool {
		if s.by != 0 && int64(t.first) > s.by {
			return false
		}
		return int64(t.last) >= s.at && sawStart(s.at, logs)
	})
}

// rounded has one digit behind the point.
func rounded(x float64) float64 { return float64(int64(10*x+0.5)) / 10 }
