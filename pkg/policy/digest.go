package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Digest stands for the words of a command, or of its arguments, which may hold
// secrets and of which only it matters whether they are the same: 64 bits of
// FNV-1a. 0 stands for no words.
type Digest uint64

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
	// wordEnd is in no word: it is no byte of UTF-8.
	wordEnd = 0xff
)

// DigestOf is the digest of words.
func DigestOf(words []string) Digest {
	if len(words) == 0 {
		return 0
	}
	d := Digest(fnvOffset)
	for _, word := range words {
		for i := range len(word) {
			d = d.with(word[i])
		}
		d = d.with(wordEnd)
	}
	return d
}

func (d Digest) with(b byte) Digest { return (d ^ Digest(b)) * fnvPrime }

// UnmarshalJSON takes the words of a JSON list. What is no list of strings, which
// no API server accepts, has no words. It allocates only where a word is escaped.
func (d *Digest) UnmarshalJSON(data []byte) error {
	*d = 0
	if bytes.IndexByte(data, '\\') >= 0 || len(data) == 0 || data[0] != '[' {
		var words []string
		if json.Unmarshal(data, &words) == nil {
			*d = DigestOf(words)
		}
		return nil
	}
	sum, in, words := Digest(fnvOffset), false, false
	for _, b := range data {
		switch {
		case b == '"' && in:
			sum, in = sum.with(wordEnd), false
		case b == '"':
			in, words = true, true
		case in:
			sum = sum.with(b)
		}
	}
	if words {
		*d = sum
	}
	return nil
}

// CommandLine is the digest of a container's command and arguments together, in
// the form that advice has; empty where it names neither.
func CommandLine(command, args Digest) string {
	if sum := commandLine(command, args); sum != 0 {
		return fmt.Sprintf("%016x", uint64(sum))
	}
	return ""
}

func commandLine(command, args Digest) Digest {
	if command == 0 && args == 0 {
		return 0
	}
	d := Digest(fnvOffset)
	for _, part := range [...]Digest{command, args} {
		for i := range 8 {
			d = d.with(byte(part >> (8 * i)))
		}
	}
	return d
}
