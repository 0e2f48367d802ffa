package resolverhint

// Transport is what a query log says of a query besides its name, type and source,
// in a byte.
type Transport uint8

// A Transport is the class of the EDNS buffer size and two flags.
const (
	// NotLogged is the transport of a log that does not have what is needed.
	NotLogged Transport = 0

	noEDNS Transport = iota
	edns1200
	edns1232
	edns4096
	ednsOther
	classes

	classMask Transport = 7
	flagDO    Transport = 8
	flagTCP   Transport = 16
)

// noBuffer is what CoreDNS logs for a query without EDNS (request.Request.Size).
const noBuffer = 512

// TransportOf puts the EDNS buffer size (512 where there is none, as CoreDNS logs
// it), the DO flag and the protocol into a byte.
func TransportOf(buffer uint16, do, tcp bool) Transport {
	t := ednsOther
	switch buffer {
	case noBuffer:
		t = noEDNS
	case 1200:
		t = edns1200
	case 1232:
		t = edns1232
	case 4096:
		t = edns4096
	}
	if do {
		t |= flagDO
	}
	if tcp {
		t |= flagTCP
	}
	return t
}

// Query is a query for A or AAAA. Retries and copies, with the same port and ID, are
// to be left out.
type Query struct {
	// Name is a hash of the name.
	Name uint64
	// Unix is the time in seconds, 0 where it is not known.
	Unix      int64
	Port, ID  uint16
	AAAA      bool
	Transport Transport
}

// Limits of what is taken for a pair. glibc with single-request waits for an answer
// between A and AAAA; lines of a log may be out of order by about a second.
const (
	// waiting is how many queries wait for their other half.
	waiting = 16
	// onePortSeconds is how far the halves may be apart if they share a port, which
	// is not taken again so soon by chance.
	onePortSeconds = 15
	// twoPortsSeconds and twoPortsQueries are the same for two ports, where a half
	// of the next lookup of the name would do as well.
	twoPortsSeconds = 5
	twoPortsQueries = 3
)

// half is a query that waits for its other half.
type half struct {
	name, unix       uint32
	port, id, number uint16
	aaaa             bool
	transport        Transport
}

// Client takes the queries of a pod. The zero value has seen none.
type Client struct {
	evidence Evidence
	halves   [waiting]half // the first n, the oldest first
	n        uint8
	number   uint16 // of queries, to tell how far two are apart
	ports    [8]portUse
	nextPort uint8
	run      uint8 // pairs of musl's kind since another one
	runDown  bool  // with the ID of A behind that of AAAA
	lastPort uint16
	lastID   uint16
}

// portUse is a port with the name that it was used for last.
type portUse struct {
	port uint16
	name uint32
}

// Add takes a query.
func (c *Client) Add(q Query) {
	e := &c.evidence
	if q.Transport == NotLogged {
		e.NotLogged++
		return
	}
	e.Queries++
	if q.Transport&flagDO != 0 {
		e.DO++
	}
	if q.Transport&flagTCP != 0 {
		e.TCP++
		return // its ports and IDs are of another kind
	}
	e.Sizes[q.Transport&classMask]++
	c.number++
	h := half{
		name: uint32(q.Name ^ q.Name>>32), unix: uint32(q.Unix), port: q.Port, id: q.ID, number: c.number,
		aaaa: q.AAAA, transport: q.Transport & classMask,
	}
	for i := int(c.n) - 1; i >= 0; i-- {
		other := &c.halves[i]
		if other.port == h.port && other.name == h.name && other.aaaa != h.aaaa && near(other.unix, h.unix, onePortSeconds) {
			c.pair(other, &h)
			c.remove(i)
			return
		}
	}
	if c.n == waiting {
		c.settle()
	}
	c.halves[c.n] = h
	c.n++
}

// near tells whether two times are close. One that is not known is close to all.
func near(a, b, seconds uint32) bool {
	return a == 0 || b == 0 || max(a, b)-min(a, b) <= seconds
}

func (c *Client) remove(i int) {
	copy(c.halves[i:], c.halves[i+1:c.n])
	c.n--
}

// settle decides about the half that has waited longest.
func (c *Client) settle() {
	h := c.halves[0]
	c.remove(0)
	for i := range c.halves[:c.n] {
		other := &c.halves[i]
		if other.number-h.number > twoPortsQueries {
			break
		}
		if other.name == h.name && other.aaaa != h.aaaa && near(other.unix, h.unix, twoPortsSeconds) {
			c.evidence.TwoPorts++
			if !h.aaaa {
				c.evidence.AFirst++
			}
			c.remove(i)
			return
		}
	}
	if h.aaaa {
		c.evidence.OnlyAAAA++
	} else {
		c.evidence.OnlyA++
	}
}

// pair takes two halves from one port, the one that came first and the other.
func (c *Client) pair(one, other *half) {
	a, aaaa := one, other
	if a.aaaa {
		a, aaaa = aaaa, a
	}
	if a.port == c.lastPort && a.id == c.lastID {
		return // a copy that was logged by another server
	}
	c.lastPort, c.lastID = a.port, a.id
	e := &c.evidence
	e.OnePort++
	if one.aaaa {
		e.AAAAFirst++
	}
	if other.number-one.number == 1 {
		e.Next++
	}
	distance := aaaa.id - a.id
	e.IDs[a.id>>12]++
	e.Distances[distance>>12]++
	e.constant(distance, 1)
	isClose, down := closeIDs(distance), distance > 1<<15
	if isClose {
		e.Close++
	}
	if a.transport == noEDNS {
		switch {
		case !isClose:
			c.run = 0
		case c.run == 0 || down != c.runDown:
			c.run, c.runDown = 1, down
		case c.run < 255:
			c.run++
		}
		e.Run = e.Run || c.run >= shortestRun && c.run >= runLength(e.OnePort, bySide)
		e.Longest = max(e.Longest, c.run)
	}
	for i := range c.ports {
		if p := &c.ports[i]; p.port == a.port {
			if p.name != a.name {
				e.Reused++
				p.name = a.name
			}
			return
		}
	}
	c.ports[c.nextPort%uint8(len(c.ports))] = portUse{a.port, a.name}
	c.nextPort++
}

// Evidence is what has been seen up to now. Halves that still wait are taken not to
// find each other.
func (c *Client) Evidence() Evidence {
	settled := *c
	for settled.n > 0 {
		settled.settle()
	}
	return settled.evidence
}
