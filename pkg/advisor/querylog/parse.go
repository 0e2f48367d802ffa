package querylog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Type is what is told apart of a query's type.
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

// Result is what is told apart of a response code.
type Result uint8

const (
	// OK is NOERROR, with records or without.
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
	// Source is the client's port and the query's ID, equal in a retry. 0 where
	// the format has not both.
	Source uint32
	// Unix is the line's timestamp in seconds, 0 where it has none.
	Unix int64
}

// Verdict says what a line is.
type Verdict uint8

const (
	// Query is a line with a query.
	Query Verdict = iota
	// Other is a line of something else: the log is not only of queries.
	Other
	// Malformed is a line that began as one of a query.
	Malformed
)

// MaxLine is how long a line may be in bytes. The longest name takes 1,012
// with all its bytes escaped.
const MaxLine = 4096

const (
	maxName = 1012

	common   = `{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}`
	combined = common + ` "{>opcode}"`
)

// Parser takes lines of one format apart. The zero value reads the log plugin's
// formats common, which is its default, and combined.
type Parser struct {
	nodes []node // nil: common and combined
}

// node is a part of a format: a literal or a field.
type node struct {
	literal string
	field   field
}

type field uint8

const (
	noField field = iota // literal
	ignored
	remote
	port
	id
	qtype
	qname
	rcode
)

// New makes a parser for a format of the log plugin: text with the placeholders
// that its documentation lists. {common} and {combined} stand for the formats of
// these names. The format must have {remote}, {type}, {name} and {rcode}; empty
// means {common}.
func New(format string) (*Parser, error) {
	switch strings.TrimSpace(format) {
	case "", "{common}", common, "{combined}", combined:
		return &Parser{}, nil
	}
	format = strings.NewReplacer("{common}", common, "{combined}", combined).Replace(format)
	p := &Parser{}
	rest := format
	for rest != "" {
		start := strings.IndexByte(rest, '{')
		end := strings.IndexByte(rest[max(start, 0):], '}')
		if start < 0 || end < 0 {
			p.nodes = append(p.nodes, node{literal: rest})
			break
		}
		end += start
		if start > 0 {
			p.nodes = append(p.nodes, node{literal: rest[:start]})
		}
		f := ignored
		switch rest[start : end+1] {
		case "{remote}":
			f = remote
		case "{port}":
			f = port
		case "{>id}":
			f = id
		case "{type}":
			f = qtype
		case "{name}":
			f = qname
		case "{rcode}":
			f = rcode
		}
		if n := len(p.nodes); n > 0 && p.nodes[n-1].field != noField {
			return nil, fmt.Errorf("log format %q: nothing between two placeholders before %s", format, rest[start:end+1])
		}
		p.nodes = append(p.nodes, node{field: f})
		rest = rest[end+1:]
	}
	var errs []error
	for _, needed := range []struct {
		field field
		name  string
	}{{remote, "{remote}"}, {qtype, "{type}"}, {qname, "{name}"}, {rcode, "{rcode}"}} {
		if !slices.ContainsFunc(p.nodes, func(n node) bool { return n.field == needed.field }) {
			errs = append(errs, fmt.Errorf("log format %q: %s is missing", format, needed.name))
		}
	}
	return p, errors.Join(errs...)
}

// Parse takes a line without its newline apart. The record is complete only for
// [Query].
func (p *Parser) Parse(line []byte, r *Record) Verdict {
	if len(line) > MaxLine {
		return Malformed
	}
	if p.nodes != nil {
		return p.parseCustom(line, r)
	}
	return parseCommon(line, r)
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
	start := bytes.LastIndexByte(head[:end], ' ') + 1
	r.Client = unbracketed(head[start:end])
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
	if space = bytes.IndexByte(rest, ' '); space < 1 {
		return Malformed
	}
	name := rest[:space]
	rest = rest[space+1:]
	if quote = bytes.IndexByte(rest, '"'); quote < 0 || quote+2 > len(rest) || rest[quote+1] != ' ' {
		return Malformed
	}
	rest = rest[quote+2:]
	if space = bytes.IndexByte(rest, ' '); space >= 0 {
		rest = rest[:space]
	}
	if len(rest) == 0 || len(r.Client) == 0 || !r.setName(name) || !r.setResult(rest) {
		return Malformed
	}
	return Query
}

