package resolver

import "strings"

// This file follows glibc 2.43 (resolv/res_init.c, res_query.c, res_send.c,
// resolv_conf.c, res-name-checking.c, nss_dns/dns-host.c; nss/getaddrinfo.c), but
// for what is new in it: strict-error, and a hyphen before an option that turns it
// off. 2.36 asks the same. Older releases know fewer options: no-aaaa came with
// 2.36, trust-ad with 2.31, no-reload with 2.26, before which only 6 search domains
// and 256 bytes of them counted.
//
// Candidate names (__res_context_search):
//
//	name                    order
//	trailing dot            as it is, nothing else
//	dots >= ndots           as it is; then, whatever went wrong, name.search for each
//	dots < ndots            name.search for each, then as it is
//	"." in the search list  stands for the name as it is, which is then not
//	                        asked again at the end
//	no-tld-query            a single label is not asked for as it is, if there are search domains
//
// What one candidate's failure does to the rest of the search list:
//
//	NXDOMAIN, NODATA        go on
//	SERVFAIL everywhere     go on
//	timeout                 leave the search list: only the name as it is is left to try
//	name cannot be sent     the same
//
// The reason that the application gets: that of the name as it is if it came
// first; otherwise NODATA if there was any, SERVFAIL if there was any, or that
// of the last candidate.
//
// One candidate over UDP (__res_context_send, send_dg): each server in turn gets
// A and AAAA together, attempts times round. The outcomes at one server mean:
//
//	A           AAAA        next
//	answered    answered    done
//	answered    SERVFAIL    done, with A alone: a failing AAAA is not even noticed
//	SERVFAIL    answered    done, with AAAA alone
//	SERVFAIL    SERVFAIL    next server at once
//	timeout     SERVFAIL    next server after the timeout, in either order
//	timeout     timeout     next server after the timeout
//	timeout     answered    A alone again, the same server; next server if it fails again
//	answered    timeout     A, then AAAA, twice more; then done with A alone
//
// "Answered" is any of NOERROR, NODATA and NXDOMAIN. The last two rows switch the
// thread over to asking A before AAAA (single-request, and after two failures
// -reopen) for as long as it lives; then, and with these options, AAAA is asked
// only of a server that answered A.
//
// A search list can kill the process (resolv_conf.c): glibc keeps a second copy of
// at most 6 domains and 256 bytes, each domain with a zero byte, and compares it
// with the first by a wrong size. If a domain does not fit into what is left, and
// those before it take no more than 56 bytes, an assertion fails. It takes a
// domain of 200 bytes or more behind short ones.
//
// Over TCP (use-vc, send_vc) each server is asked A and AAAA once, whatever the
// attempts, SERVFAIL counts as an answer, and glibc itself sets no time limit: a
// server that takes the connection and says nothing hangs the application. The
// model takes a timeout for a connection that ends.
const (
	glibcMaxNdots    = 15 // RES_MAXNDOTS
	glibcMaxAttempts = 5  // RES_MAXRETRY

	glibcCopySize    = 256 // sizeof res_state.defdname
	glibcCopyDomains = 6   // MAXDNSRCH
	glibcWrongSize   = 56  // sizeof res_state.dnsrch, with pointers of 64 bits
)

type glibc struct {
	wire
	servers    []int
	search     []string
	ndots      int
	attempts   int
	rotate     bool
	tcp        bool
	single     bool // A before AAAA
	reopen     bool // and each on a new socket
	noAAAA     bool
	noTLDQuery bool
	rotation   int
}

// newGlibc reads resolv.conf (res_vinit_1, res_setoptions). An option counts
// if a word starts with its name, so "rotated" is rotate.
func newGlibc(c Client, zone Zone) *glibc {
	g := &glibc{
		wire:     wire{zone: zone},
		servers:  c.ResolvConf.servers(maxServers, 0),
		ndots:    1,
		attempts: 2,
		rotation: c.Rotation,
	}
	for _, line := range c.ResolvConf.lines() {
		keyword, rest, _ := strings.Cut(line, " ")
		words := strings.FieldsFunc(rest, isBlank)
		switch keyword {
		case "search":
			if len(words) > 0 {
				g.search = words
			}
		case "options":
			g.options(rest)
		}
	}
	if c.LocalDomain != "" {
		g.search = glibcLocalDomain(c.LocalDomain)
	}
	g.options(c.ResOptions)
	if g.search == nil {
		if domain, ok := domainOf(c.Hostname); ok {
			g.search = []string{domain}
		}
	}
	return g
}

