package querylog

import (
	"bytes"
	"strconv"
)

// Which of several times is the query's, by its key. Stores add the time at which they
// got a line, or wrote it down.
//
//	key                                                               rank
//	time, timestamp, @timestamp, ts, _time, TimeGenerated,            3
//	  timeUnixNano, eventTime, __REALTIME_TIMESTAMP
//	an element of an array                                            3
//	date                                                              2
//	any other with "time" in it (receiveTimestamp, ingestionTime)     1
//
// Of several of the same rank the first counts.
//
// A value is RFC 3339, also with a space in the place of the T. Without a zone it is
// taken for UTC; with a zone that has a name it is no time. A number, also in a string,
// is a time by its size: seconds, milliseconds, microseconds or nanoseconds since 1970,
// if that is between 2001 and 2286.
const (
	noTime uint8 = iota
	anyTime
	dateTime
	ownTime
)

func rankOf(key []byte) uint8 {
	switch string(key) {
	case "time", "timestamp", "@timestamp", "ts", "_time", "TimeGenerated", "timeUnixNano", "eventTime", "__REALTIME_TIMESTAMP":
		return ownTime
	case "date":
		return dateTime
	}
	if len(key) > 4 && (bytes.Contains(key, []byte("ime"))) {
		return anyTime
	}
	return noTime
}

// takeTime takes a value for the time of a level if it is one, and none better is known.
func (l *level) takeTime(key, value []byte) {
	if len(value) < 10 || len(value) > 40 || value[0] < '0' || value[0] > '9' {
		return
	}
	rank := ownTime
	if key != nil || !l.array {
		rank = rankOf(key)
	}
	if rank > l.rank {
		l.timeIs(rank, timeOf(value))
	}
}

func (l *level) timeIs(rank uint8, unix int64) {
	if rank > l.rank && unix != 0 {
		l.unix, l.rank = unix, rank
	}
}

// timeOf reads a time, 0 for none.
func timeOf(value []byte) int64 {
	if len(value) >= 19 && value[4] == '-' && (value[10] == 'T' || value[10] == ' ') {
		return seconds(value)
	}
	whole, _, fraction := bytes.Cut(value, []byte("."))
	if exponent := bytes.IndexAny(value, "eE"); exponent >= 0 { // 1.7636328e9
		f, err := strconv.ParseFloat(string(value), 64)
		if err != nil || f < 1e9 || f >= 1e10 {
			return 0
		}
		return int64(f)
	}
	var divisor int64
	switch len(whole) {
	case 10:
		divisor = 1
	case 13:
		divisor = 1e3
	case 16:
		divisor = 1e6
	case 19:
		divisor = 1e9
	default:
		return 0
	}
	if fraction && divisor > 1e3 {
		return 0
	}
	var n int64
	for _, c := range whole {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return max(n/divisor, 0)
}
