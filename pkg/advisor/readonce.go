package advisor

import (
	"encoding/binary"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// A line that is read again, from a copy of a log or from one that overlaps with
// another, counts once. What the lines were is kept of the last 1,500,000 or so, by
// each of the shards, in 8 MiB. Where older ones were forgotten, the sample of
// logsource.go still shows that lines were read again, and the gap says so.

const (
	// lineRows is how many rows a shard's table of lines has.
	lineRows = 1 << 17
	// rowLines is how many lines are in a row, which is as much as a processor reads
	// from memory at once: that is what this costs.
	rowLines = 16
	// fewForgotten: one line in so many, in rows that are fuller than others, is none.
	fewForgotten = 100
)

// readLines are the lines that a shard has read: of each, half of what lineOf says, in
// a row that the rest decides, the newest first. One line in a hundred million is taken
// for another.
type readLines struct {
	rows            [][rowLines]uint32
	kept, forgotten int64
}

// again tells whether a line was read before, and keeps it. 0 is one that cannot be
// told from others.
func (l *readLines) again(line uint64) bool {
	if line == 0 {
		return false
	}
	mark := uint32(line) | 1
	row := l.row(line)
	for _, m := range row {
		if m == mark {
			return true
		}
	}
	l.kept++
	if row[rowLines-1] != 0 {
		l.forgotten++
	}
	copy(row[1:], row[:rowLines-1])
	row[0] = mark
	return false
}

func (l *readLines) row(line uint64) *[rowLines]uint32 { return &l.rows[line>>32%lineRows] }

// forgot tells that there were more lines than are kept.
func (l *readLines) forgot() bool { return l.forgotten*fewForgotten > l.kept }

// lineOf identifies a line. Only one with a port and an ID can be told from another
// for the same name: these, the client, the time, and the end of the line, where the
// duration is. What stands before the client is left out: it depends on how the log
// was read.
func lineOf(name uint64, r *querylog.Record, line []byte) uint64 {
	if r.Source == 0 {
		return 0
	}
	id := mix(name ^ uint64(r.Source)<<16 ^ uint64(uint32(r.Unix)))
	id = mix(id ^ lastBytes(r.Client) ^ uint64(r.Type)<<56)
	id = mix(id ^ lastBytes(r.Client[:max(len(r.Client)-8, 0)]))
	return mix(id ^ lastBytes(line))
}

// lastBytes are at most the last eight.
func lastBytes(text []byte) (n uint64) {
	if len(text) >= 8 {
		return binary.LittleEndian.Uint64(text[len(text)-8:])
	}
	for _, b := range text {
		n = n<<8 | uint64(b)
	}
	return n
}