// glibcLocalDomain splits LOCALDOMAIN up to the end of its first line (res_vinit_1).
// What stands before the first blank is a domain even where it is empty: the root.
func glibcLocalDomain(text string) []string {
	text, _, _ = strings.Cut(text, "\n")
	first, rest := text, ""
	if at := strings.IndexFunc(text, isBlank); at >= 0 {
		first, rest = text[:at], text[at:]
	}
	return append([]string{first}, strings.FieldsFunc(rest, isBlank)...)
}

// options reads the words of a text (res_setoptions).
func (g *glibc) options(text string) {
	for {
		text = strings.TrimLeftFunc(text, isBlank)
		if text == "" {
			return
		}
		g.option(text)
		end := strings.IndexFunc(text, isBlank)
		if end < 0 {
			return
		}
		text = text[end:]
	}
}

// option reads the word at the beginning of a text. A number may come after white
// space, of which atoi takes no notice: "ndots: 2" is 2.
func (g *glibc) option(word string) {
	// A text that is no number is 0. A negative ndots wraps around in four bits.
	number := func(text string) int {
		text = strings.TrimLeft(text, " \t\n\v\f\r")
		digits, negative := strings.CutPrefix(text, "-")
		if !negative {
			digits = strings.TrimPrefix(text, "+")
		}
		n, _ := leadingNumber(digits)
		if negative {
			return -n
		}
		return n
	}
	if value, ok := strings.CutPrefix(word, "ndots:"); ok {
		g.ndots = min(number(value), glibcMaxNdots) & glibcMaxNdots
		return
	}
	if value, ok := strings.CutPrefix(word, "attempts:"); ok {
		g.attempts = min(number(value), glibcMaxAttempts)
		return
	}
	for _, option := range []struct {
		name string
		set  *bool
	}{
		{"rotate", &g.rotate},
		{"single-request-reopen", &g.reopen},
		{"single-request", &g.single},
		{"no_tld_query", &g.noTLDQuery},
		{"no-tld-query", &g.noTLDQuery},
		{"use-vc", &g.tcp},
		{"no-aaaa", &g.noAAAA},
	} {
		if strings.HasPrefix(word, option.name) {
			*option.set = true
			return
		}
	}
}

// reply is what sending one candidate name yields: the outcomes that come back,
// and the queries that got them. With nothing left to try there are none.
type glibcReply struct {
	outcomes []Outcome
	queries  []Query
	// buffered is what the buffer of the first reply holds at the end, even if
	// it was of no use. It is NoData (rcode 0) if nothing was received.
	buffered Outcome
}

// lookup is getaddrinfo (get_nss_addresses), with nothing but dns for hosts.
func (g *glibc) lookup(name string) Lookup {
	if g.crashes() {
		return Lookup{Status: Crash}
	}
	if !glibcHostname(name) {
		return Lookup{Status: NotFound}
	}
	status, answers := g.searchName(name)
	return Lookup{Queries: g.queries, Answers: answers, Status: status}
}

// crashes tells whether update_from_conf finds that its copy of the search list
// is wrong (resolv_conf_matches).
func (g *glibc) crashes() bool {
	used := 0
	for i, domain := range g.search[:min(len(g.search), glibcCopyDomains)] {
		if used+len(domain)+1 > glibcCopySize {
			return i == 0 || used <= glibcWrongSize
		}
		used += len(domain) + 1
	}
	return false
}

// searchName is __res_context_search.
func (g *glibc) searchName(name string) (Status, []Query) {
	dots := strings.Count(name, ".")
	rooted := strings.HasSuffix(name, ".")
	var (
		first                       Status // of the name as it is, if it came first
		status                      Status
		sawNoData, sawServFail      bool
		searched, rootSearched, end bool
	)
	if dots >= g.ndots || rooted {
		var answers []Query
		if first, answers, _ = g.query(name); first == Found || rooted {
			return first, answers
		}
	}
	for _, domain := range g.search {
		searched = true
		domain = strings.TrimPrefix(domain, ".")
		if domain == "" {
			rootSearched = true
		}
		var (
			answers  []Query
			buffered Outcome
		)
		status, answers, buffered = g.query(name + "." + domain)
		switch status {
		case Found:
			return status, answers
		case NotFoundNoData:
			sawNoData = true
		case NotFound:
		case TemporaryFailure:
			if buffered == ServFail {
				sawServFail = true
			} else {
				end = true
			}
		default:
			end = true
		}
		if end {
			break
		}
	}
	if first == "" && !rootSearched && (dots > 0 || !searched || !g.noTLDQuery) {
		var answers []Query
		if status, answers, _ = g.query(name); status == Found {
			return status, answers
		}
	}
	switch {
	case first != "":
		status = first
	case sawNoData:
		status = NotFoundNoData
	case sawServFail:
		status = TemporaryFailure
	}
	if status == Failure {
		status = NotFound // getaddrinfo has no other word for NO_RECOVERY
	}
	return status, nil
}

