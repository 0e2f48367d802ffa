package resolver

import "strings"

// This file follows the net package of Go 1.26 (dnsclient_unix.go, dnsclient.go,
// dnsconfig_unix.go).
//
// Candidate names (nameList):
//
//	name                  order
//	trailing dot          as it is, nothing else
//	dots >= ndots         as it is, then name.search for each
//	dots < ndots          name.search for each, then as it is
//	name.search too long  left out (more than 253 bytes)
//	.onion                left out (RFC 7686), also with a search domain
//	"." in the search list  ignored; if nothing else is in it, the hostname's
//	                      domain is searched
//	not a host name       nothing at all (isDomainName: letters, digits, "-" within
//	                      labels, "_"; at least one that is no digit)
//
// Every candidate is tried to the end of the list until one has an address,
// whatever goes wrong with the ones before. A and AAAA are independent of each
// other (tryOneName), each with its own run through the servers, attempts times
// round:
//
//	NOERROR, NODATA, NXDOMAIN    done
//	SERVFAIL, timeout            next server
//
// An address of either type is a success, however the other type failed. The
// error is the last one for the name as it is, which may be a SERVFAIL although
// the other type said NXDOMAIN, or the reverse; for a name with a trailing dot it
// is the first one. The type with more timeouts certainly comes last. Otherwise
// it is a race of goroutines, which the model lets the one with fewer queries win,
// and A if they are equal.
//
// rotate moves to the next server at every question, so that A and AAAA go to
// different servers; which of the two goes first is a race, and the model lets A
// go first. edns0 is always on. single-request and -reopen both ask A to the end
// before AAAA.
//
// An option that Go does not know (no-aaaa, no-tld-query, inet6, anything
// misspelled, an option without its value) makes a program that was built with
// cgo use the C library instead: then see there. The model is the one without.
const (
	goMaxNdots   = 15
	goMaxNameLen = 253 // without the trailing dot
)

type goNet struct {
	wire
	servers  []int
	search   []string // with a trailing dot
	ndots    int
	attempts int
	rotate   bool
	single   bool
	rotation int
}

// newGoNet reads resolv.conf (dnsReadConfig). Numbers that are none are 0, and
// attempts is at least 1.
func newGoNet(c Client, zone Zone) *goNet {
	g := &goNet{
		wire:     wire{zone: zone},
		servers:  c.ResolvConf.servers(maxServers, 0, 1),
		ndots:    1,
		attempts: 2,
		rotation: c.Rotation,
	}
	for _, line := range c.ResolvConf.lines() {
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \r\t\n", r) })
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "search":
			g.search = nil
			for _, domain := range words[1:] {
				if domain != "." {
					g.search = append(g.search, rooted(domain))
				}
			}
		case "options":
			for _, word := range words[1:] {
				g.option(word)
			}
		}
	}
	if len(g.search) == 0 {
		if domain, ok := domainOf(c.Hostname); ok && domain != "" {
			g.search = []string{rooted(domain)}
		}
	}
	return g
}

func (g *goNet) option(word string) {
	if value, ok := strings.CutPrefix(word, "ndots:"); ok {
		n, _ := leadingNumber(value)
		g.ndots = min(n, goMaxNdots)
	} else if value, ok := strings.CutPrefix(word, "attempts:"); ok {
		n, _ := leadingNumber(value)
		g.attempts = min(max(n, 1), modelAttempts)
	} else if word == "rotate" {
		g.rotate = true
	} else if word == "single-request" || word == "single-request-reopen" {
		g.single = true
	}
}

// lookup is goLookupIPCNAMEOrder.
func (g *goNet) lookup(name string) Lookup {
	if !goDomainName(name) {
		return Lookup{Status: NotFound}
	}
	var failure Status
	for _, candidate := range g.names(name) {
		var answers []Query
		for _, result := range g.query(candidate) {
			switch {
			case result.status == Found:
				answers = append(answers, result.answer)
			case failure == "" || candidate == name+".":
				failure = result.status
			}
		}
		if len(answers) > 0 {
			return Lookup{Queries: g.queries, Answers: answers, Status: Found}
		}
	}
	if failure == "" {
		failure = NotFound // no candidate: no addresses, and no error either
	}
	return Lookup{Queries: g.queries, Status: failure}
}

