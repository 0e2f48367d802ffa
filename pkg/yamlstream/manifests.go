package yamlstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// SplitManifests is Split for what kubectl reads, which is more than YAML is. It
// takes these lines for markers that YAML takes for text, by which two documents
// would become one (YAMLReader in k8s.io/apimachinery/pkg/util/yaml):
//
//	line       kubectl       SplitManifests
//	---# text  a marker      a marker
//	---text    an error      a document that cannot be read, up to the next marker
//
// JSON values need no marker between them, nor before what follows the last one.
func SplitManifests(data []byte) []Document {
	text, err := toUTF8(data)
	if err != nil {
		return []Document{{Text: data, Line: 1, Err: err}}
	}
	if documents, ok := splitJSON(text); ok && documents[len(documents)-1].Err == nil {
		return documents
	}
	return splitManifests(text, 1)
}

// splitManifests splits text that begins on the line first of the stream.
func splitManifests(text []byte, first int) (documents []Document) {
	text, wrong := separate(text)
	starts := lineStarts(text)
	from := 0
	for _, line := range append(wrong, len(starts)-1) {
		if line < from { // in a document that cannot be read
			continue
		}
		s := splitter{text: text, starts: starts[:line+1], first: first}
		for from < line {
			from = s.readFrom(from)
		}
		for _, d := range s.documents {
			documents = append(documents, d.jsonFirst()...)
		}
		if line == len(starts)-1 {
			break
		}
		all := splitter{text: text, starts: starts}
		end, next := all.end(line)
		from = next
		documents = append(documents, Document{
			Text: all.slice(line, end), Line: line + first,
			Err: fmt.Errorf("not valid YAML: line %d: %w", line+first, errNoBlank),
		})
	}
	return documents
}

var errNoBlank = errors.New(`"---" begins a document only where a blank, a comment or the end of the line follows it`)

// separate writes kubectl's markers as YAML has them. Lines keep their numbers.
// wrong are the lines, from 0, that kubectl refuses.
func separate(text []byte) (separated []byte, wrong []int) {
	if !bytes.Contains(text, []byte("---")) {
		return text, nil
	}
	starts := lineStarts(text)
	for i := range len(starts) - 1 {
		line := text[starts[i]:starts[i+1]]
		behind, found := bytes.CutPrefix(bytes.TrimPrefix(line, []byte(byteOrderMark)), []byte("---"))
		if found && markerOf(line) == "" {
			behind = bytes.TrimSpace(behind)
			switch {
			case len(behind) == 0: // white space that is none in YAML
				line = []byte("---\n")
			case behind[0] == '#':
				line = fmt.Appendf(nil, "--- %s\n", behind)
			default:
				wrong = append(wrong, i)
			}
		}
		separated = append(separated, line...)
	}
	return separated, wrong
}

// jsonFirst takes a document apart that YAML cannot read and that begins with
// JSON values. What follows them is split like a stream.
func (d Document) jsonFirst() (documents []Document) {
	if d.Err == nil {
		return []Document{d}
	}
	for rest, line := d.Text, d.Line; ; {
		behind := skipComments(rest)
		line += bytes.Count(rest[:len(rest)-len(behind)], []byte("\n"))
		rest = behind
		if len(rest) == 0 {
			return documents
		}
		var value json.RawMessage
		var err error
		isJSON := rest[0] == '{' || rest[0] == '['
		if isJSON {
			decoder := json.NewDecoder(bytes.NewReader(rest))
			if err = decoder.Decode(&value); err == nil {
				documents = append(documents, Document{Text: value, Line: line, JSON: true})
				line += bytes.Count(value, []byte("\n"))
				rest = rest[decoder.InputOffset():]
				continue
			}
		}
		if len(documents) == 0 {
			return []Document{d}
		}
		others := splitManifests(rest, line)
		if isJSON && len(others) > 0 && others[0].Err != nil && others[0].Line == line {
			others[0].Err = fmt.Errorf("not valid JSON: %w", err)
		}
		return append(documents, others...)
	}
}

// skipComments returns what follows white space, comments and a marker.
func skipComments(text []byte) []byte {
	if markerOf(text) == "---" {
		text = bytes.TrimPrefix(text, []byte(byteOrderMark))[len("---"):]
	}
	for {
		text = bytes.TrimLeft(text, " \t\r\n"+byteOrderMark)
		if len(text) == 0 || text[0] != '#' {
			return text
		}
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
}
