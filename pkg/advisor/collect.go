package advisor

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

const (
	// blockSize is how much of a log is taken apart at once.
	blockSize = 256 << 10
	// shards is how many goroutines count; each has its own workloads.
	shards = 2
	// maxUnknown is how many addresses without a pod are told apart.
	maxUnknown = 1000
)

// Skipped counts lines that are no queries.
type Skipped struct {
	// Other lines are of something else, for example of another plugin.
	Other int64 `json:"other"`
	// Malformed lines began as one of a query, or are longer than any.
	Malformed int64 `json:"malformed"`
}

// Progress is how far a Collector is.
type Progress struct {
	Bytes, Lines int64
}

// Collector counts the queries of logs. It is not for concurrent use; it works on
// two cores by itself.
type Collector struct {
	parser  *querylog.Parser
	clients *Clients
	node    resolver.Node
	shards  [shards]*shard
	tally   tally
	logs    int
	seed    maphash.Seed
}

// tally is what is counted for a whole log.
type tally struct {
	lines, queries, bytes int64
	skipped               Skipped
	results               [querylog.Results]int64
	types                 [querylog.Types]int64
	first, last           int64 // Unix seconds, 0 without timestamps
	untimed               int64
	unknown               map[string]*unknownClient
	unattributed          map[Reason]int64
}

// unknownClient is an address that queries cannot be attributed to a pod by.
type unknownClient struct {
	why     Reason
	queries int64
}

func newTally() tally {
	return tally{unknown: make(map[string]*unknownClient), unattributed: make(map[Reason]int64)}
}

func (t *tally) add(other *tally) {
	t.lines += other.lines
	t.queries += other.queries
	t.skipped.Other += other.skipped.Other
	t.skipped.Malformed += other.skipped.Malformed
	for i := range t.results {
		t.results[i] += other.results[i]
	}
	for i := range t.types {
		t.types[i] += other.types[i]
	}
	if other.first != 0 && (t.first == 0 || other.first < t.first) {
		t.first = other.first
	}
	t.last = max(t.last, other.last)
	t.untimed += other.untimed
	for why, n := range other.unattributed {
		t.unattributed[why] += n
	}
	for address, u := range other.unknown {
		if mine := t.unknown[address]; mine != nil {
			mine.queries += u.queries
		} else if len(t.unknown) < maxUnknown {
			t.unknown[address] = u
		}
	}
}

// NewCollector makes a Collector. All pods must have been added to the clients. Of
// the node, ClusterDomain matters and, of its file, the search domains: nil leaves
// it to the report to find them in the log.
func NewCollector(parser *querylog.Parser, clients *Clients, node resolver.Node) *Collector {
	if len(node.ClusterDNS) == 0 {
		node.ClusterDNS = []string{"0.0.0.0"} // any: without one, kubelet falls back to the node's file
	}
	c := &Collector{parser: parser, clients: clients, node: node, tally: newTally(), seed: maphash.MakeSeed()}
	suffixes := func(group int32) []string {
		conf, _ := node.ResolvConf(clients.groups[group].dns)
		return dotted(conf.Searches)
	}
	for i := range c.shards {
		c.shards[i] = newShard(clients, suffixes)
	}
	return c
}

// query is a line that has been taken apart and belongs to a pod.
type query struct {
	hash   uint64 // of the name
	offset uint32 // of the name in the block
	length uint16
	kind   uint8 // type and result
	tenure int32
	source uint32
}

// block is a piece of a log, whole lines.
type block struct {
	data    []byte
	queries []query
	parsed  chan struct{}
	readers atomic.Int32
}

