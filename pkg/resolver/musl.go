package resolver

import "strings"

// This file follows musl 1.2.6 (src/network/resolvconf.c, lookup_name.c,
// res_msend.c, res_mkquery.c). 1.2.4 and 1.2.5 ask the same. What is different in
// 1.2.3 is marked.
//
// Candidate names (name_from_dns_search):
//
//	name                    order
//	trailing dot            as it is, nothing else
//	two trailing dots, "."  nothing at all
//	dots >= ndots           as it is, nothing else
//	dots < ndots            name.search for each, then as it is
//	name.search > 255 bytes left out
//	name.search invalid     left out, so "search ." is harmless; before 1.2.4 the
//	                        lookup ends there: with "search ." after the whole timeout
//
// What a candidate means for the rest (name_from_dns), A looked at before AAAA:
//
//	NXDOMAIN for A                  go on, whatever AAAA says
//	no answer or SERVFAIL for A     EAI_AGAIN, the end
//	the same for AAAA               the same, even if A has addresses
//	NXDOMAIN for AAAA               go on, even if A has addresses
//	NODATA for both                 EAI_NODATA (before 1.2.4 EAI_NONAME), the end
//	any address                     found
//
// Sending (__res_msend_rc): A to all servers, then AAAA to all servers, from one
// socket. The first NOERROR or NXDOMAIN for a question, from whichever server, is
// its answer. The same goes out again, to all servers, every timeout/attempts
// for questions without an answer; after timeout in all it is over. A SERVFAIL is
// no answer: the question is sent to that server again at once, four times in all
// per round, and otherwise it is as good as silence: it costs the whole timeout.
//
// The model takes the servers to answer in the order in which they are asked. In
// a real network the nearest answers first, and wins.
//
// If attempts does not divide the timeout (in milliseconds), one more round may
// be sent just before the end; it is not modelled.
//
// A line of resolv.conf with 256 bytes or more, its newline included, is ignored.
// rotate, use-vc, single-request, edns0 and all other options are unknown.
const (
	muslMaxNdots    = 15
	muslMaxAttempts = 10
	muslMaxTimeout  = 60
	muslLineSize    = 256 // the buffer for a line: one byte is for the terminating zero
	muslNameSize    = 256
)

type musl struct {
	wire
	servers   []int
	search    []string
	ndots     int
	attempts  int
	timeout   int // seconds
	before124 bool
}

// newMusl reads resolv.conf (__get_resolv_conf). An option is found anywhere in
// its line, so "x-ndots:3" sets ndots; a value must start with a digit.
func newMusl(c Client, zone Zone) *musl {
	m := &musl{
		wire:      wire{zone: zone},
		servers:   c.ResolvConf.servers(maxServers, 0),
		ndots:     1,
		attempts:  2,
		timeout:   5,
		before124: c.Resolver == MuslBefore124,
	}
	for _, line := range c.ResolvConf.lines() {
		if len(line)+1 >= muslLineSize {
			continue
		}
		keyword, rest, _ := strings.Cut(line, " ")
		switch keyword {
		case "search":
			m.search = strings.FieldsFunc(rest, isSpace)
		case "options":
			muslOption(rest, "ndots:", muslMaxNdots, &m.ndots)
			muslOption(rest, "attempts:", muslMaxAttempts, &m.attempts)
			muslOption(rest, "timeout:", muslMaxTimeout, &m.timeout)
		}
	}
	return m
}

func muslOption(line, name string, limit int, value *int) {
	_, text, ok := strings.Cut(line, name)
	if !ok {
		return
	}
	if number, ok := leadingNumber(text); ok {
		*value = min(number, limit)
	}
}

// lookup is __lookup_name and name_from_dns_search.
func (m *musl) lookup(name string) Lookup {
	status, answers := m.searchName(name)
	return Lookup{Queries: m.queries, Answers: answers, Status: status}
}

func (m *musl) searchName(name string) (Status, []Query) {
	bare, rooted := strings.CutSuffix(name, ".")
	if len(name) >= muslNameSize-1 || bare == "" || strings.HasSuffix(bare, ".") {
		return NotFound, nil
	}
	if strings.Count(name, ".") < m.ndots && !rooted {
		for _, domain := range m.search {
			if len(name)+1+len(domain) >= muslNameSize {
				continue
			}
			if status, answers, next := m.query(name + "." + domain); !next {
				return status, answers
			}
		}
	}
	status, answers, _ := m.query(name)
	return status, answers
}

// query is name_from_dns. With next, the search goes on.
func (m *musl) query(name string) (status Status, answers []Query, next bool) {
	m.next()
	asked, ok := wireName(name)
	switch {
	case !ok && m.before124 && overlooksDot(name):
		// What is sent is no valid question. Whatever servers say to that is
		// ignored, and the timeout passes.
		return TemporaryFailure, nil, false
	case !ok:
		return NotFound, nil, !m.before124
	case m.attempts == 0:
		return Crash, nil, false
	}
	outcomes, queries := m.send(asked)
	for i, outcome := range outcomes {
		switch outcome {
		case NXDomain:
			return NotFound, nil, true
		case Answer:
			answers = append(answers, queries[i])
		case NoData:
		default:
			return TemporaryFailure, nil, false
		}
	}
	switch {
	case len(answers) > 0:
		return Found, answers, false
	case m.before124:
		return NotFound, nil, false
	default:
		return NotFoundNoData, nil, false
	}
}

// overlooksDot tells whether musl 1.2.3 makes a question of a name with two dots
// at its end (__res_mkquery): it takes one off and does not see the other, but
// still refuses labels that cannot be sent.
func overlooksDot(name string) bool {
	labels, two := strings.CutSuffix(name, "..")
	_, ok := wireName(labels)
	return two && ok && labels != ""
}

// send is __res_msend_rc. The outcome for A and that for AAAA are Timeout or
// what answered them, and the queries are those that were answered.
func (m *musl) send(name string) (outcomes [2]Outcome, queries [2]Query) {
	types := [2]RRType{A, AAAA}
	// reply is what a server sends back; server Timeout sends nothing.
	type reply struct {
		question, server int
		outcome          Outcome
		query            Query
	}
	var replies []reply // in the order in which they arrive
	ask := func(question, server int) {
		outcome := m.ask(server, name, types[question])
		if outcome != Timeout {
			replies = append(replies, reply{question, server, outcome, m.last(server, types[question])})
		}
	}
	done := func() bool { return outcomes[0] != Timeout && outcomes[1] != Timeout }
	rounds := m.attempts
	if m.timeout == 0 {
		rounds = 0
	}
	for round := 0; round < rounds && !done(); round++ {
		retries := 2 * len(types)
		for question, outcome := range outcomes {
			for _, server := range m.servers {
				if outcome == Timeout {
					ask(question, server)
				}
			}
		}
		for len(replies) > 0 && !done() {
			r := replies[0]
			replies = replies[1:]
			switch {
			case outcomes[r.question] != Timeout:
			case r.outcome != ServFail:
				outcomes[r.question], queries[r.question] = r.outcome, r.query
			case retries > 0:
				retries--
				ask(r.question, r.server)
			}
		}
	}
	return outcomes, queries
}

// isSpace is C's isspace.
func isSpace(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
