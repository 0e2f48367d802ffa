package querylog

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// One rule reads all JSON, whatever the keys: in each record the first string that is
// understood is the query, and so is each later one that has another query. Its time is
// the best one beside it, or else the best one beside what encloses it, and so on
// outwards.
//
//	a record     the outermost object or array, and every object or array in an array
//	understood   the string is a line with a query, or is itself JSON or another envelope
//	             with one. In an array of strings, and in a string with several lines, each
//	             is looked at. An array of bytes is a string, too: so the journal writes a
//	             message with a character that does not print
//	another      of another client, port, ID or type: a store keeps the line twice
//	             (message, event.original, a copy with what was searched for in tags).
//	             Where the format has no port or ID, nothing tells, and the first counts
//	a time       a value whose key is in the table of jsontime.go; in an array, any value.
//	             {"field": name, "value": value} counts as a value of what encloses it,
//	             under the key name
//
// Records of Inspektor Gadget and of Hubble are not strings: records.go says how they
// are told.
//
// Everything is read in one pass, and nothing is allocated but the stack. What is not
// well-formed ends the line: what was read before counts.

// level is an object or array that is being read.
type level struct {
	array bool
	// start is where it begins.
	start int
	// first is how many queries there were at its beginning.
	first int
	scope int
	// unix is the best time so far, and rank its rank; 0 where there is none.
	unix int64
	rank uint8
	// key is that of the value in what encloses it, and field what "field" says here.
	key, field []byte
}

// scope is a record that is being read.
type scope struct {
	// level is its own, and taken the level of the string that was understood.
	level, taken int
	fields       fields
	part         part
}

const notTaken = -1

// json reads all values of a text. time is what stands before it.
func (u *Unwrapper) json(b []byte, time int64, depth int) {
	base, first := len(u.levels), len(u.found)
	var key []byte
	for i := 0; i < len(b); {
		switch c := b[i]; c {
		case ' ', '\t', '\n', '\r', 0x1e, 0, ',', ':': // what parts values
			i++
		case '{', '[':
			if len(u.levels) == base+maxLevels {
				i = len(b)
				break
			}
			if text, end := octets(b[i:]); text != nil {
				i += end
				u.text(key, text, true, false, base, depth)
				key = nil
				break
			}
			u.push(c == '[', i, key, base)
			key = nil
			i++
		case '}', ']':
			if len(u.levels) == base {
				return
			}
			start, inner := u.inner()
			u.pop()
			key = nil
			i++
			if inner && depth < maxNested {
				u.below(b[start:i])
			}
		case '"':
			end, escaped := stringEnd(b, i+1)
			if end < 0 { // cut off
				u.malformed++
				i = len(b)
				break
			}
			text := b[i+1 : end]
			i = end + 1
			if key == nil && len(u.levels) > base && !u.levels[len(u.levels)-1].array {
				for i < len(b) && isBlank(b[i]) {
					i++
				}
				if i+1 < len(b) && b[i] == '=' && b[i+1] == '>' { // as Ruby, and Fluent Bit's stdout
					i++
				} else if i == len(b) || b[i] != ':' {
					i = len(b)
					break
				}
				key = text
				i++
				continue
			}
			u.text(key, text, escaped, escaped, base, depth)
			key = nil
		default:
			start := i
			for i < len(b) && !isBlank(b[i]) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
				i++
			}
			if i == start { // a letter that begins nothing
				i++
			}
			u.number(key, b[start:i], base)
			key = nil
		}
	}
	for len(u.levels) > base { // cut off
		u.pop()
	}
	u.timed(first, time)
}

// octets reads an array of numbers that are the bytes of a text, and writes the text
// over it. There is none where the array is another one, or too short for a query.
func octets(b []byte) (text []byte, end int) {
	if b[0] != '[' {
		return nil, 0
	}
	n := 0
	for at := 1; end == 0; n++ {
		_, next := octet(b, at)
		switch {
		case next == 0:
			return nil, 0
		case b[next] == ']':
			end = next + 1
		}
		at = next + 1
	}
	if n < shortest {
		return nil, 0
	}
	for i, at := 0, 1; i < n; i++ {
		value, next := octet(b, at)
		b[i], at = value, next+1
	}
	return b[:n], end
}

