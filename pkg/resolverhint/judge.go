package resolverhint

import "math"

// Name is the resolver that wrote the queries. The names are API.
type Name string

// Names of resolvers. They are those of pkg/resolver, unless a comment says why not.
const (
	// Unknown is no name.
	Unknown Name = ""
	// Musl is musl. glibc 2.26 to 2.29 is called musl too, as its IDs are as close, and
	// that of AAAA also follows that of A: of the two, musl is the safe assumption.
	Musl Name = "musl"
	// Glibc is the GNU C library, and every program that looks up names with it.
	Glibc Name = "glibc"
	// Go is Go's own resolver. It has a question mark because others look the same when
	// they are called for one type after the other: dig, Net::DNS with the same buffer
	// size.
	Go Name = "go?"
	// CAres is c-ares 1.24 and later.
	CAres Name = "c-ares"
	// Netty is Netty's own resolver, in the builds that say 4096 in EDNS.
	Netty Name = "netty"
)

// Reason says why there is no name. The codes are API.
type Reason string

// Reasons.
const (
	// FewPairs means: fewer than 20 names were asked for by A and AAAA.
	FewPairs Reason = "few_pairs"
	// FieldsMissing means: the log has no port, ID, EDNS buffer size, DO or protocol.
	FieldsMissing Reason = "fields_missing"
	// Captured means: something between the pods and the server writes queries anew.
	Captured Reason = "dns_capture"
	// Forwarder means: queries with DO, which only forwarders send.
	Forwarder Reason = "forwarder"
	// TCP means: one query in twenty came by TCP, where ports and IDs say nothing.
	TCP Reason = "tcp"
	// TwoPorts means: A and AAAA come from two ports, and EDNS is not Go's.
	TwoPorts Reason = "two_ports"
	// SharedPort means: one port for many names, and no EDNS that tells whose.
	SharedPort Reason = "shared_port"
	// OtherEDNS means: an EDNS buffer size that no known resolver has there.
	OtherEDNS Reason = "other_edns"
	// SlowClock means: IDs that are neither random nor as close as musl's.
	SlowClock Reason = "slow_clock"
	// IDsNotSpread means: IDs are not of the whole range.
	IDsNotSpread Reason = "ids_not_spread"
	// MuslRun means: a pod has pairs of musl's kind in a row, among others.
	MuslRun Reason = "musl_run"
	// Mixed means: pairs of more than one kind.
	Mixed Reason = "mixed"
	// OneType means: more queries for one type alone, or without the other nearby, than
	// lost lines explain. Any resolver may have written them.
	OneType Reason = "one_type"
	// InTurn means: A and AAAA of a name are not asked for at once, but one after the
	// other, as Net::DNS does, or with much between them, as in a busy pod.
	InTurn Reason = "in_turn"
)

// Reasons are all reasons.
func Reasons() []Reason {
	return []Reason{FewPairs, FieldsMissing, Captured, Forwarder, TCP, TwoPorts, SharedPort, OtherEDNS, SlowClock, IDsNotSpread, MuslRun, Mixed, OneType, InTurn}
}

// Sentence says what a reason means, for people. It is empty for a reason that is not
// in the list.
func (r Reason) Sentence() string {
	switch r {
	case FewPairs:
		return "Fewer than 20 names were asked for by both A and AAAA."
	case FieldsMissing:
		return "The log does not have the client's port, the query's ID, protocol, DO and EDNS buffer size."
	case Captured:
		return "Something between the pods and this server may write queries anew: a mesh that captures DNS, or Cilium with rules for DNS."
	case Forwarder:
		return "Queries have DO, which a forwarder sets and no resolver of a program."
	case TCP:
		return "Queries come by TCP, where ports and IDs tell nothing."
	case TwoPorts:
		return "A and AAAA come from two ports without the EDNS of Go: dnspython, Net::DNS, a forwarder, glibc with single-request-reopen."
	case SharedPort:
		return "One port is used for many names, without EDNS: c-ares before 1.24, newer builds of Netty, Net::DNS."
	case OtherEDNS:
		return "The EDNS buffer size is of no resolver that is known."
	case SlowClock:
		return "The IDs of A and AAAA are neither random nor as close as musl's: taken from a slow clock, or counted."
	case IDsNotSpread:
		return "The IDs are not spread over the range, as random ones are."
	case MuslRun:
		return "Some queries of a pod have IDs as close as musl's, several times in a row: there may be two resolvers."
	case Mixed:
		return "The queries are of more than one kind: there may be several resolvers."
	case OneType:
		return "More names are asked for by one type alone than losses explain: that may be another resolver."
	case InTurn:
		return "A and AAAA of a name do not come together, or always in the same order: Net::DNS asks for one after the other, and busy pods may look so."
	}
	return ""
}

