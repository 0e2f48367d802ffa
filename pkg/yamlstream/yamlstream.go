// Package yamlstream splits a file into its documents, and says of each whether it
// can be read, so that a broken document neither hides another one nor passes for an
// empty one.
//
// The documents end where the YAML library says that they do. The library cannot go
// on behind a broken document; reading then begins again at the next line that begins
// with a marker ("---" or "...").
package yamlstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// Document is one document of a stream.
type Document struct {
	// Text is the document as it stands in the stream, in UTF-8. A marker
	// ("---") that is alone on its line is left out, comments are not.
	Text []byte
	// Line is the line of the stream on which Text begins, from 1.
	Line int
	// Err is why the document cannot be read; nil where its syntax is right. Line
	// numbers in it are those of the stream.
	Err error
	// JSON is true where Text is a JSON value.
	JSON bool
}

// Split returns the documents of a stream in UTF-8 or UTF-16 (with a byte order
// mark): of YAML, or JSON values one after the other, as jq and kubectl print
// them. Documents with nothing but comments are left out; one that says null is
// not.
func Split(data []byte) []Document {
	text, err := toUTF8(data)
	if err != nil {
		return []Document{{Text: data, Line: 1, Err: err}}
	}
	if documents, ok := splitJSON(text); ok {
		return documents
	}
	s := splitter{text: text, starts: lineStarts(text), first: 1}
	for from := 0; from < s.lines(); {
		from = s.readFrom(from)
	}
	return s.documents
}

// ToJSON converts a document to JSON. A key that occurs twice in an object is an
// error, and so are aliases that expand to far more than what is written. Line numbers
// in errors are those of the stream.
func (d Document) ToJSON() ([]byte, error) { return d.toJSON(kyaml.YAMLToJSONStrict) }

// ToJSONLastCounts is like ToJSON, but accepts a key that occurs twice: the last one
// counts.
func (d Document) ToJSONLastCounts() ([]byte, error) {
	if d.Err == nil && d.JSON {
		return d.Text, nil // decoders do the same
	}
	return d.toJSON(kyaml.YAMLToJSON)
}

func (d Document) toJSON(convert func([]byte) ([]byte, error)) ([]byte, error) {
	if d.Err != nil {
		return nil, d.Err
	}
	if d.JSON {
		var value any
		twice, err := kjson.UnmarshalStrict(d.Text, &value)
		if err = errors.Join(append([]error{err}, twice...)...); err != nil {
			return nil, fmt.Errorf("not valid JSON: %s", strings.ReplaceAll(err.Error(), "\n", ", "))
		}
		return d.Text, nil
	}
	converted, err := convert(d.Text)
	if err != nil {
		return nil, explain(err, d.Line)
	}
	return converted, nil
}

// splitJSON splits a stream of JSON values. The YAML library could not: YAML has other
// escapes, and needs a marker between documents. ok is false for a stream that is left
// to the YAML library:
//
//   - The first value is no JSON object or list. YAML's {a: b} looks like one, but is none.
//   - A value is followed by something that is no JSON value. If that begins like an
//     object, though, it is a JSON document that is broken.
func splitJSON(text []byte) (documents []Document, ok bool) {
	if rest := bytes.TrimLeft(text, " \t\r\n"); len(rest) == 0 || rest[0] != '{' && rest[0] != '[' {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	line, counted := 1, 0
	for {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return documents, true
		}
		at := int(decoder.InputOffset()) - len(value)
		if err != nil {
			at = int(decoder.InputOffset())
			at += len(text[at:]) - len(bytes.TrimLeft(text[at:], " \t\r\n"))
			if len(documents) == 0 || text[at] != '{' {
				return nil, false
			}
		}
		line += bytes.Count(text[counted:at], []byte("\n"))
		counted = at
		if err != nil {
			return append(documents, Document{Text: text[at:], Line: line, Err: fmt.Errorf("not valid JSON: %w", err)}), true
		}
		documents = append(documents, Document{Text: value, Line: line, JSON: true})
	}
}

// splitter collects the documents of a YAML stream. Lines are counted from 0.
type splitter struct {
	text      []byte
	starts    []int // offsets of lines, and the end of the text
	first     int   // what documents and errors call line 0
	documents []Document
}

func (s *splitter) lines() int                { return len(s.starts) - 1 }
func (s *splitter) slice(from, to int) []byte { return s.text[s.starts[from]:s.starts[to]] }

