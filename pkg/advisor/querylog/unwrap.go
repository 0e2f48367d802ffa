package querylog

import "bytes"

// Form is what a query stood in.
type Form uint8

const (
	// Plain is a line of CoreDNS, with or without something before it.
	Plain Form = iota
	// Quoted is such a line in a field that has its quotes escaped: CSV, logfmt.
	Quoted
	// JSON is such a line in a string of JSON.
	JSON
	// InspektorGadget is a record of Inspektor Gadget's trace_dns.
	InspektorGadget
	// Hubble is a flow of Cilium's Hubble.
	Hubble

	// Forms is the number of forms.
	Forms = 5
)

// Unwrapper reads lines that are in an envelope. It keeps buffers, so each goroutine
// needs its own. What it is given is changed: strings are unescaped in place.
//
//	line                                  what is read of it
//	JSON, also behind a prefix            json.go says
//	a string of JSON, of several lines    each of them
//	{key="value"} before the query        what follows the labels (logcli)
//	[id key="value"] before the query     what follows the data (RFC 5424)
//	the query's quotes written as \"      the field (logfmt)
//	cells with quotes written as ""       the first cell that is a query, or JSON with one
//	                                      (CSV), with the time beside it
type Unwrapper struct {
	Parser *Parser

	found  []Found
	levels []level
	scopes []scope
	// malformed and requests are how many texts of a line began as a query does and
	// cannot be read, and how many are questions of which the answer counts.
	malformed, requests int
	// begun is the beginning of a line whose other parts follow.
	begun []byte
	// isPart tells that a line was no more than a part of one.
	isPart bool
}

// Found is a query.
type Found struct {
	Record
	// Text is what it was read from. Of a record, it is the server that answered.
	Text []byte
}

// maxNested is how often a string of JSON is taken for JSON again.
const maxNested = 4

// InJSON tells whether a line is JSON, by its first characters.
func InJSON(line []byte) bool {
	if len(line) < 2 || line[0] != '{' && line[0] != '[' {
		return false
	}
	i := 1
	for i < len(line)-1 && isBlank(line[i]) {
		i++
	}
	switch next := line[i]; {
	case next == '"', next == '}' && line[0] == '{':
		return true
	case line[0] == '{':
		return false
	case next == '[' && i+1 < len(line) && line[i+1] == ']':
		i += 2 // [[], "..."]
	case next == '{', next == '[':
		return InJSON(line[i:])
	case next >= '0' && next <= '9':
		if i > 1 {
			return true
		}
		for i < len(line) && '0' <= line[i] && line[i] <= '9' { // [1700000000000,"..."], and not [1.2.3.4]
			i++
		}
	default:
		for _, literal := range [...]string{"null", "true", "false"} {
			if bytes.HasPrefix(line[i:], []byte(literal)) {
				i += len(literal)
				break
			}
		}
	}
	return i < len(line) && line[i] == ','
}

// Lines takes the lines of a block apart, each of which is handed to take with what it
// is. Of one with several queries, or texts that cannot be read as one, that is each of
// them. Empty lines are left out. Queries are parts of the block, and valid until take
// returns.
func (u *Unwrapper) Lines(block []byte, take func(text []byte, v Verdict, r *Record)) {
	var r Record
	u.begun = nil
	for offset := 0; offset < len(block); {
		end := bytes.IndexByte(block[offset:], '\n')
		if end < 0 {
			end = len(block)
		} else {
			end += offset
		}
		line := block[offset:end]
		if Partial(line) {
			line, end = Join(block, offset, end)
		}
		offset = end + 1
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 || isBlank(line[0]) && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		v := Other
		if line[0] != '{' || u.Parser.nodes != nil {
			if v = u.Parser.Parse(line, &r); v == Query {
				take(line, Query, &r)
				continue
			}
		}
		found, unwrapped := u.Unwrap(line)
		if unwrapped == Other {
			if !u.isPart {
				take(line, v, nil)
			}
			continue
		}
		for i := range found {
			take(found[i].Text, Query, &found[i].Record)
		}
		for range u.malformed {
			take(line, Malformed, nil)
		}
		for range u.requests {
			take(line, Request, nil)
		}
	}
	if u.begun != nil { // and does not go on
		take(u.begun, Malformed, nil)
	}
}

// Unwrap takes a line apart that is no plain query. The queries are valid until the
// next call; without one, the verdict says what the line is.
func (u *Unwrapper) Unwrap(line []byte) ([]Found, Verdict) {
	u.found, u.levels, u.scopes = u.found[:0], u.levels[:0], u.scopes[:0]
	u.malformed, u.requests, u.isPart = 0, 0, false
	u.unwrap(line, 0)
	for i := range u.found {
		u.found[i].identify()
	}
	switch {
	case len(u.found) > 0:
		return u.found, Query
	case u.malformed > 0:
		return nil, Malformed
	case u.requests > 0:
		return nil, Request
	}
	return nil, Other
}