// names is nameList: the candidates, each with a trailing dot.
func (g *goNet) names(name string) []string {
	if strings.HasSuffix(name, ".") {
		if goAvoidsDNS(name) {
			return nil
		}
		return []string{name}
	}
	var names []string
	absolute := func() {
		if !goAvoidsDNS(name) {
			names = append(names, name+".")
		}
	}
	first := strings.Count(name, ".") >= g.ndots
	if first {
		absolute()
	}
	for _, suffix := range g.search {
		candidate := name + "." + suffix
		if !goAvoidsDNS(candidate) && len(candidate) <= goMaxNameLen+1 {
			names = append(names, candidate)
		}
	}
	if !first {
		absolute()
	}
	return names
}

// goResult is what tryOneName returns for one type.
type goResult struct {
	status             Status
	answer             Query
	timeouts, attempts int
}

// query asks for A and AAAA of one candidate. The results are in the order in
// which they arrive.
func (g *goNet) query(candidate string) []goResult {
	g.next()
	a, aaaa := g.servers, g.servers
	if g.rotate {
		a = rotated(g.servers, g.rotation)
		aaaa = rotated(g.servers, g.rotation+1)
		g.rotation += 2
	}
	name, ok := wireName(candidate)
	if !ok { // packing the message fails
		return []goResult{{status: Failure}, {status: Failure}}
	}
	lanes := []*goLane{{t: A, servers: a}, {t: AAAA, servers: aaaa}}
	if g.single {
		for _, lane := range lanes {
			for !lane.done(g.attempts) {
				g.step(lane, name)
			}
		}
		return []goResult{lanes[0].result, lanes[1].result}
	}
	for !lanes[0].done(g.attempts) || !lanes[1].done(g.attempts) {
		for _, lane := range lanes {
			if !lane.done(g.attempts) {
				g.step(lane, name)
			}
		}
	}
	results := []goResult{lanes[0].result, lanes[1].result}
	if later(results[0], results[1]) {
		results[0], results[1] = results[1], results[0]
	}
	return results
}

// goLane is a run of tryOneName.
type goLane struct {
	t       RRType
	servers []int
	result  goResult
	final   bool
}

func (l *goLane) done(attempts int) bool {
	return l.final || l.result.attempts >= attempts*len(l.servers)
}

func (g *goNet) step(l *goLane, name string) {
	server := l.servers[l.result.attempts%len(l.servers)]
	outcome := g.ask(server, name, l.t)
	l.result.attempts++
	switch outcome {
	case Answer:
		l.result.status, l.result.answer, l.final = Found, g.last(server, l.t), true
	case NoData, NXDomain:
		l.result.status, l.final = NotFound, true
	case Timeout:
		l.result.status = TemporaryFailure
		l.result.timeouts++
	case ServFail:
		l.result.status = TemporaryFailure
	}
}

// later tells whether a result arrives after another.
func later(r, other goResult) bool {
	if r.timeouts != other.timeouts {
		return r.timeouts > other.timeouts
	}
	return r.attempts > other.attempts
}

func rotated(servers []int, by int) []int {
	turned := make([]int, len(servers))
	for i := range servers {
		turned[i] = servers[(i+by)%len(servers)]
	}
	return turned
}

// rooted is ensureRooted.
func rooted(domain string) string {
	if strings.HasSuffix(domain, ".") {
		return domain
	}
	return domain + "."
}

// goAvoidsDNS is avoidDNS.
func goAvoidsDNS(name string) bool {
	name = strings.TrimSuffix(name, ".")
	const onion = ".onion"
	return len(name) >= len(onion) && strings.EqualFold(name[len(name)-len(onion):], onion)
}

// goDomainName is isDomainName.
func goDomainName(name string) bool {
	if name == "." {
		return true
	}
	bare, _ := strings.CutSuffix(name, ".")
	if _, ok := wireName(name); !ok || bare == "" {
		return false
	}
	nonNumeric := false
	for label := range strings.SplitSeq(bare, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '-':
				nonNumeric = true
			case '0' <= c && c <= '9':
			default:
				return false
			}
		}
	}
	return nonNumeric
}