// Read counts a log, up to its end. tell, if not nil, is called now and then. The
// error is the reader's; what was read before counts.
func (c *Collector) Read(r io.Reader, tell func(Progress)) error {
	c.logs++
	free := make(chan *block, 8)
	for range cap(free) {
		free <- &block{data: make([]byte, blockSize)}
	}
	work := make(chan *block, cap(free))
	var ordered [shards]chan *block
	var counting, parsing sync.WaitGroup
	for i := range ordered {
		ordered[i] = make(chan *block, cap(free))
		counting.Go(func() {
			for b := range ordered[i] {
				<-b.parsed
				c.shards[i].count(b, int32(i))
				if b.readers.Add(-1) == 0 {
					free <- b
				}
			}
		})
	}
	tallies := [shards]tally{}
	for i := range tallies {
		tallies[i] = newTally()
		parsing.Go(func() {
			for b := range work {
				c.parse(b, &tallies[i])
				close(b.parsed)
			}
		})
	}
	lines := int64(0)
	err := c.split(r, func() *block { return <-free }, func(b *block) {
		b.parsed = make(chan struct{})
		b.readers.Store(shards)
		work <- b
		for i := range ordered {
			ordered[i] <- b
		}
		lines += int64(bytes.Count(b.data, []byte("\n")))
		if tell != nil {
			tell(Progress{Bytes: c.tally.bytes, Lines: c.tally.lines + lines})
		}
	})
	close(work)
	parsing.Wait()
	for i := range ordered {
		close(ordered[i])
	}
	counting.Wait()
	for i := range tallies {
		c.tally.add(&tallies[i])
	}
	return err
}

// split cuts what it reads into blocks of whole lines. A line that fits in no block
// is skipped.
func (c *Collector) split(r io.Reader, take func() *block, give func(*block)) error {
	var (
		rest     []byte // of the block before: the beginning of a line
		skipping bool   // in a line that is too long
	)
	b := take()
	for {
		b.data = b.data[:cap(b.data)]
		n := copy(b.data, rest)
		read, err := io.ReadFull(r, b.data[n:])
		c.tally.bytes += int64(read)
		data := b.data[:n+read]
		ended := err != nil
		if skipping {
			end := bytes.IndexByte(data, '\n')
			if end < 0 {
				data = data[:0]
			} else {
				data, skipping = data[end+1:], false
			}
		}
		end := len(data)
		if !ended {
			end = bytes.LastIndexByte(data, '\n') + 1
			if len(data)-end > querylog.MaxLine {
				c.tally.lines++
				c.tally.skipped.Malformed++
				skipping = true
			}
		}
		next := take()
		if skipping || ended {
			rest = nil
		} else {
			rest = append(rest[:0], data[end:]...)
		}
		b.data = b.data[:copy(b.data, data[:end])]
		give(b)
		b = next
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read log: %w", err)
		}
	}
}

// parse takes the lines of a block apart.
func (c *Collector) parse(b *block, t *tally) {
	b.queries = b.queries[:0]
	var r querylog.Record
	data := b.data
	offset := 0
	for offset < len(data) {
		end := bytes.IndexByte(data[offset:], '\n')
		if end < 0 {
			end = len(data)
		} else {
			end += offset
		}
		line := data[offset:end]
		lineAt := offset
		offset = end + 1
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			continue
		}
		t.lines++
		switch c.parser.Parse(line, &r) {
		case querylog.Other:
			t.skipped.Other++
			continue
		case querylog.Malformed:
			t.skipped.Malformed++
			continue
		case querylog.Query:
		}
		t.queries++
		t.results[r.Result]++
		t.types[r.Type]++
		if r.Unix == 0 {
			t.untimed++
		} else {
			if t.first == 0 || r.Unix < t.first {
				t.first = r.Unix
			}
			t.last = max(t.last, r.Unix)
		}
		index, why := c.clients.find(r.Client, r.Unix)
		if index < 0 {
			t.unattributed[why]++
			if u := t.unknown[string(r.Client)]; u != nil {
				u.queries++
			} else if len(t.unknown) < maxUnknown {
				t.unknown[string(r.Client)] = &unknownClient{why, 1}
			}
			continue
		}
		b.queries = append(b.queries, query{
			hash: maphash.Bytes(c.seed, r.Name),
			// Both slices end where the block's array does.
			offset: uint32(lineAt + cap(line) - cap(r.Name)),
			length: uint16(len(r.Name)),
			kind:   uint8(r.Type)*querylog.Results + uint8(r.Result),
			tenure: index,
			source: r.Source,
		})
	}
}
