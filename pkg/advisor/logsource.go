package advisor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// LogSource is one log that was read, or should have been.
type LogSource struct {
	// Name is the file's or the pod's, empty where there is none.
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Lines   int64   `json:"lines"`
	Queries int64   `json:"queries"`
	Skipped Skipped `json:"skipped"`
	// Untimed is queries without a timestamp.
	Untimed int64     `json:"untimed"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Results Results   `json:"results"`
	// Forms are what the queries stood in, those with most first.
	Forms []FormCount `json:"forms"`
	// Saw says what the lines are of which no query could be read, and what to do about
	// it; empty where that is not known or does not matter.
	Saw string `json:"saw,omitzero"`
	// BreaksOff says why there is less than there was.
	BreaksOff string `json:"breaksOff,omitzero"`
	// Missing tells that nothing of it could be read.
	Missing bool `json:"missing,omitzero"`
}

// FormCount is how many queries stood in a form.
type FormCount struct {
	Form    string `json:"form"`
	Queries int64  `json:"queries"`
	// Lacks is what the form does not have, in a sentence.
	Lacks string `json:"lacks,omitzero"`
}

// formCounts lists them, those with most queries first.
func formCounts(counts *[querylog.Forms]int64) []FormCount {
	list := []FormCount{}
	for form, n := range counts {
		if f := querylog.Form(form); n > 0 {
			list = append(list, FormCount{f.String(), n, f.Lacks()})
		}
	}
	slices.SortStableFunc(list, func(a, b FormCount) int { return cmp.Compare(b.Queries, a.Queries) })
	return list
}

// unread is what lines look like of which no query could be read.
type unread struct {
	lines  int
	shapes [querylog.Shapes]struct {
		n       int64
		example string
	}
}

// maxUnread is how many lines are looked at, and maxExample how much of one is shown.
const (
	maxUnread  = 1000
	maxExample = 100
)

func (u *unread) line(line []byte) {
	if u.lines == maxUnread {
		return
	}
	u.lines++
	s := &u.shapes[querylog.ShapeOf(line)]
	if s.n++; s.n == 1 {
		s.example = string(line[:min(len(line), maxExample)])
	}
}

func (u *unread) add(other *unread) {
	u.lines += other.lines
	for i := range other.shapes {
		mine, theirs := &u.shapes[i], &other.shapes[i]
		if mine.n == 0 {
			mine.example = theirs.example
		}
		mine.n += theirs.n
	}
}

// plainText is how many lines of text there are for one that says more: records over
// several lines have few of these.
const plainText = 20

// saw says what the lines mostly are. Messages of a server beside its queries are not
// worth a word.
func (u *unread) saw(queries int64) string {
	most := querylog.Text
	for i := range u.shapes {
		n := u.shapes[i].n
		if most == querylog.Text {
			n *= plainText
		}
		if n > u.shapes[most].n && querylog.Shape(i) != querylog.Text {
			most = querylog.Shape(i)
		}
	}
	if s := &u.shapes[most]; s.n > 0 && (queries == 0 || most != querylog.Message && most != querylog.Text) {
		return fmt.Sprintf("%s, for example %s: %s", most, strconv.QuoteToASCII(s.example), most.Advice())
	}
	return ""
}

// countedLog is a log with what is not reported of it.
type countedLog struct {
	LogSource
	kinds     kinds
	inCluster int64 // queries in the cluster's domain, as it was assumed
}

// Unread tells whether the log has something, and no query of it can be read.
func (l *LogSource) Unread() bool { return l.Missing || l.Lines > 0 && l.Queries == 0 }

// source is what a log's tally says of it.
func (t *tally) source(name string, bytes int64) countedLog {
	l := LogSource{
		Name: name, Bytes: bytes, Lines: t.lines, Queries: t.queries, Skipped: t.skipped, Untimed: t.untimed,
		Results: t.kinds.results(), Forms: formCounts(&t.forms), Saw: t.unread.saw(t.queries),
	}
	if t.first != 0 {
		l.From, l.To = time.Unix(t.first, 0).UTC(), time.Unix(t.last, 0).UTC()
	}
	return countedLog{l, t.kinds, t.inCluster}
}

// sample is the lines of logs whose hashes are below a limit, with how often each
// was read. The limit falls, so that the sample stays small and is the same part of
// all logs.
type sample struct {
	below uint64
	lines map[uint64]uint32
}

// maxSample is how many lines a sample has.
const maxSample = 4096

func newSample() sample { return sample{below: 1 << 63, lines: make(map[uint64]uint32)} }

// line takes a line into the sample if it belongs there.
func (s *sample) line(name, id uint64, r *querylog.Record) {
	if id == 0 {
		return
	}
	chosen := mix(name ^ uint64(r.Source)<<16)
	if chosen >= s.below {
		return
	}
	// The upper half decides whether a line belongs to the sample.
	s.lines[chosen&^(1<<32-1)|id>>32]++
	s.shrink()
}

func (s *sample) shrink() {
	for len(s.lines) > maxSample {
		s.below /= 2
		for hash := range s.lines {
			if hash >= s.below {
				delete(s.lines, hash)
			}
		}
	}
}

func (s *sample) add(other *sample) {
	s.below = min(s.below, other.below)
	for hash, n := range other.lines {
		s.lines[hash] += n
	}
	for hash := range s.lines {
		if hash >= s.below {
			delete(s.lines, hash)
		}
	}
	s.shrink()
}

// twice is the share of lines, in percent, that had been read before.
func (s *sample) twice() float64 {
	var all, again uint64
	for _, n := range s.lines {
		all += uint64(n)
		again += uint64(n - 1)
	}
	if all == 0 {
		return 0
	}
	return percentTotal * float64(again) / float64(all)
}
