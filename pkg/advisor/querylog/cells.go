package querylog

import "bytes"

// cells reads a line of CSV: of the first cell that is a query, or has some in JSON,
// all, and of each later one that has another query (json.go says which is). Quoted cells
// are unescaped in place. The time is the best of the others:
//
//	RFC 3339                                          3
//	a number of milliseconds or less, by its size     2
//	with a space for the T, and so without a zone     1
//
// It tells whether there was a query, or one that cannot be read.
func (u *Unwrapper) cells(line []byte, depth int) bool {
	if len(line) > MaxUnit || !bytes.Contains(line, []byte(`""`)) {
		return false
	}
	found, others := len(u.found), u.malformed+u.requests
	var time level
	for rest := line; len(rest) > 0; {
		var cell []byte
		quoted := rest[0] == '"'
		if quoted {
			cell, rest = quotedCell(rest[1:])
		} else {
			end := bytes.IndexAny(rest, ",;\t")
			if end < 0 {
				end = len(rest)
			}
			cell, rest = rest[:end], rest[end:]
		}
		if len(rest) > 0 {
			rest = rest[1:]
		}
		time.timeIs(cellTime(cell))
		if !quoted || len(cell) < shortest {
			continue
		}
		before, malformed, requests := len(u.found), u.malformed, u.requests
		again := before > found || malformed+requests > others
		var r Record
		switch v := u.Parser.Parse(cell, &r); {
		case v == Query:
			r.Form = Quoted
			u.found = append(u.found, Found{Record: r, Text: cell})
		case jsonIn(cell) >= 0:
			u.unwrap(cell, depth+1)
		case v == Malformed:
			u.malformed++
		}
		if again && !u.another(found, before) {
			u.found, u.malformed, u.requests = u.found[:before], malformed, requests
		}
	}
	u.timed(found, time.unix)
	return len(u.found) > found || u.malformed+u.requests > others
}

// quotedCell unescapes a cell behind its first quote. It has no end where a line break
// is in it.
func quotedCell(text []byte) (cell, rest []byte) {
	to := 0
	for from := 0; ; {
		quote := bytes.IndexByte(text[from:], '"')
		if quote < 0 {
			to += copy(text[to:], text[from:])
			return text[:to], nil
		}
		to += copy(text[to:], text[from:from+quote])
		if from += quote + 1; from == len(text) || text[from] != '"' {
			return text[:to], text[from:]
		}
		text[to] = '"'
		to++
		from++
	}
}

func cellTime(cell []byte) (rank uint8, unix int64) {
	if len(cell) < 13 || len(cell) > 40 || cell[0] < '0' || cell[0] > '9' {
		return noTime, 0
	}
	switch {
	case cell[4] != '-':
		rank = dateTime
	case cell[10] == 'T':
		rank = ownTime
	default:
		rank = anyTime
	}
	return rank, timeOf(cell)
}
