package advisor

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/pkg/resolverhint"
)

const (
	// blockSize is how many bytes of a log are parsed at once.
	blockSize = 256 << 10
	// shards is how many goroutines count; each has its own workloads. As many parse.
	shards = 2
	// maxUnknown is how many addresses without a pod are counted one by one.
	maxUnknown = 1000
)

// Skipped counts lines that were not counted as queries.
type Skipped struct {
	// Other lines are about something else, for example from another plugin.
	Other int64 `json:"other"`
	// Malformed lines begin as a query's does, hold a query in a form that cannot be
	// read, or are longer than a query's can be.
	Malformed int64 `json:"malformed"`
	// Requests are questions in logs that have the answers on lines of their own; there
	// the answers count.
	Requests int64 `json:"requests,omitzero"`
}

// Progress is how much a Collector has read of all logs so far. Bytes are those of the
// logs as ReadLog gets them.
type Progress struct {
	Bytes, Lines int64
}

// Collector counts the queries of logs. It is not safe for concurrent use, but works
// on two cores by itself.
type Collector struct {
	parser  *querylog.Parser
	clients *Clients
	owners  owners
	node    resolver.Node
	shards  [shards]*shard
	tally   tally
	logs    []countedLog
	tooLong int64 // lines of the log that is being read which fit in no block
	seed    maphash.Seed
	suffix  []byte    // of the cluster's names, with the dot before it
	blocks  [8]*block // used again and again; their number bounds the memory
}

// tally is what is counted for a whole log.
type tally struct {
	lines, queries, bytes int64
	skipped               Skipped
	kinds                 kinds
	forms                 [querylog.Forms]int64
	unread                unread
	inCluster             int64 // queries for names in the cluster domain that is assumed
	first, last           int64 // Unix seconds, 0 without timestamps
	untimed               int64 // queries without a timestamp
	unknown               map[string]*unknownClient
	unattributed          map[Reason]int64
	early                 map[int32]bool // tenures whose address asked just before they began
	sample                sample
}

// unknownClient is an address whose queries cannot be attributed to a pod.
type unknownClient struct {
	why     Reason
	queries int64
}

func newTally() tally {
	return tally{unknown: make(map[string]*unknownClient), unattributed: make(map[Reason]int64), early: make(map[int32]bool), sample: newSample()}
}

