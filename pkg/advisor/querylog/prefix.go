package querylog

import "bytes"

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

// timestamp finds an RFC 3339 timestamp among the words of a prefix, or two words that
// are one. A container runtime and kubectl --timestamps write one at the start or behind
// the pod.
func timestamp(prefix []byte) int64 {
	for len(prefix) >= 20 {
		if prefix[4] == '-' && (prefix[10] == 'T' || prefix[10] == ' ' && prefix[7] == '-' && prefix[13] == ':') {
			return seconds(prefix)
		}
		space := bytes.IndexAny(prefix, " \t")
		if space < 0 {
			return 0
		}
		prefix = prefix[space+1:]
	}
	return 0
}

// timeFirst reads the number that a line begins with, where that is a time by its size:
// as Grafana's text, journalctl -o short-unix and queries for [timestamp, message] have it.
func timeFirst(line []byte) int64 {
	end := bytes.IndexAny(line, " \t")
	if end < 10 || end > 20 || line[0] < '0' || line[0] > '9' {
		return 0
	}
	return timeOf(line[:end])
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
	if namesZone(text[19:]) {
		return 0
	}
	unix := days*86400 + hour*3600 + minute*60 + second
	return unix - zone(text[19:], two)
}

// namesZone tells whether a time is followed by a word that moves it by what only who
// wrote it knows: CET, PST, PM. UTC does not, nor does what else a log has there in
// capitals, its level.
func namesZone(text []byte) bool {
	time, behind, _ := bytes.Cut(text, []byte(" "))
	if bytes.ContainsAny(time, "Z+-") {
		return false
	}
	n := 0
	for n < len(behind) && behind[n] >= 'A' && behind[n] <= 'Z' {
		n++
	}
	if n < 2 || n > 5 || n < len(behind) && !isBlank(behind[n]) {
		return false
	}
	switch string(behind[:n]) {
	case "UTC", "GMT", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL":
		return false
	}
	return true
}

// zone is the offset in seconds of +HH:MM, +HHMM or +HH at the end of a time's
// first word, or of +HHMM behind it; 0 where there is none, as for Z.
func zone(text []byte, two func(int) int64) int64 {
	sign := -1
	for i, c := range text {
		if c == '+' || c == '-' {
			sign = i
		} else if c == ' ' || c == '\t' {
			if sign < 0 && len(text) >= i+6 && (text[i+1] == '+' || text[i+1] == '-') && (len(text) == i+6 || text[i+6] == ' ') {
				sign, text = i+1, text[:i+6]
				break
			}
			text = text[:i]
			break
		}
	}
	if sign < 0 {
		return 0
	}
	const after = 19 // of the time that two reads from
	digits := text[sign+1:]
	var minutes int64
	switch {
	case len(digits) == 2:
	case len(digits) == 4:
		minutes = two(after + sign + 3)
	case len(digits) == 5 && digits[2] == ':':
		minutes = two(after + sign + 4)
	default:
		return 0
	}
	offset := two(after+sign+1)*3600 + minutes*60
	if offset < 0 {
		return 0
	}
	if text[sign] == '-' {
		return -offset
	}
	return offset
}