// Verdict is what the queries say.
type Verdict struct {
	Name   Name
	Reason Reason // where there is no name
	Pairs  int64
}

// minPairs is how many pairs a verdict needs at least.
const minPairs = 20

// Judge names the resolver. captured tells that something between the pods and the
// log may have written the queries anew, which cannot be seen in them.
//
// The first line that holds decides. A pair are the queries for A and AAAA of one name.
// Shares are of pairs, where nothing else is said. Four terms of the table:
//
//	close           the IDs of a pair are within musl's distance (Evidence.Close)
//	both sides      among close IDs, AAAA's is before A's about as often as behind it (bothSides)
//	own ports       less than one pair in eight came from a port that another name had just
//	                before (Evidence.Reused)
//	same distance   the one that most pairs have between their IDs (Evidence.Lead)
//
//	captured                                                    dns_capture
//	a log without the fields                                    fields_missing
//	a query with DO                                             forwarder
//	TCP, 1 query in 20                                          tcp
//	fewer than 20 pairs                                         few_pairs
//	of the pairs from one port, 4 in 5 close, and not on both
//	sides; without EDNS; own ports                              musl; slow_clock if at the same distance, 9 in 10
//	a run of musl's kind, longer than IDs on both sides have    musl_run
//	two ports, 9 in 10        EDNS 1232, 19 queries in 20       go?
//	                          else                              two_ports
//	one port, less than that and fromOnePort                    mixed
//	EDNS 1232, 4096           19 queries in 20                  c-ares, netty; in_turn if not at once
//	another size              19 queries in 20                  other_edns
//	no EDNS, or 1200          less than 19 queries in 20        mixed
//	ports of other names      1 in 8                            shared_port
//	the same distance         9 in 10                           slow_clock
//	IDs close                 more than chance has, and not on
//	                          both sides, or fewer than 50      mixed
//	IDs, distances            less than 3 quarters of the
//	                          range, or 7 in 10 in one          ids_not_spread, slow_clock (but where IDs are close)
//	AAAA's ID behind A's      more or less often than before    slow_clock
//	else                                                        glibc
//
// glibc from 2.30 on takes an ID from a clock in nanoseconds, xored with itself shifted by
// a byte (random_bits). Where A and AAAA are made within a few microseconds, as on a fast
// machine, IDs are as close as musl's. But the ID of AAAA is then behind that of A as often
// as in front of it, and with musl it is always behind.
//
// c-ares and Netty ask for A and AAAA at once, so that either may come first, and mostly
// with nothing between them. Net::DNS, whose EDNS is what a program says, goes through the
// search list for one type and then for the other.
//
// Any name but musl is withheld (one_type) if one type alone is asked for more often than
// the other, because a second resolver may be doing that. Any name but musl and go? is also
// withheld if, for every four pairs from one port, more than five queries have no other half
// there, because Net::DNS may have written them: it goes through the search list for A and
// then for AAAA.
func (e *Evidence) Judge(captured bool) Verdict {
	v := Verdict{Pairs: e.Pairs()}
	v.Name, v.Reason = e.judge(captured)
	if v.Name != Unknown && v.Name != Musl && (e.oneType() || v.Name != Go && e.mostlyAlone()) {
		v.Name, v.Reason = Unknown, OneType
	}
	return v
}