func (u *Unwrapper) unwrap(line []byte, depth int) {
	if at := jsonIn(line); at >= 0 {
		if depth < maxNested {
			u.json(line[at:], timestamp(line[:at]), depth)
		}
		return
	}
	if depth < maxNested && (u.wholeString(line, depth) || u.cells(line, depth)) {
		return
	}
	if len(line) > MaxLine {
		u.malformed++
		return
	}
	var r Record
	v, text, rest := Other, line, []byte(nil)
	if end := labelsEnd(line); end > 0 {
		text = line[end:]
		if v = u.Parser.Parse(text, &r); v == Query && r.Unix == 0 {
			r.Unix = timestamp(line[:end])
		}
	}
	if v != Query {
		if unquoted, behind, ok := unquote(text); ok {
			text, rest = unquoted, behind
			if v = u.Parser.Parse(text, &r); v == Query {
				r.Form = Quoted
				if r.Unix == 0 {
					r.Unix = quotedTime(text)
				}
			}
		}
	}
	if v != Query {
		if v == Malformed || v == Other && looksLikeQuery(line) {
			u.malformed++
		}
		return
	}
	u.found = append(u.found, Found{Record: r, Text: text})
	u.behindField(rest, depth)
}

// behindField reads what stands behind the field of the query that was found last: other
// fields may have other queries.
func (u *Unwrapper) behindField(rest []byte, depth int) {
	if !bytes.Contains(rest, []byte(` \"`)) {
		return
	}
	if depth == maxNested {
		u.malformed++
		return
	}
	next, malformed, requests := len(u.found), u.malformed, u.requests
	u.unwrap(rest, depth+1)
	u.timed(next, u.found[next-1].Unix)
	if !u.another(next-1, next) {
		u.found, u.malformed, u.requests = u.found[:next], malformed, requests
	}
}

// wholeString reads a line that is one string of JSON with several lines in it: what
// jq -Rs makes of a log, or a store that encodes twice.
func (u *Unwrapper) wholeString(line []byte, depth int) bool {
	if line = bytes.TrimSpace(line); len(line) < shortest || line[0] != '"' || !bytes.Contains(line, []byte(`\n`)) {
		return false
	}
	if end, _ := stringEnd(line, 1); end != len(line)-1 {
		return false
	}
	u.json(line, 0, depth)
	return true
}

// jsonIn is where JSON begins in a line, -1 if nowhere: at its beginning, or behind a
// prefix as fluentd and syslog write it.
func jsonIn(line []byte) int {
	first := 0
	for first < len(line) && isBlank(line[first]) {
		first++
	}
	if InJSON(line[first:]) {
		return first
	}
	for at := 0; ; at++ {
		next := bytes.IndexByte(line[at:], '{')
		if next < 0 {
			return -1
		}
		if at += next; at > 0 && parts(line[at-1]) && InJSON(line[at:]) && line[at+1] != '}' && !bytes.HasPrefix(line[at+1:], []byte(`""`)) { // nor CSV's quotes
			return at
		}
	}
}

// parts tells whether a character stands between values of JSON: a blank, the separator
// of a JSON text sequence (RFC 7464: journalctl -o json-seq, jq --seq) before each, or the
// zero that GELF over TCP has behind each.
func parts(c byte) bool { return isBlank(c) || c == 0x1e || c == 0 }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// labelsEnd finds {key="value", ...} or [id key="value" ...] among the words before a
// query, and what follows it. 0 is none.
func labelsEnd(line []byte) int {
	for from := 0; ; {
		quote := bytes.IndexByte(line[from:], '"')
		if quote < 1 || line[from+quote-1] != '=' { // no quote before the first label's
			return from
		}
		start := bytes.LastIndexAny(line[from:from+quote], "{[")
		if start < 0 {
			return from
		}
		closing := `"}`
		if line[from+start] == '[' {
			closing = `"]`
		}
		end := bytes.Index(line[from+quote:], []byte(closing))
		if end < 0 {
			return from
		}
		from += quote + end + len(closing)
	}
}

// unquote unescapes the quotes of a query, in place, and what follows the first of
// them, up to the end of the field; rest is what is behind that. The client's word must not begin with what its field begins with.
func unquote(line []byte) (text, rest []byte, ok bool) {
	at := bytes.Index(line, []byte(` \"`))
	if at < 0 {
		return nil, nil, false
	}
	at++
	// The field's beginning is the last quote before it.
	start := bytes.LastIndexByte(line[:at], '"')
	if start < 0 || start > 0 && line[start-1] == '\\' {
		return nil, nil, false
	}
	for i := range start + 1 {
		if c := line[i]; c == '"' || c == ',' || c == ';' { // what else stands before it
			line[i] = ' '
		}
	}
	to := at
	for from := at; from < len(line); from++ {
		if from+1 < len(line) && line[from] == '\\' && (line[from+1] == '"' || line[from+1] == '\\') {
			from++
		} else if line[from] == '"' { // the field's end
			rest = line[from+1:]
			break
		}
		line[to] = line[from]
		to++
	}
	return line[:to], rest, true
}

// quotedTime finds a time behind the = of a field, as in time=2026-...
func quotedTime(text []byte) int64 {
	for at := 0; at < len(text) && text[at] != '"'; {
		next := bytes.IndexByte(text[at:], '=')
		if next < 0 {
			return 0
		}
		at += next + 1
		if unix := timestamp(bytes.TrimLeft(text[at:min(at+64, len(text))], " ")); unix != 0 {
			return unix
		}
	}
	return 0
}
