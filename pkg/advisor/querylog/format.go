package querylog

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

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
	rflags
	rsize
	proto
	do
	bufsize
	namespace
	pod
	logType
)

// placeholders are those that are read.
var placeholders = map[string]field{
	"{remote}": remote, "{port}": port, "{>id}": id, "{type}": qtype, "{name}": qname, "{rcode}": rcode,
	"{>rflags}": rflags, "{rsize}": rsize, "{proto}": proto, "{>do}": do, "{>bufsize}": bufsize,
	"{/kubernetes/client-namespace}": namespace, "{/kubernetes/client-pod-name}": pod,
	"{/log/type}": logType,
}

// isPlaceholder is what CoreDNS takes for one: other braces stand for themselves, as in
// a format that is JSON.
var isPlaceholder = regexp.MustCompile(`\{[>/]?[A-Za-z][A-Za-z0-9_./-]*\}`)

// placeholder finds the next one; without one, both are the end.
func placeholder(text string) (start, end int) {
	if at := isPlaceholder.FindStringIndex(text); at != nil {
		return at[0], at[1]
	}
	return len(text), len(text)
}

// asConfigured is a format as CoreDNS has it, of one that is quoted as the Corefile
// wants it.
func asConfigured(format string) string {
	if n := len(format); n > 2 && format[0] == '"' && format[n-1] == '"' && !strings.Contains(strings.ReplaceAll(format[1:n-1], `\"`, ""), `"`) {
		format = format[1 : n-1]
	}
	return strings.ReplaceAll(format, `\"`, `"`)
}

// New makes a parser for a format of the log plugin: text with the placeholders
// that its documentation lists, as it is or with the quotes of the Corefile. {common}
// and {combined} stand for the formats of these names. The format must have {type},
// {name}, {rcode}, and {remote} or what the kubernetes and metadata plugins know of the
// client's pod; empty means {common}.
func New(format string) (*Parser, error) {
	switch strings.TrimSpace(format) {
	case "", "{common}", common, "{combined}", combined:
		return &Parser{}, nil
	}
	given := format
	format = asConfigured(format)
	format = strings.NewReplacer("{common}", common, "{combined}", combined).Replace(format)
	p := &Parser{}
	for rest := format; rest != ""; {
		start, end := placeholder(rest)
		if start > 0 {
			p.nodes = append(p.nodes, node{literal: rest[:start]})
		}
		if start == end {
			break
		}
		f, known := placeholders[rest[start:end]]
		if !known {
			f = ignored
		}
		if n := len(p.nodes); n > 0 && p.nodes[n-1].field != noField {
			return nil, fmt.Errorf("log format %q: nothing between two placeholders before %s", given, rest[start:end])
		}
		p.nodes = append(p.nodes, node{field: f})
		rest = rest[end:]
	}
	has := func(f field) bool { return slices.ContainsFunc(p.nodes, func(n node) bool { return n.field == f }) }
	var errs []error
	for _, needed := range []struct {
		field field
		name  string
	}{{qtype, "{type}"}, {qname, "{name}"}, {rcode, "{rcode}"}} {
		if !has(needed.field) {
			errs = append(errs, fmt.Errorf("log format %q: %s is missing", given, needed.name))
		}
	}
	if !has(remote) && (!has(namespace) || !has(pod)) {
		errs = append(errs, fmt.Errorf("log format %q: {remote} is missing, or {/kubernetes/client-namespace} and {/kubernetes/client-pod-name}", given))
	}
	return p, errors.Join(errs...)
}

// parseCustom looks for the format at the beginning of a line and behind what may stand
// before it: what is known of a prefix, else any words.
func (p *Parser) parseCustom(line []byte, r *Record) Verdict {
	rest := afterPrefix(line)
	v := p.parseAt(rest, r)
	for words := 0; v == Other && words < maxPrefix; words++ {
		if p.nodes[0].field == noField {
			at := bytes.Index(rest[min(1, len(rest)):], []byte(p.nodes[0].literal))
			if at < 0 {
				break
			}
			rest = rest[at+1:]
		} else {
			at := bytes.IndexAny(rest, " \t")
			if at < 0 {
				break
			}
			rest = rest[at+1:]
		}
		v = p.parseAt(rest, r)
	}
	if v == Query {
		r.Unix = timestamp(line[:len(line)-len(rest)])
	}
	return v
}

// maxPrefix is how many words may stand before a line of a format.
const maxPrefix = 16

func (p *Parser) parseAt(rest []byte, r *Record) Verdict {
	*r = Record{}
	var (
		portNumber, number uint32
		ports, ids         bool
		noAnswer           bool
		t                  transportFields
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
		value, ok := p.value(i, rest)
		if !ok {
			if i == 0 {
				return Other
			}
			return Malformed
		}
		rest = rest[len(value):]
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
		case rflags:
			noAnswer = noAnswer || string(value) == "-"
		case rsize:
			noAnswer = noAnswer || string(value) == "0"
		case proto, do, bufsize:
			t.set(n.field, value)
		case namespace:
			r.Namespace = known(value)
		case pod:
			r.Pod = known(value)
		case logType:
			r.NoData = string(value) == "NODATA"
		case noField, ignored:
		}
	}
	if len(r.Namespace) == 0 || len(r.Pod) == 0 {
		r.Namespace, r.Pod = nil, nil
	}
	if len(r.Client) == 0 && len(r.Pod) == 0 {
		return Malformed
	}
	if noAnswer && r.Result == OK {
		r.Result = Failed
	}
	r.NoData = r.NoData && r.Result == OK && r.Type != OtherType
	r.Transport = resolverhint.NotLogged
	if ports && ids {
		r.Source = portNumber<<16 | number&0xffff
		r.Transport = t.transport()
	}
	return Query
}

// value is that of a placeholder: up to the literal that follows it.
func (p *Parser) value(i int, rest []byte) ([]byte, bool) {
	if i+1 == len(p.nodes) {
		end := len(rest)
		if space := bytes.IndexAny(rest, " \t"); space >= 0 && p.nodes[i].field >= namespace {
			end = space
		}
		return rest[:end], true
	}
	literal := []byte(p.nodes[i+1].literal)
	from := 0
	if p.nodes[i].field == remote && len(rest) > 0 && rest[0] == '[' { // an IPv6 address has colons
		from = max(bytes.IndexByte(rest, ']'), 0)
	}
	if p.nodes[i].field == qname && literal[0] == ' ' { // it may have spaces
		from = max(nameEnd(rest), 0)
	}
	end := bytes.Index(rest[from:], literal)
	if end < 0 {
		return nil, false
	}
	return rest[:from+end], true
}

// known is a value that metadata has; where the client is no pod, CoreDNS writes "-".
func known(value []byte) []byte {
	if string(value) == "-" {
		return nil
	}
	return value
}
