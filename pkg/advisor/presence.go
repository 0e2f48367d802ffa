package advisor

import (
	"math"
	"slices"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// remembered is how many queries of a pod are kept in mind to tell a retry.
const remembered = 64

// presence is where and when a pod was seen, and what it asked last.
type presence struct {
	marks       [remembered]uint32
	first, last uint32 // Unix seconds
	// segments that it was seen in; beyond is set if there are more.
	segments [6]uint16
	n        uint8
	beyond   bool
}

// at notes a query.
func (p *presence) at(segment uint16, unix uint32) {
	if unix != 0 {
		if p.first == 0 || unix < p.first {
			p.first = unix
		}
		p.last = max(p.last, unix)
	}
	if p.n > 0 && p.segments[p.n-1] == segment {
		return
	}
	if slices.Contains(p.segments[:p.n], segment) {
		return
	}
	if int(p.n) == len(p.segments) {
		p.beyond = true
		return
	}
	p.segments[p.n] = segment
	p.n++
}

// retry tells whether the pod asked the same from the same port with the same ID a
// short while ago: a retry, or the copy for another nameserver. Where it is kept does not
// depend on the seed of the hash, so that the same log gives the same report.
func (p *presence) retry(q *query) bool {
	asked := uint64(q.source)<<8 ^ uint64(q.kind/querylog.Results)<<60
	slot := &p.marks[mix(asked)%remembered]
	if mark := uint32(mix(q.hash^asked)>>32) | 1; *slot != mark {
		*slot = mark
		return false
	}
	return true
}

// A segment is a piece of a log that one server wrote: all of it, or what stands
// between two places where the time goes back, as in the logs of several servers
// one behind the other.
type segment struct {
	log   int32
	first uint32
	last  uint32
	// minutes counts queries by minute.
	minutes map[uint32]uint32
	dense   bool // there are too many minutes: they are not counted any more
	// timed and untimed are queries with a time and without.
	timed, untimed int64
	// seconds counts those with lines by where they are in their minute.
	seconds [parts]uint32
	// group is the first with a query, and several tells that there are others.
	group   int32
	several bool
}

// Limits of segments.
const (
	// backwards is how far in seconds the time goes back where another server's log
	// begins. Within one, lines are a few seconds out of order.
	backwards = 90
	// maxSegments is how many are told apart; what comes then is the last one's.
	maxSegments = 1000
	// maxMinutes of one are more than two months.
	maxMinutes = 100_000
)

// segments cut what is read into pieces. All shards see the same queries, and cut
// alike; one of them counts.
type segments struct {
	list []segment
	time uint32 // of the query before
	// minute and n are those that are being counted.
	minute, n uint32
	second    uint32 // that was counted last
}

// at is the number of the segment that a query of a group belongs to.
func (s *segments) at(log, group int32, unix uint32, count bool) uint16 {
	last := len(s.list) - 1
	switch {
	case last < 0, s.list[last].log != log, unix != 0 && unix+backwards < s.time:
		s.flush()
		if len(s.list) < maxSegments {
			s.list = append(s.list, segment{log: log, first: unix, group: group})
			if count {
				s.list[last+1].minutes = make(map[uint32]uint32)
			}
			last++
		}
	}
	if unix != 0 {
		s.time = unix
	}
	if !count {
		return uint16(last)
	}
	if unix == 0 {
		s.list[last].untimed++
		return uint16(last)
	}
	if minute := unix / 60; minute != s.minute {
		s.flush()
		s.minute = minute
	}
	s.n++
	of := &s.list[last]
	of.timed++
	of.several = of.several || of.group != group
	if unix != s.second {
		of.seconds[unix%parts]++
		s.second = unix
	}
	if of.first == 0 || unix < of.first {
		of.first = unix
	}
	of.last = max(of.last, unix)
	return uint16(last)
}

func (s *segments) flush() {
	if last := len(s.list) - 1; s.n > 0 && last >= 0 && s.list[last].minutes != nil {
		of := &s.list[last]
		if len(of.minutes) < maxMinutes {
			of.minutes[s.minute] += s.n
		} else {
			of.dense = true
		}
	}
	s.n = 0
}

// interval is a time that a log covers, both ends included.
type interval struct{ from, to int64 }

// A hole in a log is a time without queries in which there should have been some.
const (
	expectedInHole = 20 // queries at the usual rate
	longHole       = 10 // minutes, whatever the rate
)

// covered are the times that a segment covers, without its holes.
func (s *segment) covered() []interval {
	if s.first == 0 {
		return nil
	}
	if s.dense || s.untimed > s.timed { // what has no time may fill any hole
		return []interval{{int64(s.first), int64(s.last)}}
	}
	minutes := make([]uint32, 0, len(s.minutes))
	var all uint64
	for minute, n := range s.minutes {
		minutes = append(minutes, minute)
		all += uint64(n)
	}
	slices.Sort(minutes)
	rate := float64(all) / float64(max(len(minutes), 1))
	var list []interval
	from := minutes[0]
	for i, minute := range minutes {
		if i+1 < len(minutes) {
			if hole := minutes[i+1] - minute - 1; hole == 0 || hole < longHole && rate*float64(hole) < expectedInHole {
				continue
			}
		}
		list = append(list, interval{60*int64(from) + 60, 60*int64(minute) - 1})
		if i+1 < len(minutes) {
			from = minutes[i+1]
		}
	}
	// Where the log begins and ends is known to the second; of a hole, only the
	// whole minutes around it are.
	list[0].from, list[len(list)-1].to = int64(s.first), int64(s.last)
	for i := range list {
		list[i].to = max(list[i].from, list[i].to)
	}
	return list
}

// union joins intervals that meet, and says how long they are together.
func union(list []interval) (joined []interval, length time.Duration) {
	slices.SortFunc(list, func(a, b interval) int { return int(a.from - b.from) })
	for _, i := range list {
		if n := len(joined); n > 0 && i.from <= joined[n-1].to+60 {
			joined[n-1].to = max(joined[n-1].to, i.to)
			continue
		}
		joined = append(joined, i)
	}
	for _, i := range joined {
		length += time.Duration(i.to-i.from) * time.Second
	}
	return joined, length
}

// within cuts intervals to a time.
func within(list []interval, from, to int64) []interval {
	var cut []interval
	for _, i := range list {
		if i.from, i.to = max(i.from, from), min(i.to, to); i.from <= i.to {
			cut = append(cut, i)
		}
	}
	return cut
}

// sawStart tells whether all logs that have queries of a pod cover a start of it: a
// log of another server that begins, or ends, in the middle may lack what was asked
// then.
//
//	a log with queries of the pod      counts
//	covers the start and ten minutes   for it
//	begins where one of these ends     not: it is what came next
//	any other                          against it
func sawStart(start int64, logs [][]interval) bool {
	if start == 0 {
		return false
	}
	end := int64(math.MinInt64)
	for _, log := range logs {
		for _, i := range log {
			if i.from <= start && start+startTail <= i.to {
				end = max(end, i.to)
			}
		}
	}
	if end == math.MinInt64 {
		return false
	}
	for _, log := range logs {
		covers := slices.ContainsFunc(log, func(i interval) bool { return i.from <= start && start+startTail <= i.to })
		if !covers && (len(log) == 0 || log[0].from+backwards < end) {
			return false
		}
	}
	return true
}
