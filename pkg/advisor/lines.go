package advisor

import (
	"bytes"
	"hash/maphash"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// lines are those of a block that are counted.
type lines struct {
	*Collector
	b *block
	t *tally
}

// parse counts the lines of a block.
func (c *lines) parse(u *querylog.Unwrapper, b *block) {
	c.b = b
	b.queries = b.queries[:0]
	u.Lines(b.data, c.line)
}

func (c *lines) line(line []byte, v querylog.Verdict, r *querylog.Record) {
	c.t.lines++
	switch v {
	case querylog.Query:
		c.query(r, line)
	case querylog.Other:
		c.t.skipped.Other++
		c.t.unread.line(line)
	case querylog.Malformed:
		c.t.skipped.Malformed++
		c.t.unread.line(line)
	case querylog.Request:
		c.t.skipped.Requests++
	}
}

// query counts a query. Its name and text are parts of the block.
func (c *lines) query(r *querylog.Record, text []byte) {
	t := c.t
	t.queries++
	t.kinds[r.Type][r.Result]++
	t.forms[r.Form]++
	if bytes.HasSuffix(r.Name, c.suffix) {
		t.inCluster++
	}
	hash := maphash.Bytes(c.seed, r.Name)
	id := lineOf(hash, r, text)
	t.sample.line(hash, id, r)
	if r.Unix == 0 {
		t.untimed++
	} else {
		if t.first == 0 || r.Unix < t.first {
			t.first = r.Unix
		}
		t.last = max(t.last, r.Unix)
	}
	index, why := c.owners.find(r), Reason("")
	if index < 0 {
		index, why = c.clients.find(r)
	}
	if index < 0 {
		t.unattributed[why]++
		if next := c.clients.before(r); next >= 0 {
			t.early[next] = true
		}
		client := r.Client
		if len(r.Pod) > 0 {
			client = podKey(r.Namespace, r.Pod)
		}
		if u := t.unknown[string(client)]; u != nil {
			u.queries++
		} else if len(t.unknown) < maxUnknown {
			t.unknown[string(client)] = &unknownClient{why, 1}
		}
		return
	}
	c.b.queries = append(c.b.queries, query{
		hash: hash, line: id,
		// Both slices end where the block's array does.
		offset: uint32(cap(c.b.data) - cap(r.Name)),
		length: uint16(len(r.Name)),
		kind:   uint8(r.Type)*querylog.Results + uint8(r.Result), noData: r.NoData,
		tenure: index, group: c.clients.tenures[index].group,
		source: r.Source,
		unix:   uint32(max(r.Unix, 0)), transport: r.Transport,
	})
}
