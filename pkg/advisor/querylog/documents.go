package querylog

import (
	"bytes"
	"io"
)

// MaxUnit is how long a line of JSON may be in bytes, and a part of a document that is
// read at once.
const MaxUnit = 64 << 10

const (
	// maxDescents is how deeply nested a document is taken apart.
	maxDescents = 32
	// readSize is how much is read at once into what is pending.
	readSize = 64 << 10
)

// Documents is a reader of a log in which JSON stands on one line. What stands so
// already is handed on as it is, at hardly any cost. Other JSON is taken apart until its
// parts fit into MaxUnit, each of which becomes a line: the elements of hits.hits[], of
// the array that gcloud prints, or of a page of CloudWatch's events, however large. A
// byte order mark at the beginning is left out.
type Documents struct {
	r io.Reader
	// pending is what has been read and not handed on, from pos on.
	pending []byte
	pos     int
	// pass is how much of it is known to be handed on as it is.
	pass int
	// out is a part of a document that is to be handed on, and line its buffer.
	out, line []byte
	// inLine tells that what was handed on last is the beginning of a line.
	inLine bool
	// started tells that something was read, and lines that some lines were none of a
	// document.
	started, lines bool
	// depth is how many objects and arrays are open; inDocument that one is.
	depth      int
	inDocument bool
	// broken tells that a document was none: what follows is not taken for one.
	broken bool
	err    error
}

// NewDocuments makes one.
func NewDocuments(r io.Reader) *Documents { return &Documents{r: r} }

func (d *Documents) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(d.out) > 0:
			n := copy(p, d.out)
			d.out = d.out[n:]
			return n, nil
		case d.pass > 0:
			n := copy(p, d.pending[d.pos:d.pos+d.pass])
			d.pos, d.pass = d.pos+n, d.pass-n
			return n, nil
		case d.inDocument:
			d.step()
			continue
		case d.pos < len(d.pending):
			d.classify()
			continue
		case d.err != nil:
			return 0, d.err
		}
		if !d.started { // what is pending may begin with a mark
			d.started = true
			for len(d.pending) < len(byteOrderMark) && d.more() {
			}
			d.pending = bytes.TrimPrefix(d.pending, []byte(byteOrderMark))
			continue
		}
		n, err := d.r.Read(p)
		d.err = err
		if n == 0 && err == nil {
			return 0, nil
		}
		chunk := p[:n]
		if d.lines && (d.broken || bytes.IndexByte(chunk, '{') < 0 && !endsInBracket(chunk)) {
			d.inLine = endsInLine(chunk, d.inLine)
			return n, nil
		}
		d.pending, d.pos = append(d.pending[:0], chunk...), 0
	}
}

const byteOrderMark = "\xef\xbb\xbf"

// endsInBracket tells whether the last of a piece is a bracket, which may begin an array
// that the next has.
func endsInBracket(chunk []byte) bool {
	chunk = bytes.TrimRight(chunk, " \t\r\n")
	return len(chunk) > 0 && chunk[len(chunk)-1] == '['
}

// endsInLine tells whether a piece ends in a line of which there is more than blanks.
func endsInLine(chunk []byte, inLine bool) bool {
	last := bytes.LastIndexByte(chunk, '\n')
	return inLine && last < 0 || len(bytes.TrimLeft(chunk[last+1:], " \t\r")) > 0
}

// more reads more into what is pending. false is the end.
func (d *Documents) more() bool {
	if d.err != nil {
		return false
	}
	if d.pos > 0 {
		d.pending = d.pending[:copy(d.pending, d.pending[d.pos:])]
		d.pos = 0
	}
	n := len(d.pending)
	if cap(d.pending) < n+readSize {
		d.pending = append(make([]byte, 0, n+2*readSize), d.pending...)
	}
	read, err := d.r.Read(d.pending[n : n+readSize])
	d.pending, d.err = d.pending[:n+read], err
	return read > 0 || err == nil
}

// classify finds out how much of what is pending are lines that can be handed on, and
// whether a document begins behind them.
func (d *Documents) classify() {
	rest := d.pending[d.pos:]
	at := 0
	if d.inLine {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			d.pass = len(rest)
			return
		}
		at = end + 1
	}
	for at < len(rest) {
		line := rest[at:]
		end := bytes.IndexByte(line, '\n')
		if end >= 0 {
			line = line[:end]
		}
		text := bytes.TrimLeft(line, " \t\r")
		is := no
		if !d.broken && len(text) > 0 {
			is = begins(rest[at+len(line)-len(text):], d.lines)
		}
		if is == perhaps && d.err != nil {
			is = no
		}
		if is == no {
			d.lines = d.lines || len(text) > 0
			if end < 0 {
				d.pass, d.inLine = len(rest), len(text) > 0
				return
			}
			at += end + 1
			continue
		}
		if (end < 0 || is == perhaps) && len(line) <= MaxUnit && d.err == nil {
			if at > 0 { // hand on what is before it first
				break
			}
			d.more()
			return
		}
		if end >= 0 && len(line) <= MaxUnit && complete(text) {
			at += end + 1
			continue
		}
		if at == 0 {
			d.inDocument, d.depth = true, 0
			d.pos += len(line) - len(text)
			return
		}
		break
	}
	d.pass, d.inLine = at, false
}

type likely uint8

const (
	no likely = iota
	perhaps
	yes
)

