package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/shorthop/shorthop/pkg/shape"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// Finding is something to say about a field of a document. Field is empty
// where it is about the whole document.
type Finding struct {
	Field   string `json:"field,omitzero"`
	Message string `json:"message"`
}

func (f Finding) String() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// Place says where in the input something was found.
type Place struct {
	// File is the name that messages give to the file.
	File string `json:"file"`
	// Document is the document's number within the file, from 1; 0 where the file
	// has only one.
	Document int `json:"document,omitzero"`
	// Line is the line of the file on which the document begins, from 1; 0 where
	// the file has only one document.
	Line int `json:"line,omitzero"`
}

func (p Place) String() string {
	if p.Document == 0 {
		return p.File
	}
	return fmt.Sprintf("%s: document %d (line %d)", p.File, p.Document, p.Line)
}

// Problem is what is wrong with a document.
type Problem struct {
	Place
	Finding
}

func (p Problem) String() string { return p.Place.String() + ": " + p.Finding.String() }

// Document is one Kubernetes object of a file.
type Document struct {
	Place
	// At is the object's path within its document: nil, or an item of a list.
	At *field.Path
	// APIVersion and Kind are the object's, or what its list says of its items.
	APIVersion, Kind string
	// Object is the decoded JSON, with json.Number for numbers.
	Object map[string]any
	// Text is the document as it stands in the file.
	Text []byte
	// Twice names a key that occurs twice in the document, of which the last one
	// counts; empty where there is none. kubectl says nothing about it.
	Twice string
}

func (d *Document) problem(at *field.Path, format string, args ...any) Problem {
	path := ""
	if at != nil {
		path = at.String()
	}
	return Problem{d.Place, Finding{path, fmt.Sprintf(format, args...)}}
}

func (d *Document) problems(findings []Finding) []Problem {
	problems := make([]Problem, len(findings))
	for i, f := range findings {
		problems[i] = Problem{d.Place, f}
	}
	return problems
}

// Check compares the object with the Go type of its kind. wrong are values that
// do not fit the type, unknown are fields that the type does not have.
func (d *Document) Check(t reflect.Type) (wrong, unknown []Finding) {
	var s shape.Checker
	s.Check(d.Object, t, d.At)
	return findings(&s)
}

func findings(s *shape.Checker) (wrong, unknown []Finding) {
	for _, w := range s.Wrong {
		wrong = append(wrong, Finding{w.Path.String(), w.String()})
	}
	for _, at := range s.Unknown {
		unknown = append(unknown, Finding{at.String(), "unknown field"})
	}
	return wrong, unknown
}

func (d *Document) groupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(d.APIVersion, d.Kind).GroupKind()
}

// Documents takes a file apart into its objects: YAML documents and JSON values,
// and the items of those that are lists. file is what messages call it.
func Documents(file string, data []byte) (documents []Document, problems []Problem) {
	if what := notText(data); what != "" {
		return nil, []Problem{{Place{File: file}, Finding{Message: what}}}
	}
	parts := yamlstream.SplitManifests(data)
	templated := 0
	for i, part := range parts {
		d := Document{Place: Place{File: file}, Text: part.Text}
		if len(parts) > 1 {
			d.Document, d.Line = i+1, part.Line
		}
		asJSON, err := part.ToJSON()
		if err != nil {
			if lenient, lenientErr := part.ToJSONLastCounts(); lenientErr == nil {
				d.Twice = part.Twice()
				asJSON, err = lenient, nil
			}
		}
		if err != nil {
			message, isTemplate := explainSyntax(file, part, err)
			if isTemplate {
				templated++
			}
			if !isTemplate || templated == 1 { // one message is enough for a template, which fails in many documents
				problems = append(problems, d.problem(nil, "%s", message))
			}
			continue
		}
		decoder := json.NewDecoder(bytes.NewReader(asJSON))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			problems = append(problems, d.problem(nil, "not valid JSON: %v", err))
			continue
		}
		if value == nil { // kubectl passes over it too
			continue
		}
		if what := writtenIn(file); what != "" && !isStructured(value) {
			problems = append(problems, d.problem(nil, "looks like %s: %s", what, yamlstream.RenderFirst))
			continue
		}
		found, bad := d.expand(value)
		documents, problems = append(documents, found...), append(problems, bad...)
	}
	return documents, problems
}