// octet reads a number that is a byte, and finds the comma or the bracket behind it.
// next is 0 where it is something else.
func octet(b []byte, at int) (value byte, next int) {
	for at < len(b) && isBlank(b[at]) {
		at++
	}
	sum, first := 0, at
	for ; at < len(b) && '0' <= b[at] && b[at] <= '9' && sum <= 255; at++ {
		sum = 10*sum + int(b[at]-'0')
	}
	if at == first || sum > 255 {
		return 0, 0
	}
	for at < len(b) && isBlank(b[at]) {
		at++
	}
	if at == len(b) || b[at] != ',' && b[at] != ']' {
		return 0, 0
	}
	return byte(sum), at
}

// stringEnd finds the quote that ends a string.
func stringEnd(b []byte, from int) (end int, escaped bool) {
	for at := from; ; {
		quote := bytes.IndexByte(b[at:], '"')
		if quote < 0 {
			return -1, escaped
		}
		end = at + quote
		n := 0
		for end-n > from && b[end-n-1] == '\\' {
			n++
		}
		if n%2 == 0 {
			if !escaped {
				escaped = bytes.IndexByte(b[from:end], '\\') >= 0
			}
			return end, escaped
		}
		escaped = true
		at = end + 1
	}
}

// maxLevels is how deeply what is read may be nested.
const maxLevels = 64

func (u *Unwrapper) push(array bool, start int, key []byte, base int) {
	l := level{array: array, start: start, first: len(u.found), key: key}
	parent := len(u.levels) - 1
	if parent < base || u.levels[parent].array {
		l.scope = len(u.scopes)
		u.scopes = append(u.scopes, scope{level: len(u.levels), taken: notTaken, part: part{malformed: u.malformed}})
	} else {
		l.scope = u.levels[parent].scope
	}
	u.levels = append(u.levels, l)
}

func (u *Unwrapper) pop() {
	last := len(u.levels) - 1
	l := &u.levels[last]
	if s := &u.scopes[l.scope]; s.level == last {
		u.record(s)
		u.parted(&s.part, l.first)
		u.scopes = u.scopes[:l.scope]
	} else if s.fields.flow && s.fields.flowLevel == last {
		s.fields.flowTime = l.unix
	} else if l.array && l.unix != 0 && l.first == len(u.found) { // {"@timestamp": ["2026-..."]}
		u.levels[last-1].timeIs(rankOf(l.key), l.unix)
	}
	u.timed(l.first, l.unix)
	u.levels = u.levels[:last]
}

// inner tells whether the level that ends has a record below other keys, and where it
// begins.
func (u *Unwrapper) inner() (start int, is bool) {
	last := len(u.levels) - 1
	l := &u.levels[last]
	f := &u.scopes[l.scope].fields
	if is = f.inner > 0 && f.inner == last && f.qtype != nil; is {
		f.inner = -1 // one is enough
	}
	return l.start, is
}

// below reads a record that stands below other keys, as one of its own.
func (u *Unwrapper) below(record []byte) {
	found, others := len(u.found), u.malformed+u.requests
	u.json(record, 0, maxNested)
	if len(u.found) == found && u.malformed+u.requests == others {
		u.malformed++
	}
}

// timed gives a time to the queries from first on that have none.
func (u *Unwrapper) timed(first int, unix int64) {
	if unix == 0 {
		return
	}
	for i := first; i < len(u.found); i++ {
		if u.found[i].Unix == 0 {
			u.found[i].Unix = unix
		}
	}
}

// shortest is the shortest text that may hold a query.
const shortest = 20