func (e *Evidence) judge(captured bool) (Name, Reason) {
	pairs := uint64(e.Pairs())
	switch {
	case captured:
		return Unknown, Captured
	case e.NotLogged > e.Queries:
		return Unknown, FieldsMissing
	case e.DO > 0:
		return Unknown, Forwarder
	case part(e.TCP, 1, 20, uint64(e.Queries)) && e.TCP > 0:
		return Unknown, TCP
	case pairs < minPairs:
		return Unknown, FewPairs
	case e.OnePort >= minPairs && part(e.Close, 4, 5, uint64(e.OnePort)) && e.mostly(noEDNS) && !part(e.Reused, 1, 8, uint64(e.OnePort)) && !e.bothSides():
		if part(e.Lead, 4, 5, uint64(e.OnePort)) { // nine pairs at the same distance against one at others
			return Unknown, SlowClock
		}
		return Musl, ""
	case e.Run && !(e.bothSides() && e.Longest < runLength(e.OnePort, max(bySide, float64(e.Close)/float64(2*e.OnePort)))):
		return Unknown, MuslRun
	case part(e.TwoPorts, 9, 10, pairs):
		if e.mostly(edns1232) {
			return Go, ""
		}
		return Unknown, TwoPorts
	case !e.fromOnePort():
		return Unknown, Mixed
	case (e.mostly(edns1232) || e.mostly(edns4096)) && !e.atOnce():
		return Unknown, InTurn
	case e.mostly(edns1232):
		return CAres, ""
	case e.mostly(edns4096):
		return Netty, ""
	case e.mostly(ednsOther):
		return Unknown, OtherEDNS
	case !e.mostly(noEDNS) && !e.mostly(edns1200):
		return Unknown, Mixed
	case part(e.Reused, 1, 8, pairs):
		return Unknown, SharedPort
	}
	return e.byIDs()
}

// byIDs judges pairs that each have a port of their own, without EDNS or with
// glibc's.
func (e *Evidence) byIDs() (Name, Reason) {
	n := uint64(e.OnePort)
	manyClose := exceeds(e.Close, n, 2*bySide, 1.0/16)
	switch {
	case part(e.Lead, 4, 5, n): // nine against one
		return Unknown, SlowClock
	case manyClose && !e.bothSides():
		return Unknown, Mixed
	case !spread(e.IDs):
		return Unknown, IDsNotSpread
	case !manyClose && !spread(e.Distances), !symmetric(e.Distances):
		return Unknown, SlowClock
	}
	return Glibc, ""
}

// bySide is the share of pairs with random IDs in which AAAA's ID is close to A's on one
// given side, behind or before.
const bySide = 1.0 / 16

// fewBothSides is how many pairs are needed to tell by the sides.
const fewBothSides = 50

// bothSides tells whether, among close IDs, that of AAAA is before that of A as often as
// behind it, within two standard deviations and a fiftieth: a wider margin would leave room
// for pairs of musl among them.
func (e *Evidence) bothSides() bool {
	behind, before := float64(e.Distances[0]), float64(e.Distances[len(e.Distances)-1])
	sum := behind + before
	return e.OnePort >= fewBothSides && math.Abs(behind-before) <= 2*math.Sqrt(sum)+sum/50
}

// fromOnePort tells whether A and AAAA of a pair come from the same port. A log that is
// lossy or out of order also gives false pairs from two ports, of halves that belong to
// different lookups of a name. They are recognised in two ways: far more halves have found
// no other half at all; or, where few names are asked for again and again, so that most
// halves find one, A is first as often as AAAA. A resolver that does ask from two ports,
// without Go's EDNS, always asks for the same type first.
func (e *Evidence) fromOnePort() bool {
	pairs := uint64(e.Pairs())
	return part(e.OnePort, 9, 10, pairs) ||
		part(e.OnePort, 3, 4, pairs) && 4*uint64(e.TwoPorts) <= uint64(e.OnlyA)+uint64(e.OnlyAAAA) ||
		part(e.OnePort, 2, 3, pairs) && e.eitherFirst()
}