// query is __res_context_query: it judges the replies to one candidate. Of two
// negative ones, the first that is not NODATA counts.
func (g *glibc) query(name string) (Status, []Query, Outcome) {
	g.next()
	asked, ok := wireName(name)
	if !ok || name == "" { // __res_context_querydomain refuses the empty name
		return Failure, nil, NoData
	}
	reply := g.send(asked)
	if len(reply.outcomes) == 0 {
		return TemporaryFailure, nil, reply.buffered
	}
	var answers []Query
	negative := NoData
	for i, outcome := range reply.outcomes {
		switch {
		case outcome == Answer:
			answers = append(answers, reply.queries[i])
		case negative == NoData:
			negative = outcome
		}
	}
	switch {
	case len(answers) > 0:
		return Found, answers, reply.buffered
	case negative == NXDomain:
		return NotFound, nil, reply.buffered
	case negative == ServFail:
		return TemporaryFailure, nil, reply.buffered
	default:
		return NotFoundNoData, nil, reply.buffered
	}
}

// send is __res_context_send.
func (g *glibc) send(name string) glibcReply {
	offset := 0
	if g.rotate {
		offset = g.rotation
		g.rotation++
	}
	reply := glibcReply{buffered: NoData}
	attempts := g.attempts
	if g.tcp {
		attempts = min(attempts, 1)
	}
	for range attempts {
		for i := range g.servers {
			server := g.servers[(i+offset)%len(g.servers)]
			if g.tcp {
				g.sendTCP(&reply, server, name)
			} else {
				g.sendUDP(&reply, server, name)
			}
			if len(reply.outcomes) > 0 {
				return reply
			}
		}
	}
	return reply
}

// sendUDP is send_dg: one server, one attempt.
func (g *glibc) sendUDP(reply *glibcReply, server int, name string) {
	if g.noAAAA {
		if a := g.ask(server, name, A); a != Timeout {
			reply.buffered = a
			if a != ServFail {
				g.got(reply, server, A, a)
			}
		}
		return
	}
	if !g.single && !g.reopen {
		a, aaaa := g.ask(server, name, A), g.ask(server, name, AAAA)
		switch {
		case a != Timeout:
			reply.buffered = a
		case aaaa != Timeout:
			reply.buffered = aaaa
		}
		switch {
		case answered(a) && answered(aaaa):
			g.got(reply, server, A, a)
			g.got(reply, server, AAAA, aaaa)
			return
		case answered(a) && aaaa == ServFail:
			g.got(reply, server, A, a)
			return
		case a == ServFail && answered(aaaa):
			g.got(reply, server, AAAA, aaaa)
			return
		case !answered(a) && !answered(aaaa):
			return
		}
		g.single = true // one answered, the other did not
	}
	for {
		a := g.ask(server, name, A)
		if a != Timeout {
			reply.buffered = a
		}
		if !answered(a) {
			return
		}
		aaaa := g.ask(server, name, AAAA)
		switch {
		case answered(aaaa):
			g.got(reply, server, A, a)
			g.got(reply, server, AAAA, aaaa)
			return
		case aaaa == ServFail || g.reopen:
			g.got(reply, server, A, a)
			return
		}
		g.reopen = true
	}
}

// sendTCP is send_vc: one server.
func (g *glibc) sendTCP(reply *glibcReply, server int, name string) {
	types := []RRType{A, AAAA}
	if g.noAAAA {
		types = types[:1]
	}
	var outcomes []Outcome
	for _, t := range types {
		outcomes = append(outcomes, g.ask(server, name, t))
	}
	for _, outcome := range outcomes {
		if outcome != Timeout {
			reply.buffered = outcome
			break
		}
	}
	for _, outcome := range outcomes {
		if outcome == Timeout {
			return
		}
	}
	for i, t := range types {
		g.got(reply, server, t, outcomes[i])
	}
}

func (g *glibc) got(reply *glibcReply, server int, t RRType, o Outcome) {
	reply.outcomes = append(reply.outcomes, o)
	reply.queries = append(reply.queries, g.last(server, t))
}

// answered tells outcomes that glibc and Go take as final from those that send
// them to the next server.
func answered(o Outcome) bool { return o == Answer || o == NoData || o == NXDomain }

// glibcHostname tells whether glibc asks for a name at all (__libc_res_hnok):
// letters, digits, "-" and "_" in labels that can be sent, with no "-" first.
func glibcHostname(name string) bool {
	if _, ok := wireName(name); !ok || strings.HasPrefix(name, "-") {
		return false
	}
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) && !strings.ContainsRune("-_.", rune(c)) {
			return false
		}
	}
	return true
}

// isBlank is what separates words in glibc's resolv.conf.
func isBlank(r rune) bool { return r == ' ' || r == '\t' }