// text is a string, the value of key or an element of an array. quoted is false where
// it can have no quotes, and escaped true where it is as JSON has it, with backslashes.
func (u *Unwrapper) text(key, text []byte, quoted, escaped bool, base, depth int) {
	if len(u.levels) == base { // the line is a string
		u.levels = append(u.levels, level{array: true, first: len(u.found), scope: len(u.scopes)})
		u.scopes = append(u.scopes, scope{level: base, taken: notTaken})
		u.text(nil, text, quoted, escaped, base, depth)
		u.pop()
		return
	}
	at := len(u.levels) - 1
	l := &u.levels[at]
	if string(key) == "value" && l.field != nil {
		if at > base {
			u.levels[at-1].takeTime(l.field, text)
		}
	} else if string(key) == "field" {
		l.field = text
	}
	l.takeTime(key, text)
	s := &u.scopes[l.scope]
	s.fields.text(u, at, key, text, escaped)
	s.part.tag(key, text)
	if isLine(key) {
		if escaped {
			text, escaped = unescape(text), false
		}
		s.part.text = text
	}
	again := s.taken != notTaken && (s.taken != at || !l.array)
	if len(text) < shortest {
		return
	}
	if u.Parser.nodes == nil && !quoted { // a query has quotes
		return
	}
	if escaped {
		text = unescape(text)
	}
	text = bytes.TrimRight(text, "\r\n")
	first := u.levels[s.level].first
	before, malformed, requests := len(u.found), u.malformed, u.requests
	if bytes.IndexByte(text, '\n') < 0 || jsonIn(text) >= 0 {
		u.line(text, depth)
	} else {
		for line := range bytes.Lines(text) {
			u.line(bytes.TrimRight(line, "\r\n"), depth)
		}
	}
	if again && !u.another(first, before) {
		u.found, u.malformed, u.requests = u.found[:before], malformed, requests
	} else if len(u.found) > before {
		u.scopes[u.levels[at].scope].taken = at
	}
}

// another tells whether one of the queries from next on is none of those from first to
// there.
func (u *Unwrapper) another(first, next int) bool {
	return slices.ContainsFunc(u.found[next:], func(f Found) bool {
		return f.Source != 0 && !slices.ContainsFunc(u.found[first:next], func(known Found) bool {
			return known.Source == f.Source && known.Type == f.Type && bytes.Equal(known.Client, f.Client)
		})
	})
}

// line is a line of a string. A string has several where a collector took them for one
// event, as Splunk does where it finds no time in a line.
func (u *Unwrapper) line(text []byte, depth int) {
	var r Record
	switch v := u.Parser.Parse(text, &r); {
	case v == Query:
		r.Form = JSON
		u.found = append(u.found, Found{Record: r, Text: text})
	case depth < maxNested:
		before, malformed := len(u.found), u.malformed
		u.unwrap(text, depth+1)
		for i := before; i < len(u.found); i++ {
			if f := &u.found[i]; f.Form < JSON {
				f.Form = JSON
			}
		}
		if v == Malformed && len(u.found) == before && u.malformed == malformed {
			u.malformed++
		}
	case v == Malformed:
		u.malformed++
	}
}

// number is any other value.
func (u *Unwrapper) number(key, text []byte, base int) {
	if len(u.levels) == base {
		return
	}
	l := &u.levels[len(u.levels)-1]
	l.takeTime(key, text)
	u.scopes[l.scope].part.tag(key, text)
	u.scopes[l.scope].fields.number(u, len(u.levels)-1, key, text)
}

// unescape writes a string in place as what it stands for, which is never longer.
func unescape(text []byte) []byte {
	to := bytes.IndexByte(text, '\\')
	if to < 0 {
		return text
	}
	for i := to; i < len(text); i++ {
		if next := bytes.IndexByte(text[i:], '\\'); next != 0 { // up to the next
			if next < 0 {
				next = len(text) - i
			}
			to += copy(text[to:], text[i:i+next])
			if i += next; i == len(text) {
				break
			}
		}
		if i++; i == len(text) {
			break
		}
		c := text[i]
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'u':
			if r, n := unicodeEscape(text[i+1:]); n > 0 { // else it would be longer
				to += utf8.EncodeRune(text[to:], r)
				i += n
				continue
			}
		}
		text[to] = c
		to++
	}
	return text[:to]
}

// unicodeEscape reads the four digits of \uXXXX, and the second half of a pair. The length
// is 0 where these are none.
func unicodeEscape(text []byte) (r rune, length int) {
	r, ok := hex4(text)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) && len(text) >= 10 && text[4] == '\\' && text[5] == 'u' {
		if low, ok := hex4(text[6:]); ok {
			return utf16.DecodeRune(r, low), 10
		}
	}
	return r, 4
}

func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for _, c := range text[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
