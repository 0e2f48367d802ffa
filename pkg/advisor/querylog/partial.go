package querylog

import "bytes"

// A container runtime writes a long line in parts, each with a prefix of its own. All
// but the last are marked P, and that is marked F:
//
//	2026-01-02T03:04:05.123456789Z stdout P [INFO] 10.244.0.7:40312 - 332
//	2026-01-02T03:04:05.123456999Z stdout F 43 "A IN api.example.com. udp ...

// runtimeTag finds the mark of a container runtime's line, and where its text begins.
func runtimeTag(line []byte) (tag byte, text int) {
	const shortestTime = 20
	if len(line) < shortestTime+10 || line[4] != '-' || line[10] != 'T' {
		return 0, 0
	}
	space := bytes.IndexByte(line[shortestTime-1:min(len(line), shortestTime+20)], ' ')
	if space < 0 {
		return 0, 0
	}
	rest := line[shortestTime-1+space+1:]
	if len(rest) < 9 || rest[0] != 's' || rest[1] != 't' || rest[2] != 'd' || rest[6] != ' ' || rest[8] != ' ' {
		return 0, 0
	}
	return rest[7], len(line) - len(rest) + 9
}

// Partial tells whether a line goes on in the next.
func Partial(line []byte) bool {
	tag, _ := runtimeTag(line)
	return tag == 'P'
}

// Join moves what follows a partial line, in data[start:end], to where it ends. It
// returns the whole line, and where the last of its parts ended.
func Join(data []byte, start, end int) (line []byte, last int) {
	to := end
	for end < len(data) {
		from := end + 1
		next := bytes.IndexByte(data[from:], '\n')
		if next < 0 {
			next = len(data) - from
		}
		tag, text := runtimeTag(data[from : from+next])
		if tag == 0 {
			break
		}
		to += copy(data[to:], data[from+text:from+next])
		end = from + next
		if tag != 'P' {
			return data[start:to], end
		}
	}
	return data[start:to], end
}

// maxParts is how many parts of a line are kept together.
const maxParts = 16

// WholeLines is how much of a text are whole lines: the last has its end, and is not
// partial.
func WholeLines(data []byte) int {
	whole := bytes.LastIndexByte(data, '\n') + 1
	end := whole
	for range maxParts {
		start := bytes.LastIndexByte(data[:max(end-1, 0)], '\n') + 1
		if start == 0 {
			break
		}
		if line := data[start : end-1]; !Partial(line) && !partialJSON(line) {
			return end
		}
		end = start
	}
	return whole
}

// What collects logs may leave the parts of a line in records of their own:
//
//	a part that another follows                           the last
//	_p, logtag (Fluent Bit's and Fluentd's cri)        P  F
//	partial_message (Fluentd), CONTAINER_PARTIAL_MESSAGE  the same with partial_last,
//	  (Docker's journald), _partial (Vector)         true    CONTAINER_PARTIAL_LAST
//
// They are joined where the records stand one behind the other. A part without the
// others counts as a query that cannot be read.

// part is what a record says of the part of a line that it has.
type part struct {
	text []byte
	// marked tells that it has a mark, goesOn that another follows, and last that none does.
	marked, goesOn, last bool
	// malformed is how many texts could not be read when it began.
	malformed int
}

// isLine tells whether a key is that of a line in a record.
func isLine(key []byte) bool {
	switch string(key) {
	case "log", "message", "MESSAGE", "msg", "line":
		return true
	}
	return false
}

func (p *part) tag(key, value []byte) {
	switch string(key) {
	case "_p", "logtag":
		p.marked, p.goesOn = true, string(value) == "P"
	case "partial_message", "CONTAINER_PARTIAL_MESSAGE", "_partial":
		p.marked, p.goesOn = true, string(value) == "true"
	case "partial_last", "CONTAINER_PARTIAL_LAST":
		p.last = string(value) == "true"
	}
}

// parted joins the parts of a line. first is how many queries there were when the
// record began. The whole line takes the place of its first part and of what follows it
// in the block, which has been read.
func (u *Unwrapper) parted(p *part, first int) {
	goesOn := p.marked && p.goesOn && !p.last
	if !goesOn && u.begun == nil {
		return
	}
	if len(u.found) > first || !p.marked { // a line of its own
		u.abandon()
		return
	}
	u.malformed, u.isPart = p.malformed, goesOn
	n := len(u.begun)
	switch whole := n + len(p.text); {
	case n == 0:
		u.begun = p.text
	case whole > MaxLine || whole > cap(u.begun):
		u.malformed++
		u.begun = nil
		return
	default:
		u.begun = u.begun[:whole]
		copy(u.begun[n:], p.text)
	}
	if goesOn {
		return
	}
	line := bytes.TrimRight(u.begun, "\r\n")
	u.begun = nil
	var r Record
	switch u.Parser.Parse(line, &r) {
	case Query:
		r.Form = JSON
		u.found = append(u.found, Found{Record: r, Text: line})
	case Malformed:
		u.malformed++
	case Other, Request:
	}
}

// abandon counts a part without the others, if it is of a query.
func (u *Unwrapper) abandon() {
	if u.begun != nil && (looksLikeQuery(u.begun) || bytes.Contains(u.begun, []byte(" - "))) {
		u.malformed++
	}
	u.begun = nil
}

// partialJSON tells whether a line is a record that has a part. It is only asked of the
// last lines of a block.
func partialJSON(line []byte) bool {
	if !InJSON(line) {
		return false
	}
	for _, key := range []string{`"_p"`, `"logtag"`, `"partial_message"`, `"CONTAINER_PARTIAL_MESSAGE"`, `"_partial"`} {
		if _, value, found := bytes.Cut(line, []byte(key)); found {
			value = bytes.TrimLeft(value, `: "`)
			return bytes.HasPrefix(value, []byte("P")) || bytes.HasPrefix(value, []byte("true"))
		}
	}
	return false
}
