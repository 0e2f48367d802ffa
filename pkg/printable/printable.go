// Package printable makes strings that anybody may have written safe for a
// person to see: owner references, images, names in query logs, error texts.
// The API server validates few strings of an object; the others may have
// escape sequences that rewrite a terminal, line breaks that forge a line,
// directions and letters that look like others, or a megabyte.
//
// What comes out is printable ASCII on one line. Ordinary names and sentences come
// out unchanged. Escapes are Go's: \x1b, \n, \u202e.
//
//	a value in a sentence: a name, an image             Name
//	the same in a column of a table                     Cell
//	a value that is always in quotes: an annotation's   Quote
//	a sentence that may repeat values                   Line
//	a sentence that somebody else wrote: an error       Clip
//	JSON for people                                     JSON
//	a name that is kept until it is shown               Cut
package printable

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxName bounds, in columns, how much of a name is shown. Names of objects
	// have 253 at most.
	MaxName = 253
	// MaxCell bounds, in columns, how much of a name is shown in a table, where the
	// longest name makes every row as wide.
	MaxCell = 100
	// MaxLine bounds, in bytes before escaping, how much is shown of a sentence that
	// somebody else wrote, such as an error.
	MaxLine = 2048
)

// cut stands for the rest of what was too long.
const cut = "..."

// Name returns a name as it is if it is one word of letters, digits and the
// signs that names, images and addresses have. Any other is put in quotes, so
// that it cannot be taken for the words or columns around it, nor, when it is
// copied, for several words of a command line.
func Name(s string) string { return name(s, MaxName) }

// Cell is Name for a column of a table, where less is shown of what is long.
func Cell(s string) string { return name(s, MaxCell) }

func name(s string, most int) string {
	if len(s) <= most && isWord(s) {
		return s
	}
	return Quote(s, most)
}

func isWord(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._/:@+=,%", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// Quote returns a string in quotes, with everything but printable ASCII escaped. Where
// that takes more than most columns between the quotes, only the beginning is
// returned, with dots behind the closing quote.
func Quote(s string, most int) string {
	if quoted := strconv.QuoteToASCII(s[:min(len(s), most+1)]); len(s) <= most && len(quoted)-2 <= most {
		return quoted
	}
	quoted := []byte{'"'}
	var character [16]byte
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		q := strconv.AppendQuoteToASCII(character[:0], s[i:i+size])
		q = q[1 : len(q)-1]
		if len(quoted)-1+len(q) > most {
			break
		}
		quoted = append(quoted, q...)
		i += size
	}
	return string(append(quoted, '"')) + cut
}

// Cut returns a string of at most most bytes as it is, and of a longer one the first
// most bytes, without a character that is cut in two, and dots. It escapes nothing: it
// is for what is kept, not for what is shown.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:boundary(s, most)] + cut
}

// Line returns a sentence with everything but printable ASCII escaped, line
// breaks and tabs included. A backslash stays as it is: what is quoted in the
// sentence is escaped already.
func Line(s string) string {
	i := 0
	for i < len(s) && isPrintable(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	escaped := append(make([]byte, 0, len(s)+16), s[:i]...)
	var quoted [16]byte
	for i < len(s) {
		if isPrintable(s[i]) {
			escaped = append(escaped, s[i])
			i++
			continue
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		q := strconv.AppendQuoteToASCII(quoted[:0], s[i:i+size])
		escaped = append(escaped, q[1:len(q)-1]...)
		i += size
	}
	return string(escaped)
}

// Clip is Line of the first MaxLine bytes. A text of several lines becomes one,
// with single spaces: errors stay readable.
func Clip(s string) string {
	long := len(s) > MaxLine
	if long {
		s = s[:boundary(s, MaxLine)]
	}
	if strings.ContainsAny(s, "\n\r\t") {
		s = strings.Join(strings.Fields(s), " ")
	}
	s = Line(s)
	if long {
		s += cut
	}
	return s
}

// JSON returns a JSON text with everything but ASCII, and DEL, as \uXXXX: the
// same value, which no terminal can take for anything else. Encoders escape
// the other control characters themselves; white space between tokens stays.
func JSON(text []byte) []byte {
	i := 0
	for i < len(text) && text[i] < 0x7f {
		i++
	}
	if i == len(text) {
		return text
	}
	escaped := append(make([]byte, 0, len(text)+64), text[:i]...)
	for i < len(text) {
		if text[i] < 0x7f {
			escaped = append(escaped, text[i])
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			escaped = appendUnit(appendUnit(escaped, high), low)
		} else {
			escaped = appendUnit(escaped, r)
		}
		i += size
	}
	return escaped
}

// appendUnit appends a code unit of UTF-16 as \uXXXX.
func appendUnit(b []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12&0xf], digits[unit>>8&0xf], digits[unit>>4&0xf], digits[unit&0xf])
}

func isPrintable(c byte) bool { return ' ' <= c && c < 0x7f }

// boundary is most, or a little less where that would cut a character in two.
func boundary(s string, most int) int {
	for at := most; at > most-utf8.UTFMax && at > 0; at-- {
		if utf8.RuneStart(s[at]) {
			return at
		}
	}
	return most
}
