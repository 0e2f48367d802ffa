package resolver

import (
	"math"
	"net/netip"
	"slices"
	"strings"
)

// This file follows c-ares 1.34 (src/lib/ares_sysconfig_files.c, ares_search.c,
// ares_getaddrinfo.c, ares_process.c). Releases before 1.24 differ in more than
// can be said here.
//
// Candidate names (ares_search_name_list):
//
//	name                  order
//	trailing dot          as it is, nothing else
//	dots >= ndots         as it is, then name.search for each
//	dots < ndots          name.search for each, then as it is
//	"." as search domain  the name with a trailing dot
//	.onion                nothing at all (RFC 7686)
//	name.search is .onion taken for NXDOMAIN
//
// A and AAAA of a candidate run beside each other. What the later of the two to
// finish says decides (host_callback):
//
//	an address of either type    found
//	NXDOMAIN, NODATA             next candidate
//	SERVFAIL, candidate without a dot   next candidate
//	SERVFAIL, timeout            the end
//	empty or long label, odd character   the end
//
// A candidate of more than 253 bytes is sent although it is no name. What becomes
// of that depends on the server; in the model, the lookup fails.
//
// Servers are in the order of their failures in a row, then of resolv.conf
// (server_increment_failures): SERVFAIL and timeout are failures, and any other
// answer clears them. A question goes to the first server, and after a failure
// to the one that is first then, attempts times the number of servers in all
// (ares_requeue_query). Once there is an IPv4 address, a failing AAAA is not
// tried again. Failures are shared by A and AAAA and remembered after the lookup;
// the model starts without any.
//
// Timeouts that adapt and jitter can change the order in which A and AAAA fail,
// which matters only if both go on failing at several servers. The model takes
// replies to A and AAAA to arrive together.
//
// A line of resolv.conf with a value of 512 bytes or more is ignored. Duplicate
// search domains and nameservers are dropped. The defaults are three attempts and
// two seconds. rotate picks servers at random, for which the model is no use;
// use-vc is known; all other options are not.
const (
	caresAttempts  = 3
	caresValueSize = 512
	caresTimeout   = 1 // in units of time; only its doubling matters
)

type cares struct {
	wire
	servers  []int // in the order of preference
	failures map[int]int
	search   []string
	ndots    int
	attempts int
}

// newCAres reads resolv.conf (ares_sysconfig_parse_resolv_line, process_option).
// A value that is no number is 0, and so is none. 0 is ignored except for ndots.
func newCAres(c Client, zone Zone) *cares {
	a := &cares{
		wire:     wire{zone: zone},
		failures: make(map[int]int),
		ndots:    1,
		attempts: caresAttempts,
	}
	seen := make(map[netip.Addr]bool)
	for _, server := range c.ResolvConf.servers(math.MaxInt, 0) {
		if server < len(c.ResolvConf.Nameservers) {
			if addr, err := netip.ParseAddr(c.ResolvConf.Nameservers[server]); err == nil {
				if seen[addr] {
					continue
				}
				seen[addr] = true
			}
		}
		a.servers = append(a.servers, server)
	}
	for _, line := range c.ResolvConf.lines() {
		keyword, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimLeftFunc(rest, isSpace)
		if len(rest) >= caresValueSize {
			continue
		}
		switch keyword {
		case "search":
			a.addSearches(rest)
		case "options":
			a.setOptions(rest)
		}
	}
	if c.LocalDomain != "" {
		a.search = nil
		a.addSearches(c.LocalDomain)
	}
	a.setOptions(c.ResOptions)
	if len(a.search) == 0 {
		if domain, ok := domainOf(c.Hostname); ok {
			a.search = []string{domain}
		}
	}
	return a
}

func (a *cares) addSearches(text string) {
	for _, domain := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		if !slices.ContainsFunc(a.search, func(other string) bool { return strings.EqualFold(other, domain) }) {
			a.search = append(a.search, domain)
		}
	}
}

func (a *cares) setOptions(text string) {
	for _, word := range strings.FieldsFunc(text, isBlank) {
		name, value, _ := strings.Cut(word, ":")
		number, _ := leadingNumber(value)
		if digits, ok := strings.CutPrefix(value, "-"); ok { // wraps around
			if n, _ := leadingNumber(digits); n > 0 {
				number = math.MaxInt
			}
		}
		switch {
		case name == "ndots":
			a.ndots = number
		case name == "attempts" && number > 0, name == "retry" && number > 0:
			a.attempts = min(number, modelAttempts)
		}
	}
}