// expand turns a decoded value into an object, or a list into its items. The
// lists:
//
//	kind List                     always; where items is null, it has none
//	a kind that ends in List      if items is a list or null. Else it is an object: an API may have a
//	                              kind whose own name ends so
//	any other kind                if items is a list with an object in it, as for kubectl
//	no object, but a list         always; its elements are the items
//
// Items may be lists.
func (d *Document) expand(value any) (documents []Document, problems []Problem) {
	if values, isList := value.([]any); isList && d.APIVersion == "" {
		return d.items(values, d.At, "", "")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, []Problem{d.problem(d.At, "got %s, want an object with apiVersion and kind", shape.Describe(value))}
	}
	d.Object = object
	if problems := d.readType(); len(problems) > 0 {
		return nil, problems
	}
	itemKind, isList := strings.CutSuffix(d.Kind, "List")
	items, named := object["items"]
	switch values, areItems := items.([]any); {
	case !isList && !slices.ContainsFunc(values, isObject):
		return []Document{*d}, nil
	case areItems && itemKind == "": // kind List
		return d.items(values, d.At.Child("items"), "", "")
	case areItems:
		return d.items(values, d.At.Child("items"), d.APIVersion, itemKind)
	case named && items == nil:
		return nil, nil
	case itemKind == "":
		return nil, []Problem{d.problem(d.At.Child("items"), "got %s, want a list of objects", shape.Describe(items))}
	}
	return []Document{*d}, nil
}

func isObject(value any) bool {
	_, ok := value.(map[string]any)
	return ok
}

// items expands the items of a list. apiVersion and kind come from the list's own
// kind: the items of a PodList need not have either.
func (d *Document) items(values []any, at *field.Path, apiVersion, kind string) (documents []Document, problems []Problem) {
	for i, value := range values {
		item := Document{Place: d.Place, At: at.Index(i), APIVersion: apiVersion, Kind: kind, Text: d.Text, Twice: d.Twice}
		found, bad := item.expand(value)
		documents, problems = append(documents, found...), append(problems, bad...)
	}
	return documents, problems
}

// readType reads apiVersion and kind.
func (d *Document) readType() (problems []Problem) {
	for _, f := range []struct {
		name  string
		value *string
		check func(string) []string
	}{{"apiVersion", &d.APIVersion, checkAPIVersion}, {"kind", &d.Kind, checkKind}} {
		at := d.At.Child(f.name)
		switch text, isString := d.Object[f.name].(string); {
		case isString && text != "":
			if messages := f.check(text); len(messages) > 0 {
				problems = append(problems, d.problem(at, "got %s, want %s%s", shape.Describe(text), strings.Join(messages, "; "), yamlstream.TemplateHint(text)))
			}
			*f.value = text
		case d.Object[f.name] != nil && !isString:
			problems = append(problems, d.problem(at, "got %s, want a string", shape.Describe(d.Object[f.name])))
		case *f.value == "":
			problems = append(problems, d.problem(at, "is missing"))
		}
	}
	if len(problems) > 0 && d.isEncrypted() {
		return []Problem{d.problem(d.At, "%s", encryptedWithSOPS)}
	}
	return problems
}

// checkKind wants what the API server accepts as the kind of a resource.
func checkKind(kind string) []string {
	if len(validation.IsDNS1035Label(strings.ToLower(kind))) > 0 {
		return []string{"a kind such as Deployment"}
	}
	return nil
}

func checkAPIVersion(apiVersion string) []string {
	version, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || len(validation.IsDNS1035Label(version.Version)) > 0 || version.Group != "" && len(validation.IsDNS1123Subdomain(version.Group)) > 0 {
		return []string{"a version such as v1, or a group and a version such as apps/v1"}
	}
	return nil
}

// child walks down objects. It is nil where there is none.
func child(object map[string]any, path ...string) map[string]any {
	for _, name := range path {
		object, _ = object[name].(map[string]any)
	}
	return object
}
