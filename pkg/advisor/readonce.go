package advisor

import (
	"encoding/binary"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// A line that is read again, from a copy of a log or from one that overlaps with
// another, counts once. What the lines were is kept of the last of them, by each of
// the shards: 1,500,000 to 3,000,000, in 8 MiB and then 16. Where older ones were
// forgotten, the sample of logsource.go still shows that lines were read again, and
// the gap says so.

// lineSlots is how large each of a shard's two tables of lines is.
const lineSlots = 1 << 21

// readLines are the lines that a shard has read: of each, half of what lineOf says, in
// a place that the rest decides. In six million lines, one in a thousand runs takes
// one line for another.
type readLines struct {
	now, before []uint32
	n           int // in now
	// forgot tells that there were more lines than are kept.
	forgot bool
}

// again tells whether a line was read before, and keeps it. 0 is one that cannot be
// told from others.
func (l *readLines) again(line uint64) bool {
	if line == 0 {
		return false
	}
	if 4*l.n >= 3*len(l.now) {
		l.forgot = l.forgot || l.before != nil
		l.before, l.now, l.n = l.now, make([]uint32, lineSlots), 0
	}
	mark := uint32(line) | 1
	slot := slotOf(l.now, line, mark)
	if *slot == mark || l.before != nil && *slotOf(l.before, line, mark) == mark {
		return true
	}
	*slot = mark
	l.n++
	return false
}

// slotOf is where a line is in a table, or its place there.
func slotOf(table []uint32, line uint64, mark uint32) *uint32 {
	for i := line >> 32; ; i++ {
		if slot := &table[i%lineSlots]; *slot == 0 || *slot == mark {
			return slot
		}
	}
}

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