func (p *Parser) parseCustom(line []byte, r *Record) Verdict {
	rest := afterPrefix(line)
	r.Unix = timestamp(line[:len(line)-len(rest)])
	var (
		portNumber, number uint32
		ports, ids         bool
	)
	for i, n := range p.nodes {
		if n.field == noField {
			var ok bool
			if rest, ok = bytes.CutPrefix(rest, []byte(n.literal)); !ok {
				// What does not begin as the format does is something else.
				if i == 0 || i == 1 {
					return Other
				}
				return Malformed
			}
			continue
		}
		end := len(rest)
		if i+1 < len(p.nodes) {
			from := 0
			if n.field == remote && len(rest) > 0 && rest[0] == '[' { // an IPv6 address has colons
				from = max(bytes.IndexByte(rest, ']'), 0)
			}
			end = bytes.Index(rest[from:], []byte(p.nodes[i+1].literal))
			if end < 0 {
				if i == 0 {
					return Other
				}
				return Malformed
			}
			end += from
		}
		value := rest[:end]
		rest = rest[end:]
		switch n.field {
		case remote:
			r.Client = unbracketed(value)
			if !address(r.Client) {
				return Other
			}
		case port:
			portNumber, ports = digits(value)
		case id:
			number, ids = digits(value)
		case qtype:
			if r.Type = typeOf(value); len(value) == 0 {
				return Malformed
			}
		case qname:
			if !r.setName(value) {
				return Malformed
			}
		case rcode:
			if i+1 == len(p.nodes) {
				value, _, _ = bytes.Cut(value, []byte(" "))
			}
			if !r.setResult(value) {
				return Malformed
			}
		case noField, ignored:
		}
	}
	r.Source = 0
	if ports && ids {
		r.Source = portNumber<<16 | number&0xffff
	}
	return Query
}

// setName refuses what CoreDNS would not write: it escapes what is not printable.
func (r *Record) setName(name []byte) bool {
	n := len(name)
	if n == 0 || n > maxName || name[n-1] != '.' {
		return false
	}
	for i, c := range name {
		if c <= ' ' || c > '~' {
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

// digitsBefore reads the number that ends before a place, and says where it
// begins.
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

// afterPrefix skips what stands before the query: any of "[pod/name/container]",
// a timestamp, the container runtime's "stdout F" and "[INFO]".
func afterPrefix(line []byte) []byte {
	for {
		word, rest, found := bytes.Cut(line, []byte(" "))
		if !found {
			return line
		}
		switch {
		case len(word) > 1 && word[0] == '[' && word[len(word)-1] == ']' && !address(word[1:len(word)-1]):
		case len(word) >= 20 && word[4] == '-' && word[10] == 'T':
		case string(word) == "stdout", string(word) == "stderr", string(word) == "F":
		default:
			return line
		}
		line = rest
	}
}

// timestamp finds an RFC 3339 timestamp among the words of a prefix. A container
// runtime and kubectl --timestamps write one at the start or behind the pod.
func timestamp(prefix []byte) int64 {
	for len(prefix) >= 20 {
		if prefix[4] == '-' && prefix[10] == 'T' {
			return seconds(prefix)
		}
		space := bytes.IndexByte(prefix, ' ')
		if space < 0 {
			return 0
		}
		prefix = prefix[space+1:]
	}
	return 0
}

// seconds reads YYYY-MM-DDTHH:MM:SS and the zone behind it; 0 where it is none.
func seconds(text []byte) int64 {
	two := func(at int) int64 {
		tens, ones := text[at]-'0', text[at+1]-'0'
		if tens > 9 || ones > 9 {
			return -1 << 32
		}
		return int64(tens)*10 + int64(ones)
	}
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || minute < 0 || second < 0 {
		return 0
	}
	// Days since 1970 (a year that begins in March ends with its leap day).
	if month <= 2 {
		year--
		month += 12
	}
	days := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
	unix := days*86400 + hour*3600 + minute*60 + second
	end := bytes.IndexByte(text, ' ')
	if end < 0 {
		end = len(text)
	}
	if zone := end - 6; zone >= 19 && (text[zone] == '+' || text[zone] == '-') && text[zone+3] == ':' {
		if offset := two(zone+1)*3600 + two(zone+4)*60; offset >= 0 {
			if text[zone] == '+' {
				offset = -offset
			}
			unix += offset
		}
	}
	return unix
}