// lookup is ares_getaddrinfo.
func (a *cares) lookup(name string) Lookup {
	if goAvoidsDNS(name) {
		return Lookup{Status: NotFound}
	}
	sawNoData := false
	status := NotFound
	for _, candidate := range a.names(name) {
		a.next()
		if goAvoidsDNS(candidate) {
			status = NotFound
			continue
		}
		asked, ok := wireName(candidate)
		if !ok || !caresHostname(asked) {
			return Lookup{Queries: a.queries, Status: Failure}
		}
		answers, last := a.query(asked)
		if len(answers) > 0 {
			return Lookup{Queries: a.queries, Answers: answers, Status: Found}
		}
		switch {
		case last == NXDomain:
			status = NotFound
		case last == NoData:
			sawNoData = true
		case last == ServFail && !strings.Contains(candidate, "."):
			status = TemporaryFailure
		default:
			return Lookup{Queries: a.queries, Status: TemporaryFailure}
		}
	}
	if sawNoData {
		status = NotFoundNoData
	}
	return Lookup{Queries: a.queries, Status: status}
}

// names is ares_search_name_list.
func (a *cares) names(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var names []string
	first := strings.Count(name, ".") >= a.ndots
	if first {
		names = append(names, name)
	}
	for _, domain := range a.search {
		if domain == "." {
			domain = ""
		}
		names = append(names, name+"."+domain)
	}
	if !first {
		names = append(names, name)
	}
	return names
}

// caresLane is one question on its way through the servers.
type caresLane struct {
	t        RRType
	tries    int
	server   int
	deadline int
	last     bool // no further tries
	outcome  Outcome
	done     bool
}

// query asks for A and AAAA of a candidate. last is the outcome of the question
// that finishes last.
func (a *cares) query(name string) (answers []Query, last Outcome) {
	lanes := []*caresLane{{t: A}, {t: AAAA}}
	now := 0
	var answered []*caresLane // with an answer under way
	send := func(l *caresLane) {
		l.server = a.servers[0]
		l.deadline = now + caresTimeout<<(l.tries/len(a.servers))
		if l.outcome = a.ask(l.server, name, l.t); l.outcome != Timeout {
			answered = append(answered, l)
		}
	}
	finish := func(l *caresLane) {
		l.done = true
		last = l.outcome
	}
	// fail tells whether the question goes out again.
	fail := func(l *caresLane) bool {
		a.failures[l.server]++
		a.sort()
		l.tries++
		if l.tries < len(a.servers)*a.attempts && !l.last {
			return true
		}
		finish(l)
		return false
	}
	for _, l := range lanes {
		send(l)
	}
	for !lanes[0].done || !lanes[1].done {
		var again []*caresLane
		if len(answered) > 0 {
			batch := answered
			answered = nil
			for _, l := range batch {
				if l.outcome == ServFail {
					if fail(l) {
						again = append(again, l)
					}
					continue
				}
				a.failures[l.server] = 0
				a.sort()
				if l.outcome == Answer {
					answers = append(answers, a.last(l.server, l.t))
					if l.t == A {
						lanes[1].last = true
					}
				}
				finish(l)
			}
			for _, l := range again {
				send(l)
			}
			continue
		}
		next := math.MaxInt
		for _, l := range lanes {
			if !l.done {
				next = min(next, l.deadline)
			}
		}
		now = next
		for _, l := range lanes {
			if !l.done && l.deadline <= now && fail(l) {
				send(l)
			}
		}
	}
	slices.SortFunc(answers, func(x, y Query) int { return int(x.Type) - int(y.Type) })
	return answers, last
}

// sort puts the servers into the order of preference.
func (a *cares) sort() {
	slices.SortFunc(a.servers, func(x, y int) int {
		if d := a.failures[x] - a.failures[y]; d != 0 {
			return d
		}
		return x - y
	})
}

// caresHostname is ares_is_hostnamech for every character.
func caresHostname(name string) bool {
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) && !strings.ContainsRune("-._/*", rune(c)) {
			return false
		}
	}
	return true
}