// atOnce tells whether A and AAAA are asked for at once: each is first in an eighth of the
// pairs or more, and nothing is between them in three of ten. In a log that is in order, that
// is a third and all of the pairs of Netty and c-ares, none and a fifth of those of Net::DNS.
func (e *Evidence) atOnce() bool {
	pairs := uint64(e.OnePort)
	rarer := min(e.AAAAFirst, e.OnePort-e.AAAAFirst)
	return part(rarer, 1, 8, pairs) && part(e.Next, 3, 10, pairs)
}

// eitherFirst tells whether, among pairs from two ports, A came first as often as AAAA,
// within two standard deviations. Five pairs in the same order are already beyond that.
func (e *Evidence) eitherFirst() bool {
	return math.Abs(2*float64(e.AFirst)-float64(e.TwoPorts)) <= 2*math.Sqrt(float64(e.TwoPorts))
}

// part tells whether a count is the fraction of/in of a whole, or more.
func part(count uint32, of, in, whole uint64) bool {
	return uint64(count)*in >= of*whole
}

// mostly tells whether 19 of 20 queries by UDP, or more, have EDNS of a class.
func (e *Evidence) mostly(class Transport) bool {
	var all uint64
	for _, n := range e.Sizes {
		all += uint64(n)
	}
	return part(e.Sizes[class], 19, 20, all)
}

// sigmas is how many standard deviations are still taken for chance, where nothing else
// is said.
const sigmas = 4

// exceeds tells whether a count is more than share*n by more than chance and slack*n
// together.
func exceeds(count uint32, n uint64, share, slack float64) bool {
	expected := share * float64(n)
	return float64(count) > expected+slack*float64(n)+sigmas*math.Sqrt(expected*(1-share))
}

// quarters adds up sixteenths.
func quarters(sixteenths [16]uint32) (quarters [4]uint32, all uint64) {
	for i, n := range sixteenths {
		quarters[i/4] += n
		all += uint64(n)
	}
	return quarters, all
}

// spread tells whether at least three of the four quarters of the range occur, and no
// quarter has more than seven in ten. A stricter test would reject glibc 2.41, whose
// distances are around the middle of the range twice as often as those of random IDs.
func spread(sixteenths [16]uint32) bool {
	counts, all := quarters(sixteenths)
	there := 0
	for _, n := range counts {
		if n > 0 {
			there++
		}
		if uint64(n)*10 > 7*all {
			return false
		}
	}
	return there >= 3
}

// symmetric tells whether A's ID is behind AAAA's as often, and as far, as the other way
// round. IDs from a clock are not, as a clock goes one way.
func symmetric(sixteenths [16]uint32) bool {
	counts, _ := quarters(sixteenths)
	return balanced(counts[0], counts[3]) && balanced(counts[1], counts[2])
}

// balanced tells whether two counts are equal within three standard deviations and a tenth.
// With a wider margin, a second resolver could pass for chance: one whose IDs come from a
// clock and are not close, as musl's on a slow machine.
func balanced(a, b uint32) bool {
	sum := float64(a) + float64(b)
	return math.Abs(float64(a)-float64(b)) <= 3*math.Sqrt(sum)+sum/10
}

// mostlyAlone tells whether, for every four pairs from one port, more than five queries have
// no other half from the same port. For lost lines to leave that many, two in five would
// have to be lost.
func (e *Evidence) mostlyAlone() bool {
	alone := uint64(e.OnlyA) + uint64(e.OnlyAAAA) + 2*uint64(e.TwoPorts)
	return 4*alone > 5*uint64(e.OnePort)
}

// oneType tells whether one type was asked for alone more often than the other. Lost lines
// and queries do not explain that, as they are of both types.
func (e *Evidence) oneType() bool {
	a, b := float64(e.OnlyA), float64(e.OnlyAAAA)
	return math.Abs(a-b) > waiting/2+sigmas*math.Sqrt(a+b)
}