// readFrom adds the documents from a line on, up to the end or to a broken document,
// which it adds as well. It returns the line to go on with.
func (s *splitter) readFrom(from int) int {
	decoder := yaml.NewDecoder(bytes.NewReader(s.slice(from, s.lines())))
	start, pending := from, false
	for first := true; ; first = false {
		var node yaml.Node
		err := decoder.Decode(&node)
		if err != nil && !errors.Is(err, io.EOF) {
			return s.readAlone(start)
		}
		next := s.lines()
		if err == nil {
			next = from + node.Line - 1
		}
		if pending {
			s.add(start, next, nil)
		}
		if err != nil {
			return s.lines()
		}
		pending = !isEmpty(&node)
		if !first { // comments before the first document are its own
			start = next
		}
	}
}

// readAlone adds what stands between a line and the next marker as one document,
// broken or not, after the library could not read on from that line. It returns the
// line to go on with.
func (s *splitter) readAlone(from int) int {
	end, next := s.end(from)
	decoder := yaml.NewDecoder(bytes.NewReader(s.slice(from, end)))
	found := false
	for {
		var node yaml.Node
		switch err := decoder.Decode(&node); {
		case err == nil:
			found = found || !isEmpty(&node)
			continue
		case !errors.Is(err, io.EOF):
			s.add(from, end, explain(err, from+s.first))
		case found:
			s.add(from, end, nil)
		}
		return next
	}
}

// end returns the line of the next marker after a line, and the line to go on with.
func (s *splitter) end(from int) (end, next int) {
	for line := from + 1; line < s.lines(); line++ {
		switch markerOf(s.slice(line, line+1)) {
		case "---":
			return line, line
		case "...": // a document may follow without another marker
			return line, line + 1
		}
	}
	return s.lines(), s.lines()
}

// add adds the lines from from up to, and without, to as a document. It leaves out a
// marker that is alone on the first line, except before a directive.
func (s *splitter) add(from, to int, err error) {
	first := s.slice(from, from+1)
	if to > from+1 && markerOf(first) == "---" && len(bytes.TrimSpace(first)) == len("---") && s.text[s.starts[from+1]] != '%' {
		from++
	}
	s.documents = append(s.documents, Document{Text: s.slice(from, to), Line: from + s.first, Err: err})
}

// isEmpty reports whether a document has no content: not even a written null.
func isEmpty(document *yaml.Node) bool {
	content := document.Content[0]
	return content.Kind == yaml.ScalarNode && content.ShortTag() == "!!null" && content.Value == "" && content.Anchor == ""
}

// markerOf returns the marker that a line begins with, if any.
func markerOf(line []byte) string {
	line = bytes.TrimPrefix(line, []byte(byteOrderMark))
	for _, marker := range []string{"---", "..."} {
		if rest, found := bytes.CutPrefix(line, []byte(marker)); found && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			return marker
		}
	}
	return ""
}

// lineStarts returns the offsets of lines, and the end, as the YAML library
// counts lines: by the breaks of YAML 1.1.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch r {
		case '\r':
			if i < len(text) && text[i] == '\n' {
				i++
			}
		case '\n', '\u0085', '\u2028', '\u2029':
		default:
			continue
		}
		starts = append(starts, i)
	}
	if last := starts[len(starts)-1]; last < len(text) {
		starts = append(starts, len(text))
	}
	return starts
}

const byteOrderMark = "\ufeff"

// toUTF8 decodes UTF-16, which PowerShell writes, and leaves out the byte order
// mark.
func toUTF8(data []byte) ([]byte, error) {
	littleEndian := bytes.HasPrefix(data, []byte{0xff, 0xfe})
	if !littleEndian && !bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return bytes.TrimPrefix(data, []byte(byteOrderMark)), nil
	}
	data = data[2:]
	if len(data)%2 != 0 {
		return nil, errors.New("not valid UTF-16: it ends in the middle of a character")
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		high, low := data[2*i], data[2*i+1]
		if littleEndian {
			high, low = low, high
		}
		units[i] = uint16(high)<<8 | uint16(low)
	}
	return []byte(string(utf16.Decode(units))), nil
}

var lineNumber = regexp.MustCompile(`line ([0-9]+)`)

// explain puts the YAML library's error on one line, and changes the line numbers in
// it to those of the stream. The text that the library was given begins on line first
// of the stream.
func explain(err error, first int) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, noise := range []string{"error converting YAML to JSON: ", "yaml: unmarshal errors: ", "yaml: "} {
		text = strings.TrimPrefix(text, noise)
	}
	if text == "found incompatible YAML document" {
		text = "a directive %YAML names another version than 1.1; leave it out"
	}
	return fmt.Errorf("not valid YAML: %s", lineNumber.ReplaceAllStringFunc(text, func(match string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(match, "line ")) // digits
		return "line " + strconv.Itoa(n+first-1)
	}))
}