// begins tells whether a text begins as JSON does. More of it may have to be read. Among
// lines, it must be objects.
func begins(text []byte, amongLines bool) likely {
	inner := bytes.TrimLeft(text, "[ \t\r\n")
	switch {
	case text[0] != '{' && text[0] != '[':
		return no
	case mayBegin(inner), inner[0] == '{' && len(bytes.TrimLeft(inner[1:], " \t\r\n")) == 0:
		return perhaps
	case InJSON(text) && (inner[0] == '{' || !amongLines):
		return yes
	}
	return no
}

// mayBegin tells whether what follows the first brackets of an array is so short that
// more decides: a number, a literal or an empty array, of which InJSON wants the comma.
func mayBegin(inner []byte) bool {
	for _, whole := range [...]string{"null", "true", "false", "]"} {
		if len(inner) <= len(whole) && whole[:len(inner)] == string(inner) { // inner may be long, and is not copied
			return true
		}
	}
	return len(bytes.TrimLeft(inner, "0123456789")) == 0
}

// complete tells whether a line that begins with JSON ends with it.
func complete(text []byte) bool {
	text = bytes.TrimRight(text, " \t\r")
	last := text[len(text)-1]
	return last == '}' || last == ']'
}

// step hands on the next part of a document.
func (d *Documents) step() {
	rest := d.pending[d.pos:]
	n := 0
	for n < len(rest) && (isBlank(rest[n]) || rest[n] == ',' || rest[n] == ':') {
		n++
	}
	d.pos += n
	rest = rest[n:]
	if len(rest) == 0 {
		if !d.more() && d.pos == len(d.pending) {
			d.cutOff()
		}
		return
	}
	switch c := rest[0]; c {
	case '{', '[':
		d.open(rest)
	case '}', ']':
		d.pos++
		if d.depth--; d.depth <= 0 {
			d.end()
		}
	case '"':
		d.scalar(rest)
	default:
		if (c < '0' || c > '9') && c != '-' && c != 't' && c != 'f' && c != 'n' {
			d.giveUp(rest, bytes.IndexByte(rest, '\n'))
			return
		}
		n := 1
		for n < len(rest) && !isBlank(rest[n]) && bytes.IndexByte([]byte(`,:{}[]"`), rest[n]) < 0 {
			n++
		}
		d.pos += n
	}
}

// end leaves a document, up to the end of its line if nothing else is on it.
func (d *Documents) end() {
	d.inDocument, d.inLine, d.depth = false, false, 0
	for d.pos < len(d.pending) && isBlank(d.pending[d.pos]) {
		d.pos++
	}
}

// open hands on an object or array, or descends into it if it is too large.
func (d *Documents) open(rest []byte) {
	length, broken := valueEnd(rest[:min(len(rest), MaxUnit)])
	switch {
	case broken:
		d.giveUp(rest, length)
	case length > 0:
		d.unit(rest[:length])
		if d.depth == 0 {
			d.end()
		}
	case len(rest) < MaxUnit && d.err == nil:
		d.more()
	case len(rest) < MaxUnit:
		d.unit(rest)
		d.cutOff()
	case d.depth == maxDescents:
		d.broken = true
		d.giveUp(rest, -1)
	default:
		d.depth++
		d.pos++
	}
}

// scalar passes over a key, and hands on a string.
func (d *Documents) scalar(rest []byte) {
	end, _ := stringEnd(rest[:min(len(rest), MaxUnit)], 1)
	behind := end + 1
	for end >= 0 && behind < len(rest) && isBlank(rest[behind]) {
		behind++
	}
	switch {
	case (end < 0 && len(rest) < MaxUnit || behind == len(rest)) && d.err == nil:
		d.more()
	case end < 0:
		d.giveUp(rest, bytes.IndexByte(rest, '\n'))
	case bytes.IndexByte(rest[:end], '\n') >= 0:
		d.giveUp(rest, bytes.IndexByte(rest, '\n'))
	case behind < len(rest) && rest[behind] == ':':
		d.pos += behind + 1
	default:
		d.unit(rest[:end+1])
	}
}

// giveUp takes what is no JSON for lines again, the first up to lineEnd.
func (d *Documents) giveUp(rest []byte, lineEnd int) {
	d.inDocument, d.depth = false, 0
	if d.inLine = lineEnd < 0; d.inLine {
		lineEnd = len(rest) - 1
	}
	d.pass = lineEnd + 1
}

// cutOff ends a document that has no end, as a line does that is cut.
func (d *Documents) cutOff() {
	d.inDocument, d.depth = false, 0
	d.out = append(d.out, '{')
}

// unit makes a line of a part, if that is long enough for a query. Line breaks, which
// are between values, become spaces.
func (d *Documents) unit(part []byte) {
	d.pos += len(part)
	if len(part) < shortest {
		return
	}
	d.line = append(append(d.line[:0], part...), '\n')
	for rest := d.line[:len(part)]; ; {
		next := bytes.IndexByte(rest, '\n')
		if next < 0 {
			break
		}
		rest[next] = ' '
		rest = rest[next+1:]
	}
	d.out = d.line
}

// valueEnd is how long the object or array is that a text begins with, 0 if it does not
// end there. broken tells of a line break in a string, and where it is.
func valueEnd(b []byte) (length int, broken bool) {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, false
			}
		case '"':
			end, _ := stringEnd(b, i+1)
			text := b[i+1:]
			if end >= 0 {
				text = b[i+1 : end]
			}
			if line := bytes.IndexByte(text, '\n'); line >= 0 {
				return i + 1 + line, true
			}
			if end < 0 {
				return 0, false
			}
			i = end
		}
	}
	return 0, false
}