func (t *tally) add(other *tally) {
	t.lines += other.lines
	t.queries += other.queries
	t.skipped.Other += other.skipped.Other
	t.skipped.Malformed += other.skipped.Malformed
	t.skipped.Requests += other.skipped.Requests
	for form, n := range other.forms {
		t.forms[form] += n
	}
	t.unread.add(&other.unread)
	t.kinds.add(&other.kinds)
	t.inCluster += other.inCluster
	if other.first != 0 && (t.first == 0 || other.first < t.first) {
		t.first = other.first
	}
	t.last = max(t.last, other.last)
	t.untimed += other.untimed
	t.sample.add(&other.sample)
	maps.Copy(t.early, other.early)
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

// NewCollector makes a Collector. All pods must have been added to the clients. Of the
// node, only ClusterDomain and Host.Searches matter; where Host.Searches is nil, the
// report finds the node's search domains in the log.
func NewCollector(parser *querylog.Parser, clients *Clients, node resolver.Node) *Collector {
	if len(node.ClusterDNS) == 0 {
		node.ClusterDNS = []string{"0.0.0.0"} // any address will do; without one, kubelet would give pods the node's resolv.conf
	}
	c := &Collector{parser: parser, clients: clients, owners: clients.owners(), node: node, tally: newTally(), seed: maphash.MakeSeed()}
	c.suffix = []byte("." + node.ClusterDomain)
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
	line   uint64 // what lineOf says
	offset uint32 // of the name in the block
	length uint16
	kind   uint8 // type and result
	noData bool  // an OK that is known to have no address
	tenure int32
	group  int32 // of the tenure
	source uint32
	unix   uint32 // 0 where it is not known
	// transport, with source, tells which resolver wrote the query.
	transport resolverhint.Transport
}

// block is a piece of a log that consists of whole lines.
type block struct {
	log     int32 // index of the log
	data    []byte
	queries []query
	parsed  chan struct{} // closed once queries is complete
	readers atomic.Int32  // shards that have not counted it yet
}

// Read is ReadLog for a log without a name.
func (c *Collector) Read(r io.Reader, tell func(Progress)) error { return c.ReadLog("", r, tell) }

// ReadLog counts a log, up to its end. tell, if not nil, is called after each block. An
// error is the reader's; what was read before it counts, and the report says that the
// log breaks off.
func (c *Collector) ReadLog(name string, r io.Reader, tell func(Progress)) error {
	log := int32(len(c.logs))
	free := make(chan *block, len(c.blocks))
	for i := range c.blocks {
		if c.blocks[i] == nil {
			c.blocks[i] = &block{data: make([]byte, blockSize)}
		}
		free <- c.blocks[i]
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
			l, u := lines{Collector: c, t: &tallies[i]}, querylog.Unwrapper{Parser: c.parser}
			for b := range work {
				l.parse(&u, b)
				close(b.parsed)
			}
		})
	}
	read := int64(0)
	cut := false
	input := &countedReader{r: r}
	err := c.split(querylog.NewDocuments(input), &cut, func() *block { return <-free }, func(b *block) {
		b.log = log
		b.parsed = make(chan struct{})
		b.readers.Store(shards)
		read += int64(bytes.Count(b.data, []byte("\n"))) // parsing changes them
		work <- b
		for i := range ordered {
			ordered[i] <- b
		}
		if tell != nil {
			tell(Progress{Bytes: c.tally.bytes + input.n, Lines: c.tally.lines + read})
		}
	})
	close(work)
	parsing.Wait()
	for i := range ordered {
		close(ordered[i])
	}
	counting.Wait()
	one := newTally()
	for i := range tallies {
		one.add(&tallies[i])
	}
	one.skipped.Malformed += c.tooLong
	one.lines += c.tooLong
	c.tooLong = 0
	c.tally.bytes += input.n
	source := one.source(name, input.n)
	switch {
	case err != nil:
		source.BreaksOff = err.Error()
	case cut:
		source.BreaksOff = "it ends in the middle of a line"
	}
	c.logs = append(c.logs, source)
	c.tally.add(&one)
	return err
}

// Missing notes a log that could not be read at all.
func (c *Collector) Missing(name, why string) {
	c.logs = append(c.logs, countedLog{LogSource: LogSource{Name: name, BreaksOff: why, Missing: true}})
}

// split cuts what it reads into blocks of whole lines: it gets an empty block from
// take, and hands it on to give. A line that fits in no block is skipped and counted in
// tooLong. It sets cut to whether the log ends in the middle of a line.
func (c *Collector) split(r io.Reader, cut *bool, take func() *block, give func(*block)) error {
	var (
		rest     []byte // the beginning of a line, which the block before ended with
		skipping bool   // in a line that is too long
	)
	b := take()
	for {
		b.data = b.data[:cap(b.data)]
		n := copy(b.data, rest)
		read, err := fill(r, b.data[n:])
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
			end = querylog.WholeLines(data)
			if len(data)-end > querylog.MaxUnit {
				c.tooLong++
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
		if ended {
			*cut = c.cutOff(b.data) || skipping
		}
		give(b)
		b = next
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("it ends in the middle: was it cut off?")
		case err != nil:
			return fmt.Errorf("read log: %w", err)
		}
	}
}

// cutOff tells whether the last line of a log was cut: it has no newline, and is not a
// complete query.
func (c *Collector) cutOff(data []byte) bool {
	last := bytes.Clone(data[bytes.LastIndexByte(data, '\n')+1:])
	if len(last) == 0 {
		return false
	}
	var r querylog.Record
	if querylog.InJSON(last) {
		return last[len(last)-1] != '}' && last[len(last)-1] != ']'
	}
	return c.parser.Parse(last, &r) != querylog.Query
}

// countedReader counts the bytes that are read.
type countedReader struct {
	r io.Reader
	n int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	return n, err
}

// fill reads until the buffer is full. It differs from io.ReadFull in that a
// reader's own io.ErrUnexpectedEOF, of a compressed file or a connection that was
// cut, is told from the end.
func fill(r io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var read int
		read, err = r.Read(buffer[n:])
		n += read
	}
	return n, err
}
