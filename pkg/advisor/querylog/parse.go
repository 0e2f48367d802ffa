package querylog

import (
	"bytes"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// Type is a query's type, as far as the advisor tells types apart.
type Type uint8

const (
	// A asks for an IPv4 address.
	A Type = iota
	// AAAA asks for an IPv6 address.
	AAAA
	// OtherType is any other, for example SRV or PTR.
	OtherType
)

// Types is the number of types.
const Types = 3

// Result is the result of a query, as far as the advisor tells results apart.
type Result uint8

const (
	// OK is NOERROR, with records or without. NOERROR without any flags is Failed
	// instead: CoreDNS before 1.11 logs it where no answer came in time.
	OK Result = iota
	// NXDomain says that the name does not exist.
	NXDomain
	// Failed is any other code, and no answer at all.
	Failed
)

// Results is the number of results.
const Results = 3

// Record is one query of a log. Its slices are parts of the line.
type Record struct {
	// Client is the client's IP address, without brackets.
	Client []byte
	// Name is the name in lower case as CoreDNS writes it, escapes included,
	// without the dot at its end. The root is ".".
	Name   []byte
	Type   Type
	Result Result
	// Source is the client's port in the upper 16 bits and the query's ID in the lower
	// ones: the same in a retry. 0 where the format lacks one of the two.
	Source uint32
	// Transport tells resolvers apart. It is resolverhint.NotLogged where the format
	// lacks something that is needed for that.
	Transport resolverhint.Transport
	// Unix is the line's timestamp in seconds since 1970, 0 where it has none.
	Unix int64
	// Namespace and Pod name the pod that asked, where the record has them. Otherwise
	// it has a Client.
	Namespace, Pod []byte
	// NoData is true for an OK that is known to have no address.
	NoData bool
	// Form is the form in which the log had the query.
	Form Form
}

// Verdict says what a line is.
type Verdict uint8

const (
	// Query is a line with a query.
	Query Verdict = iota
	// Other is a line of something else: the log is not only of queries.
	Other
	// Malformed is a line that begins as a query's does, or holds a query in a form
	// that cannot be read.
	Malformed
	// Request is a question in a log that has the answer on a line of its own; the
	// answer counts.
	Request
)

// MaxLine is how long a line may be in bytes. The longest name takes 1,012
// with all its bytes escaped.
const MaxLine = 4096

const (
	maxName = 1012
	// maxAnswer is how long, in bytes, CoreDNS's own text behind the response code can
	// be: all flags, a size and a duration. What is longer has something else in it.
	maxAnswer = 64

	common   = `{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}`
	combined = common + ` "{>opcode}"`
)

// Parser parses lines of one format. The zero value reads two formats of the log
// plugin: common, which is the plugin's default, and combined.
type Parser struct {
	nodes []node // nil: common and combined
}

// Parse parses a line, which has no newline at its end. It may put a name in the line
// itself into lower case. The record is complete only for [Query].
func (p *Parser) Parse(line []byte, r *Record) Verdict {
	if len(line) > MaxLine {
		return Malformed
	}
	var v Verdict
	if p.nodes != nil {
		v = p.parseCustom(line, r)
	} else {
		v = parseCommon(line, r)
	}
	if v == Other && looksLikeQuery(line) {
		return Malformed
	}
	return v
}

// looksLikeQuery tells whether a line has something in it that only a query's has. It
// is then a query in a form that cannot be read, and not a message about something
// else.
func looksLikeQuery(line []byte) bool {
	return bytes.Contains(line, []byte(" IN ")) && (bytes.Contains(line, []byte(" udp ")) || bytes.Contains(line, []byte(" tcp "))) ||
		bytes.Contains(line, []byte("NXDOMAIN")) || bytes.Contains(line, []byte("NOERROR"))
}

// parseCommon works from the first quote in both directions, so that what stands
// before the client does not matter.
func parseCommon(line []byte, r *Record) Verdict {
	quote := bytes.IndexByte(line, '"')
	if quote < 0 {
		return Other
	}
	// ... CLIENT:PORT - ID "
	head := line[:quote]
	n := len(head)
	if n < 12 || head[n-1] != ' ' {
		return Other
	}
	number, at, ok := digitsBefore(head, n-1)
	if !ok || number > 1<<16-1 || at < 3 || string(head[at-3:at]) != " - " {
		return Other
	}
	portNumber, colon, ok := digitsBefore(head, at-3)
	if !ok || portNumber > 1<<16-1 || colon < 1 || head[colon-1] != ':' {
		return Malformed
	}
	end := colon - 1
	start := end
	for start > 0 && head[start-1] != ' ' && head[start-1] != '\t' {
		start--
	}
	r.Client = unbracketed(head[start:end])
	r.Namespace, r.Pod, r.NoData, r.Form = nil, nil, false, Plain
	r.Source = portNumber<<16 | number
	r.Unix = timestamp(head[:start])

	// TYPE CLASS NAME PROTO SIZE DO BUFSIZE" RCODE ...
	rest := line[quote+1:]
	space := bytes.IndexByte(rest, ' ')
	if space < 1 {
		return Malformed
	}
	r.Type = typeOf(rest[:space])
	rest = rest[space+1:]
	if space = bytes.IndexByte(rest, ' '); space < 1 {
		return Malformed
	}
	rest = rest[space+1:]
	if space = nameEnd(rest); space < 1 {
		return Malformed
	}
	name := rest[:space]
	rest = rest[space+1:]
	if quote = bytes.IndexByte(rest, '"'); quote < 0 || quote+2 > len(rest) || rest[quote+1] != ' ' {
		return Malformed
	}
	r.Transport = transport(rest[:quote])
	rest = rest[quote+2:]
	var answer []byte // RFLAGS RSIZE DURATION
	if space = bytes.IndexByte(rest, ' '); space >= 0 {
		rest, answer = rest[:space], rest[space+1:]
	}
	if len(rest) == 0 || len(r.Client) == 0 || !r.setName(name) || !r.setResult(rest) {
		return Malformed
	}
	if len(answer) > maxAnswer && looksLikeQuery(answer) { // two lines in one
		return Malformed
	}
	if r.Result == OK && len(answer) > 1 && answer[0] == '-' && answer[1] == ' ' {
		r.Result = Failed
	}
	if r.Unix == 0 {
		r.Unix = timeBehind(answer)
	}
	if r.Unix == 0 {
		r.Unix = timeFirst(head[:start])
	}
	return Query
}

// timeBehind is the best time among the cells behind a query, where tabs separate them.
// The command lines of CloudWatch (--output text) and Azure (-o tsv) print cells like
// that, ordered by the names of the columns, so that the time comes after the message.
func timeBehind(answer []byte) int64 {
	var best level
	for tab := bytes.IndexByte(answer, '\t'); tab >= 0; tab = bytes.IndexByte(answer, '\t') {
		answer = answer[tab+1:]
		cell := answer
		if end := bytes.IndexByte(cell, '\t'); end >= 0 {
			cell = cell[:end]
		}
		best.timeIs(cellTime(cell))
	}
	return best.unix
}

// nameEnd returns the index of the space behind a name, -1 if there is none. A space
// that belongs to the name has a backslash before it.
func nameEnd(text []byte) int {
	for from := 0; ; {
		space := bytes.IndexByte(text[from:], ' ')
		if space < 0 {
			return -1
		}
		space += from
		if !escaped(text, space) {
			return space
		}
		from = space + 1
	}
}

// escaped tells whether an odd number of backslashes stands before an index.
func escaped(text []byte, at int) bool {
	n := 0
	for at > n && text[at-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// setName sets the name, and returns false for one that CoreDNS would not write: CoreDNS
// escapes what is not printable. It puts the name into lower case in place.
func (r *Record) setName(name []byte) bool {
	n := len(name)
	if n == 0 || n > maxName || name[n-1] != '.' {
		return false
	}
	for i, c := range name {
		if c < ' ' || c > '~' || c == ' ' && !escaped(name, i) {
			return false
		}
		if 'A' <= c && c <= 'Z' { // only of a log that was made by something else
			name[i] = c + 'a' - 'A'
		}
	}
	if n > 1 {
		name = name[:n-1]
	}
	r.Name = name
	return true
}

func (r *Record) setResult(code []byte) bool {
	switch string(code) {
	case "NOERROR":
		r.Result = OK
	case "NXDOMAIN":
		r.Result = NXDomain
	case "-":
		r.Result = Failed
	default:
		r.Result = Failed
		for _, c := range code {
			if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
				return false
			}
		}
	}
	return len(code) > 0
}

func typeOf(text []byte) Type {
	switch string(text) {
	case "A":
		return A
	case "AAAA":
		return AAAA
	}
	return OtherType
}

func unbracketed(client []byte) []byte {
	if n := len(client); n > 2 && client[0] == '[' && client[n-1] == ']' {
		return client[1 : n-1]
	}
	return client
}

// address tells whether a text may be an IP address.
func address(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '.' && c != ':' && c != '%' {
			return false
		}
	}
	return len(text) > 1
}

// digitsBefore reads the number of at most six digits that ends before an index, and
// returns the index at which it begins.
func digitsBefore(text []byte, end int) (number uint32, start int, ok bool) {
	factor := uint32(1)
	for start = end; start > 0 && text[start-1] >= '0' && text[start-1] <= '9' && end-start < 6; start-- {
		number += uint32(text[start-1]-'0') * factor
		factor *= 10
	}
	return number, start, start < end
}

func digits(text []byte) (number uint32, ok bool) {
	number, start, ok := digitsBefore(text, len(text))
	return number, ok && start == 0 && number < 1<<16
}
