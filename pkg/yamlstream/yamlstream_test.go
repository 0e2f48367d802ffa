package yamlstream_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// describe is a line for each document: its line, and its JSON or error.
func describe(documents []yamlstream.Document) []string {
	found := []string{}
	for _, d := range documents {
		converted, err := d.ToJSON()
		switch {
		case d.Err != nil:
			found = append(found, fmt.Sprintf("%d: cannot be read: %v", d.Line, d.Err))
		case err != nil:
			found = append(found, fmt.Sprintf("%d: %v", d.Line, err))
		default:
			found = append(found, fmt.Sprintf("%d: %s", d.Line, converted))
		}
	}
	return found
}

func inUTF16(text string, order binary.AppendByteOrder) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stream string
		want   []string
	}{
		"nothing":                                  {"", nil},
		"nothing but comments and markers":         {"# a\n---\n# b\n---\n...\n# c\n", nil},
		"one document":                             {"a: 1\n", []string{`1: {"a":1}`}},
		"comments before and behind":               {"# x\n\na: 1\n# y\n", []string{`1: {"a":1}`}},
		"two documents":                            {"a: 1\n---\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"empty documents between":                  {"---\n# x\n---\na: 1\n---\n---\nb: 2\n---\n", []string{`4: {"a":1}`, `7: {"b":2}`}},
		"a written null is a document":             {"a: 1\n---\nnull\n", []string{`1: {"a":1}`, `3: null`}},
		"a marker with a comment":                  {"--- # x\na: 1\n--- # y\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"a marker with white space":                {"--- \t\na: 1\n---\t\nb: 2\n", []string{`2: {"a":1}`, `4: {"b":2}`}},
		"a document on the marker's line":          {"a: 1\n--- {b: 2}\n", []string{`1: {"a":1}`, `2: {"b":2}`}},
		"a block scalar on the marker's line":      {"a: 1\n--- |\n b\n", []string{`1: {"a":1}`, `2: "b\n"`}},
		"an end marker":                            {"a: 1\n...\n---\nb: 2\n...\n", []string{`1: {"a":1}`, `4: {"b":2}`}},
		"a bare document behind an end marker":     {"a: 1\n...\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"an end marker with a comment":             {"a: 1\n... # end\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"comments behind an end marker":            {"a: 1\n... # end\n# done\n", []string{`1: {"a":1}`}},
		"a flow mapping before another document":   {"{a: 1}\n---\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"flow mappings without a marker":           {"{a: 1}\n{b: 2}\n", []string{"1: cannot be read: not valid YAML: line 1: did not find expected <document start>"}},
		"a stray line behind a flow mapping":       {"{a: 1}\nstray\n---\nb: 2\n", []string{"1: cannot be read: not valid YAML: line 1: did not find expected <document start>", `4: {"b":2}`}},
		"a stray line behind a block mapping":      {"a: 1\nstray\n---\nb: 2\n", []string{"1: cannot be read: not valid YAML: line 2: could not find expected ':'", `4: {"b":2}`}},
		"no space behind the dashes is no marker":  {"a: 1\n---{b: 2}\n", []string{`1: {"---{b":"2}","a":1}`}},
		"markers in scalars are text":              {"a: |\n  ---\n  b: 2\nc: \"x\n ---\n y\"\n", []string{`1: {"a":"---\nb: 2\n","c":"x --- y"}`}},
		"a marker in a comment":                    {"a: 1\n# x\n#---\n# ...\nb: 2\n", []string{`1: {"a":1,"b":2}`}},
		"a broken document hides none":             {"a: 1\n---\nb: [1\n---\nc: 3\n---\nd: {\n---\ne: 5\n", []string{`1: {"a":1}`, "3: cannot be read: not valid YAML: line 2: did not find expected ',' or ']'", `5: {"c":3}`, "7: cannot be read: not valid YAML: line 7: did not find expected node content", `9: {"e":5}`}},
		"a broken first document":                  {"# x\na: [\n---\nb: 2\n", []string{"1: cannot be read: not valid YAML: line 2: did not find expected node content", `4: {"b":2}`}},
		"a tab":                                    {"a: 1\n---\nb:\n\tc: 2\n---\nd: 4\n", []string{`1: {"a":1}`, "3: cannot be read: not valid YAML: line 4: found character that cannot start any token", `6: {"d":4}`}},
		"a control character far behind":           {"a: 1\n---\nb: \x01\n---\nc: 3\n", []string{`1: {"a":1}`, "3: cannot be read: not valid YAML: control characters are not allowed", `5: {"c":3}`}},
		"a key twice":                              {"a: 1\n---\nb: 2\nb: 3\n", []string{`1: {"a":1}`, `3: not valid YAML: line 4: key "b" already set in map`}},
		"directives":                               {"%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n%TAG ! tag:x,2026:\n---\nb: 2\n", []string{`1: {"a":1}`, `5: {"b":2}`}},
		"another version":                          {"%YAML 1.2\n---\na: 1\n---\nb: 2\n", []string{"1: cannot be read: not valid YAML: a directive %YAML names another version than 1.1; leave it out", `3: {"a":1}`, `5: {"b":2}`}},
		"a byte order mark":                        {"\ufeffa: 1\n---\nb: 2\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"a byte order mark before JSON":            {"\ufeff{\"a\": 1}", []string{`1: {"a": 1}`}},
		"files with byte order marks, joined":      {"\ufeffa: 1\n\ufeff---\nb: 2\n", []string{`1: {"a":1}`, `2: {"b":2}`}},
		"UTF-16, little end first":                 {inUTF16("a: ü\r\n---\r\nb: 😀\r\n", binary.LittleEndian), []string{`1: {"a":"ü"}`, `3: {"b":"😀"}`}},
		"UTF-16, big end first":                    {inUTF16("a: ü\n---\nb: 2\n", binary.BigEndian), []string{`1: {"a":"ü"}`, `3: {"b":2}`}},
		"UTF-16, cut":                              {inUTF16("a: 1\n", binary.LittleEndian)[:7], []string{"1: cannot be read: not valid UTF-16: it ends in the middle of a character"}},
		"carriage returns":                         {"a: 1\r---\rb: 2\r", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"carriage returns and line feeds":          {"a: 1\r\n---\r\nb: 2\r\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"YAML's other line breaks":                 {"a: \"x\u2028y\u2029z\u0085\"\n---\nb: 2\n", []string{`1: {"a":"x\u2028y\u2029z "}`, `6: {"b":2}`}},
		"no line break at the end":                 {"a: 1\n---\nb: 2", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"a marker at the end":                      {"a: 1\n---", []string{`1: {"a":1}`}},
		"JSON":                                     {"{\"a\": \"\\ud83d\\ude00\\/\"}\n", []string{`1: {"a": "\ud83d\ude00\/"}`}},
		"JSON with tabs":                           {"{\n\t\"a\":\t1\n}\n", []string{"1: {\n\t\"a\":\t1\n}"}},
		"JSON values back to back":                 {"{\"a\":1}{\"b\":2}\n\n{\"c\":3}\n", []string{`1: {"a":1}`, `1: {"b":2}`, `3: {"c":3}`}},
		"JSON values, the last one cut":            {"{\"a\":1}\n{\"b\":2}\n{\"c\":", []string{`1: {"a":1}`, `2: {"b":2}`, "3: cannot be read: not valid JSON: unexpected EOF"}},
		"JSON values with a marker":                {"{\"a\":1}\n---\n{\"b\":2}\n", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"JSON with a key twice":                    {`{"a":{"b":1,"b":2}}`, []string{`1: not valid JSON: duplicate field "a.b"`}},
		"JSON before something else":               {"{\"a\":1}\nstray\n", []string{"1: cannot be read: not valid YAML: line 1: did not find expected <document start>"}},
		"a list":                                   {"[{\"a\":1}]", []string{`1: [{"a":1}]`}},
		"an anchor belongs to its document":        {"a: &x 1\nb: *x\n---\nc: *x\n", []string{`1: {"a":1,"b":1}`, "4: not valid YAML: unknown anchor 'x' referenced"}},
		"aliases that expand to too much":          {bomb(), []string{"1: not valid YAML: document contains excessive aliasing"}},
		"an alias that contains itself":            {"a: &x [*x]\n", []string{"1: not valid YAML: anchor 'x' value contains itself"}},
		"more depth than the library takes":        {"a: " + strings.Repeat("[", 20000), []string{"1: cannot be read: not valid YAML: exceeded max depth of 10000"}},
		"a template":                               {"a: {{ .Values.a }}\n---\nb: 2\n", []string{`1: not valid YAML: invalid map key: map[interface {}]interface {}{".Values.a":interface {}(nil)}`, `3: {"b":2}`}},
		"no YAML at all":                           {"%\n", []string{"1: cannot be read: not valid YAML: could not find expected directive name"}},
		"a document that only the end marker ends": {"a: 1\n...", []string{`1: {"a":1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(append([]string{}, test.want...), describe(yamlstream.Split([]byte(test.stream)))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSplitManifests(t *testing.T) {
	t.Parallel()
	const noBlank = `"---" begins a document only where a blank, a comment or the end of the line follows it`
	for name, test := range map[string]struct {
		stream string
		want   []string
	}{
		"a comment right behind the dashes":         {"---# x\na: 1\n---#\r\nb: 2\n---#y", []string{`1: {"a":1}`, `3: {"b":2}`}},
		"white space that is none in YAML":          {"a: 1\n---\f\nb: 2\n---\u00a0# x\nc: 3\n", []string{`1: {"a":1}`, `3: {"b":2}`, `4: {"c":3}`}},
		"a marker with content":                     {"a: 1\n--- {b: 2}\n", []string{`1: {"a":1}`, `2: {"b":2}`}},
		"text right behind the dashes":              {"a: 1\n---b: 2\n---\nc: 3\n", []string{`1: {"a":1}`, "2: cannot be read: not valid YAML: line 2: " + noBlank, `4: {"c":3}`}},
		"text right behind the dashes, two in turn": {"---a: 1\n---b: 2\n...\nc: 3\n", []string{"1: cannot be read: not valid YAML: line 1: " + noBlank, `4: {"c":3}`}},
		"text right behind the dashes, at the end":  {"a: 1\n----", []string{`1: {"a":1}`, "2: cannot be read: not valid YAML: line 2: " + noBlank}},
		"JSON, then YAML":                           {"{\"a\":1}\nb: 2\n---\nc: 3\n", []string{`1: {"a":1}`, `2: {"b":2}`, `4: {"c":3}`}},
		"JSON and comments":                         {"# x\n{\"a\":\n1}\n# y\n\n{\"b\":2} # z\n{\"c\":3}\n#", []string{"2: {\"a\":\n1}", `6: {"b":2}`, `7: {"c":3}`}},
		"JSON values behind a marker":               {"a: 1\n--- # x\n{\"b\":2}\n{\"c\":3}\n---\nd: 4\n", []string{`1: {"a":1}`, `3: {"b":2}`, `4: {"c":3}`, `6: {"d":4}`}},
		"JSON, then junk":                           {"{\"a\":1}\n}}}\n---\nb: 2\n", []string{`1: {"a":1}`, "2: cannot be read: not valid YAML: did not find expected node content", `4: {"b":2}`}},
		"JSON, then broken YAML":                    {"{\"a\":1}\nb: 2\nc: [\n", []string{`1: {"a":1}`, "2: cannot be read: not valid YAML: line 3: did not find expected node content"}},
		"JSON, then JSON that is cut":               {"{\"a\":1}\n{\"b\":\n---\nc: 3\n", []string{`1: {"a":1}`, "2: cannot be read: not valid JSON: unexpected EOF", `4: {"c":3}`}},
		"JSON values, the last one a flow mapping":  {"{\"a\":1}\n{b: 2}\n", []string{`1: {"a":1}`, `2: {"b":2}`}},
		"dashes in scalars that are indented":       {"a: |\n  ---# x\n  -----BEGIN\n", []string{`1: {"a":"---# x\n-----BEGIN\n"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, describe(yamlstream.SplitManifests([]byte(test.stream)))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// bomb is a document of a few hundred bytes that would expand to 10^10 items.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := 1; i <= 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

// What the library reads from a whole stream is what it reads from the parts,
// and nothing that stands in the stream is in no part.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n... # end\nb: 2\n", "{a: 1}\n---\nb: 2\n", "%YAML 1.1\n--- |\n x\n--- >-\n...\n", "a: \"x\u2028\u0085\"\r---\r\n# c\n--- # d\nb: [1, {c: *x}]\n",
		"\ufeff--- &a\n? b\n: - c\n", "{\"a\":1}{\"b\":2}", "- 'a\n\n b'\n-\tc\n---\n!!str\n", "a: 1\n---\nb: [\n---\nc: 3\n", "{\"a\":1}\n# c\n[] {b: 1}\n---#x\n---y\n...\nz: 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parts := yamlstream.Split(data)
		for _, part := range slices.Concat(parts, yamlstream.SplitManifests(data)) {
			if part.Line < 1 || len(part.Text) == 0 {
				t.Fatalf("a part on line %d of %d bytes", part.Line, len(part.Text))
			}
		}
		if json.Valid(data) || bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
			return
		}
		if whole, ok := decode(data); ok {
			var together []string
			for _, part := range parts {
				if part.Err != nil {
					t.Fatalf("the part on line %d: %v, but the stream can be read", part.Line, part.Err)
				}
				found, ok := decode(part.Text)
				if !ok || len(found) != 1 {
					t.Fatalf("the part on line %d is %d documents: %q", part.Line, len(found), part.Text)
				}
				together = append(together, found...)
			}
			if diff := cmp.Diff(whole, together); diff != "" {
				t.Fatalf("-stream +parts:\n%s", diff)
			}
		}
	})
}

// decode returns the content of the documents that are not empty.
func decode(data []byte) (found []string, ok bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil {
			return found, err.Error() == "EOF"
		}
		if text := outline(&node); text != "[ !!null  []]" {
			found = append(found, text)
		}
	}
}

func outline(n *yaml.Node) string {
	var b strings.Builder
	if n.Kind != yaml.DocumentNode {
		fmt.Fprintf(&b, "%s %s %s ", n.Anchor, n.ShortTag(), n.Value)
	}
	b.WriteByte('[')
	for _, c := range n.Content {
		b.WriteString(outline(c))
	}
	b.WriteByte(']')
	return b.String()
}
