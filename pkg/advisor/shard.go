package advisor

import (
	"bytes"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// Limits of a shard. With all shards full, names take about 100 MB and counters
// as much.
const (
	maxNames      = 500_000
	maxCounters   = 1_000_000
	maxGroupNames = 1 << 16
)

// slabSize is how many counters or bytes of names are allocated at once.
const (
	slabSize     = 4096
	textSlabSize = 256 << 10
)

// counter is how often the pods of a group asked for a name.
type counter struct {
	group, name uint32
	counts      [querylog.Types * querylog.Results]uint32
	// noData tells that an OK was known to have no address, and answered that one was
	// not known to have none.
	noData, answered bool
}

// internedName is a name that was asked for.
type internedName struct {
	hash   uint64
	slab   uint32
	offset uint32
	length uint16
}

// shard counts the queries of some groups. Nothing in it is ever moved but indexes,
// so that growing does not need twice the memory.
type shard struct {
	clients  *Clients
	names    []internedName
	nameAt   []uint32 // hash table of indexes into names, plus one
	texts    [][]byte
	counters [][]counter
	n        int      // counters in use
	at       []uint32 // hash table of indexes of counters, plus one
	// seen is by tenure; nil where nothing was asked.
	seen     []*presence
	groups   []*groupTally // by group; nil where nothing was asked
	hints    hints
	suffixes func(group int32) []string
	segments segments
	lines    readLines
	touched  uint32 // is of no use, but that ahead has to read
}

// groupTally is what a shard knows of a group besides its counters.
type groupTally struct {
	queries, retries int64
	names            int
	suffixes         []string
	// overflow counts queries for names beyond the limits. floor is the lowest
	// ndots that keeps their answers.
	overflow int64
	floor    int
}

// newShard makes a shard. suffixes are a group's search domains as far as they are
// known beforehand, each with a dot in front.
func newShard(clients *Clients, suffixes func(group int32) []string) *shard {
	return &shard{
		clients:  clients,
		nameAt:   make([]uint32, 1<<10),
		at:       make([]uint32, 1<<10),
		suffixes: suffixes,
	}
}

// count counts the queries of a block that belong to the shard.
func (s *shard) count(b *block, number int32) {
	if s.seen == nil {
		s.seen = make([]*presence, len(s.clients.tenures)) // all have been added
		s.groups = make([]*groupTally, len(s.clients.groups))
		s.hints.clients = make([]*resolverhint.Client, len(s.clients.tenures))
		s.lines.rows = make([][rowLines]uint32, lineRows)
	}
	s.ahead(b, number)
	for i := range b.queries {
		q := &b.queries[i]
		group := q.group
		segment := s.segments.at(b.log, group, q.unix, number == 0)
		if group%shards != number {
			continue
		}
		if s.lines.again(q.line) {
			continue
		}
		tally := s.groups[group]
		if tally == nil {
			tally = &groupTally{suffixes: s.suffixes(group)}
			s.groups[group] = tally
		}
		seen := s.seen[q.tenure]
		if seen == nil {
			seen = new(presence)
			s.seen[q.tenure] = seen
		}
		seen.at(segment, q.unix)
		if q.source != 0 && seen.retry(q) {
			tally.retries++
			continue
		}
		tally.queries++
		s.hint(q)
		text := b.data[q.offset : q.offset+uint32(q.length)]
		counter := s.counter(group, tally, q.hash, text)
		if counter == nil {
			tally.overflow++
			if q.kind%querylog.Results == uint8(querylog.OK) {
				tally.raise(text)
			}
			continue
		}
		counter.counts[q.kind]++
		if q.kind%querylog.Results == uint8(querylog.OK) {
			counter.noData = counter.noData || q.noData
			counter.answered = counter.answered || !q.noData
		}
	}
}

// ahead reads what the queries of a block need of the large tables. A processor that
// waits for many places at once, none of which depends on another, waits as long as for
// one: counting then finds them near.
func (s *shard) ahead(b *block, number int32) {
	mask := uint64(len(s.at) - 1)
	for i := range b.queries {
		q := &b.queries[i]
		if q.group%shards != number {
			continue
		}
		s.touched += s.lines.row(q.line)[0]
		if n := s.at[slotAt(q.hash, q.group)&mask]; n > 0 {
			s.touched += s.counters[(n-1)/slabSize][(n-1)%slabSize].group
		}
	}
}

// slotAt is where the counter of a group and a name is in the table, before it is masked.
func slotAt(hash uint64, group int32) uint64 {
	return mix(hash ^ uint64(group)*0x9e3779b97f4a7c15)
}

// raise keeps an answer for a name that is not counted.
func (t *groupTally) raise(text []byte) {
	for _, suffix := range t.suffixes {
		if short, ok := bytes.CutSuffix(text, []byte(suffix)); ok {
			t.floor = max(t.floor, bytes.Count(short, []byte("."))+1)
		}
	}
}

// counter finds or makes the counter of a group and a name; nil at a limit. Two names of
// a group with the same hash, of 64 bits, are taken for one: with as many names as a
// group may have, in one run of ten thousand million.
func (s *shard) counter(group int32, tally *groupTally, hash uint64, text []byte) *counter {
	mask := uint64(len(s.at) - 1)
	for i := slotAt(hash, group); s.at[i&mask] != 0; i++ {
		n := s.at[i&mask] - 1
		if c := &s.counters[n/slabSize][n%slabSize]; c.group == uint32(group) && s.names[c.name].hash == hash {
			return c
		}
	}
	return s.addCounter(group, tally, hash, text)
}

func (s *shard) addCounter(group int32, tally *groupTally, hash uint64, text []byte) *counter {
	id, found := s.name(hash, text)
	if !found && id == full || s.n >= maxCounters || tally.names >= maxGroupNames {
		return nil
	}
	if 4*s.n >= 3*len(s.at) {
		s.growCounters()
	}
	if s.n%slabSize == 0 {
		s.counters = append(s.counters, make([]counter, slabSize))
	}
	c := &s.counters[s.n/slabSize][s.n%slabSize]
	c.group, c.name = uint32(group), id
	s.n++
	tally.names++
	mask := uint64(len(s.at) - 1)
	i := slotAt(hash, group)
	for s.at[i&mask] != 0 {
		i++
	}
	s.at[i&mask] = uint32(s.n)
	return c
}

// full stands for a name that has no place any more.
const full = 1<<32 - 1

// name finds a name, or adds it.
func (s *shard) name(hash uint64, text []byte) (id uint32, found bool) {
	if 4*len(s.names) >= 3*len(s.nameAt) {
		s.growNames()
	}
	mask := uint64(len(s.nameAt) - 1)
	for i := hash; ; i++ {
		slot := &s.nameAt[i&mask]
		if *slot == 0 {
			if len(s.names) >= maxNames {
				return full, false
			}
			s.addText(hash, text)
			*slot = uint32(len(s.names))
			return *slot - 1, false
		}
		if n := &s.names[*slot-1]; n.hash == hash && bytes.Equal(s.text(n), text) {
			return *slot - 1, true
		}
	}
}

func (s *shard) addText(hash uint64, text []byte) {
	last := len(s.texts) - 1
	if last < 0 || len(s.texts[last])+len(text) > textSlabSize {
		s.texts = append(s.texts, make([]byte, 0, textSlabSize))
		last++
	}
	s.names = append(s.names, internedName{hash, uint32(last), uint32(len(s.texts[last])), uint16(len(text))})
	s.texts[last] = append(s.texts[last], text...)
}

func (s *shard) text(n *internedName) []byte {
	return s.texts[n.slab][n.offset : n.offset+uint32(n.length)]
}

func (s *shard) growNames() {
	s.nameAt = make([]uint32, 2*len(s.nameAt))
	mask := uint64(len(s.nameAt) - 1)
	for id := range s.names {
		i := s.names[id].hash
		for s.nameAt[i&mask] != 0 {
			i++
		}
		s.nameAt[i&mask] = uint32(id) + 1
	}
}

func (s *shard) growCounters() {
	s.at = make([]uint32, 2*len(s.at))
	mask := uint64(len(s.at) - 1)
	for n := range s.n {
		c := &s.counters[n/slabSize][n%slabSize]
		i := slotAt(s.names[c.name].hash, int32(c.group))
		for s.at[i&mask] != 0 {
			i++
		}
		s.at[i&mask] = uint32(n) + 1
	}
}

// byGroup lists the indexes of the counters of each group.
func (s *shard) byGroup() map[int32][]uint32 {
	lists := make(map[int32][]uint32, len(s.groups))
	for group, tally := range s.groups {
		if tally != nil {
			lists[int32(group)] = make([]uint32, 0, tally.names)
		}
	}
	for n := range s.n {
		group := int32(s.counters[n/slabSize][n%slabSize].group)
		lists[group] = append(lists[group], uint32(n))
	}
	return lists
}

// mix spreads a number's bits (the finaliser of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// dotted puts a dot in front of each search domain.
func dotted(searches []string) []string {
	var suffixes []string
	for _, domain := range searches {
		if domain = strings.Trim(strings.ToLower(domain), "."); domain != "" {
			suffixes = append(suffixes, "."+domain)
		}
	}
	return suffixes
}
