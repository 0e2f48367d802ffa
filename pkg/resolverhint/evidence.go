package resolverhint

import "math"

// Evidence counts the queries and pairs of one pod or several.
type Evidence struct {
	// Queries for A and AAAA; those by TCP and with DO among them.
	Queries, TCP, DO uint32
	// NotLogged are queries of a log that does not have what is needed.
	NotLogged uint32
	// Sizes counts queries by UDP by the class of their EDNS buffer size.
	Sizes [classes]uint32
	// OnePort and TwoPorts are pairs of A and AAAA of a name. What found no other
	// half is OnlyA and OnlyAAAA.
	OnePort, TwoPorts, OnlyA, OnlyAAAA uint32
	// AFirst are those of TwoPorts whose A came first.
	AFirst uint32

	// What follows is of pairs from one port.

	// Reused are those from a port that had been used for another name just before.
	Reused uint32
	// AAAAFirst are those whose AAAA came first, and Next those with no other query
	// between their halves.
	AAAAFirst, Next uint32
	// IDs and Distances count sixteenths of the range, of A's ID and of how far
	// that of AAAA is behind it.
	IDs, Distances [16]uint32
	// Close are IDs within musl's distance.
	Close uint32
	// Same is the distance that most have, if any has the majority, and Lead by how
	// many it leads over all others (Boyer and Moore).
	Same uint16
	Lead uint32
	// Run tells that some pod had so many pairs of musl's kind in a row that chance
	// does not explain it, and Longest is how many any pod had at most (up to 255).
	Run     bool
	Longest uint8
}

// Pairs is how many there are to judge by.
func (e *Evidence) Pairs() int64 { return int64(e.OnePort) + int64(e.TwoPorts) }

// Add adds what was seen of another pod.
func (e *Evidence) Add(other *Evidence) {
	e.Queries += other.Queries
	e.TCP += other.TCP
	e.DO += other.DO
	e.NotLogged += other.NotLogged
	for i := range e.Sizes {
		e.Sizes[i] += other.Sizes[i]
	}
	e.OnePort += other.OnePort
	e.TwoPorts += other.TwoPorts
	e.AFirst += other.AFirst
	e.AAAAFirst += other.AAAAFirst
	e.Next += other.Next
	e.OnlyA += other.OnlyA
	e.OnlyAAAA += other.OnlyAAAA
	e.Reused += other.Reused
	for i := range e.IDs {
		e.IDs[i] += other.IDs[i]
		e.Distances[i] += other.Distances[i]
	}
	e.Close += other.Close
	e.constant(other.Same, other.Lead)
	e.Run, e.Longest = e.Run || other.Run, max(e.Longest, other.Longest)
}

func (e *Evidence) constant(distance uint16, n uint32) {
	switch {
	case e.Same == distance:
		e.Lead += n
	case n > e.Lead:
		e.Same, e.Lead = distance, n-e.Lead
	default:
		e.Lead -= n
	}
}

// muslDistance is how far apart the IDs of musl are at most: it takes them from a
// clock in nanoseconds, one right after the other, and 1.2.4 adds up to 256.
const muslDistance = 4096

// closeIDs tells whether IDs are within musl's distance, whichever is first.
func closeIDs(distance uint16) bool {
	return distance != 0 && (distance <= muslDistance || distance >= 1<<16-muslDistance)
}

// runLength is how many pairs of musl's kind in a row are no chance after so many
// pairs, of which a share is of that kind on one side. One of random IDs is so with a
// sixteenth.
func runLength(pairs uint32, share float64) uint8 {
	const once = 50 // in so many logs
	length := math.Ceil(math.Log(once*float64(pairs)) / -math.Log(share))
	return uint8(min(max(length, shortestRun), math.MaxUint8))
}

// shortestRun is as few as may be one.
const shortestRun = 5
