package loglimit

import (
	"strconv"
	"strings"
)

// Quote returns a value that somebody else has chosen as it may stand in a line
// of the log, a warning or an answer: printable ASCII stays, everything else is
// escaped as in Go, and what takes more than most bytes in JSON is cut off. Most
// is 4 at least.
func Quote(value string, most int) string {
	const more = "..."
	clipped := false
	if len(value) > most { // before it is escaped, which costs
		value, clipped = value[:most], true
	}
	if strings.IndexFunc(value, special) >= 0 {
		value = strconv.QuoteToASCII(value)
		value = value[1 : len(value)-1]
	}
	if !clipped && fit(value, most) == len(value) {
		return value
	}
	return value[:fit(value, most-len(more))] + more
}

func special(r rune) bool { return r < ' ' || r > '~' }

// fit returns how many bytes of a value take up to most in JSON.
func fit(value string, most int) int {
	for i := range len(value) {
		if most--; value[i] == '"' || value[i] == '\\' {
			most--
		}
		if most < 0 {
			return i
		}
	}
	return len(value)
}
