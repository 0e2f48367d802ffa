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

// WholeLines is how much of a text are whole lines: the last has its end, and is not
// partial.
func WholeLines(data []byte) int {
	end := bytes.LastIndexByte(data, '\n') + 1
	for end > 0 {
		start := bytes.LastIndexByte(data[:end-1], '\n') + 1
		if start == 0 || !Partial(data[start:end-1]) {
			break
		}
		end = start
	}
	return end
}
