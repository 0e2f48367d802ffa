package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// document is one Kubernetes object of a file.
type document struct {
	// source is what messages begin with: the file, and which document of it
	// where it has several.
	source string
	// number is which document of its file it is, from 1; 0 of an only one.
	number int
	// at is the object's path within its document: nil, or an item of a list.
	at *field.Path
	// apiVersion and kind are the object's, or what its list says of its items.
	apiVersion, kind string
	// object is the decoded JSON, with json.Number for numbers.
	object map[string]any
	// text is the document as it stands in the file.
	text []byte
}

// problem is what is wrong with a document.
type problem struct {
	source string
	finding
}

func (p problem) String() string { return p.source + ": " + p.finding.String() }

func (d *document) problem(at *field.Path, format string, args ...any) problem {
	path := ""
	if at != nil {
		path = at.String()
	}
	return problem{d.source, finding{path, fmt.Sprintf(format, args...)}}
}

func lines(problems []problem) []string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.String()
	}
	return texts
}

// readDocuments takes a file apart into its objects: its YAML documents, and
// the items of those that are lists.
func readDocuments(file string, data []byte) (documents []document, problems []problem) {
	parts := splitYAML(data)
	for i, part := range parts {
		d := document{source: displayName(file), text: part.text}
		if len(parts) > 1 {
			d.number = i + 1
			d.source += fmt.Sprintf(": document %d (line %d)", d.number, part.line)
		}
		asJSON, err := yaml.YAMLToJSONStrict(part.text)
		if err != nil {
			problems = append(problems, problem{d.source, finding{Message: "not valid YAML: " + yamlMessage(err, part.line)}})
			continue
		}
		decoder := json.NewDecoder(bytes.NewReader(asJSON))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			problems = append(problems, problem{d.source, finding{Message: "not valid JSON: " + err.Error()}})
			continue
		}
		found, bad := d.expand(value)
		documents, problems = append(documents, found...), append(problems, bad...)
	}
	return documents, problems
}

// expand turns a decoded value into an object, or a list into its items.
func (d *document) expand(value any) (documents []document, problems []problem) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, []problem{d.problem(d.at, "got %s, want an object with apiVersion and kind", describeValue(value))}
	}
	for _, f := range []struct {
		name  string
		value *string
	}{{"apiVersion", &d.apiVersion}, {"kind", &d.kind}} {
		switch text, isString := object[f.name].(string); {
		case isString && text != "":
			*f.value = text
		case object[f.name] != nil && !isString:
			problems = append(problems, d.problem(d.at.Child(f.name), "got %s, want a string", describeValue(object[f.name])))
		case *f.value == "":
			problems = append(problems, d.problem(d.at.Child(f.name), "is missing"))
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	d.object = object
	itemKind, isList := strings.CutSuffix(d.kind, "List")
	if !isList || d.at != nil {
		return []document{*d}, nil
	}
	items, ok := object["items"].([]any)
	if !ok {
		return nil, []problem{d.problem(field.NewPath("items"), "got %s, want a list of objects", describeValue(object["items"]))}
	}
	for i, value := range items {
		item := document{source: d.source, number: d.number, at: field.NewPath("items").Index(i), kind: itemKind, text: d.text}
		if itemKind != "" { // the items of a PodList need not say what they are
			item.apiVersion = d.apiVersion
		}
		found, bad := item.expand(value)
		documents, problems = append(documents, found...), append(problems, bad...)
	}
	return documents, problems
}

// yamlPart is one document of a YAML stream.
type yamlPart struct {
	text []byte
	line int // of its first line, from 1
}

// splitYAML splits a stream at "---" and "..." and leaves out documents that
// have nothing but comments. No part has a separator in it: the YAML decoder
// would silently drop what follows.
func splitYAML(data []byte) []yamlPart {
	var parts []yamlPart
	current := yamlPart{line: 1}
	finish := func() {
		for line := range bytes.Lines(current.text) {
			if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
				parts = append(parts, current)
				return
			}
		}
	}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		rest, separates := cutSeparator(line)
		if !separates {
			current.text = append(current.text, line...)
			continue
		}
		finish()
		current = yamlPart{text: bytes.Clone(rest), line: number}
		if len(bytes.TrimSpace(rest)) == 0 {
			current = yamlPart{line: number + 1}
		}
	}
	finish()
	return parts
}

// cutSeparator returns what follows a separator on its line.
func cutSeparator(line []byte) (rest []byte, separates bool) {
	for _, separator := range []string{"---", "..."} {
		if rest, found := bytes.CutPrefix(line, []byte(separator)); found && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			return rest, true
		}
	}
	return nil, false
}

var yamlLine = regexp.MustCompile(`line ([0-9]+)`)

// yamlMessage is the YAML decoder's message on one line, with lines of the
// file instead of lines of the document, which begins at line first.
func yamlMessage(err error, first int) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, noise := range []string{"error converting YAML to JSON: ", "yaml: unmarshal errors: ", "yaml: "} {
		text = strings.TrimPrefix(text, noise)
	}
	return yamlLine.ReplaceAllStringFunc(text, func(match string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(match, "line ")) // digits
		return "line " + strconv.Itoa(n+first-1)
	})
}
