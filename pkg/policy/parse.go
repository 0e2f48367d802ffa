package policy

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"

	"github.com/shorthop/shorthop/pkg/shape"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// MaxSize is how many bytes a policy document can have. A ConfigMap holds no
// more.
const MaxSize = 1 << 20

// maxErrors is how many errors, and how many warnings, are told one by one.
const maxErrors = 100

// Parse decodes, defaults and validates a policy document in YAML or JSON, of
// at most MaxSize bytes. The error joins everything that is wrong, one line
// each, with field paths, of more than a hundred the first; it unwraps to the
// single errors. Unknown and duplicate fields are errors; so is what the YAML
// library takes for something else than it looks (notation.go); and so is null:
// it would come to a field that is left out, and a template that renders nothing
// must not change what a policy means.
//
// A value of a wrong type hides no other error but those about itself and what
// is in it.
func Parse(data []byte) (*InjectionPolicy, error) {
	p, faults := read(data)
	if p == nil {
		return nil, faults.join()
	}
	if p.APIVersion != APIVersion || p.Kind != Kind {
		faults.typeErrors(&p.TypeMeta)
		return nil, faults.join()
	}
	SetDefaults(p)
	for _, e := range Validate(p) {
		if !faults.covers(e.Field) {
			faults.errs = append(faults.errs, e)
		}
	}
	if len(faults.errs) > 0 {
		return nil, faults.join()
	}
	return p, nil
}

// form is what a file is to hold.
type form struct {
	// kind of the document, and what people call it: "a", "policy".
	kind, a, what  string
	document, spec reflect.Type
	// noSpec is what is said where there is none.
	noSpec string
	// limit of a document's size in bytes.
	limit int
	// large: JSON that programs write and that is not decoded twice. Of fields that
	// are there twice the decoder tells.
	large bool
}

func policyForm() *form {
	return &form{
		kind: Kind, a: "a", what: "policy", document: reflect.TypeFor[InjectionPolicy](), spec: reflect.TypeFor[Spec](),
		noSpec: "must be an object; {} is a policy that injects nothing", limit: MaxSize,
	}
}

// faults collects what is wrong with a document before its values are validated.
type faults struct {
	*form
	errs  []error
	paths map[string]bool // of values that cannot be validated
	holed map[string]bool // of what has such a value directly in it
}

// add adds an error about the value at a path, or about a whole document.
func (f *faults) add(path string, err error) {
	f.errs = append(f.errs, err)
	if path != "" {
		f.paths[path] = true
		f.holed[parent(path)] = true
	}
}

func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// covers reports whether a path is one of those found, within one, or of what has
// one directly in it.
func (f *faults) covers(path string) bool {
	if f.holed[path] {
		return true
	}
	for ; path != ""; path = parent(path) {
		if f.paths[path] {
			return true
		}
	}
	return false
}

// join returns all errors, of many the first.
func (f *faults) join() error {
	errs := f.errs
	if more := len(errs) - maxErrors; more > 0 {
		errs = append(slices.Clip(errs[:maxErrors]), fmt.Errorf("and %d more errors", more))
	}
	return errors.Join(errs...)
}

// read decodes the document as it was written, before defaults. The policy is
// nil where nothing of it can be read.
func read(data []byte) (*InjectionPolicy, *faults) {
	return readAs[InjectionPolicy](data, policyForm())
}

// readAs is read for a document of another kind as well.
func readAs[T any](data []byte, form *form) (*T, *faults) {
	f := &faults{form: form, paths: map[string]bool{}, holed: map[string]bool{}}
	document, err := form.singleDocument(data)
	if err != nil {
		f.add("", err)
		return nil, f
	}
	if readable := f.checkNotation(document); !readable {
		return nil, f
	}
	asJSON, err := document.ToJSONLastCounts()
	if err != nil {
		if len(f.errs) == 0 {
			f.add("", explainSyntax(document, err))
		}
		return nil, f
	}
	if document.JSON && !form.large { // of YAML the notation tells
		var value any
		twice, _ := json.UnmarshalStrict(asJSON, &value) // nil where it cannot be read, which decodeAs tells
		for _, err := range form.explainStrictErrors(twice) {
			path, _, _ := strings.Cut(err.Error(), ": ")
			f.add(path, err)
		}
	}
	p := decodeAs[T](f, asJSON)
	if p != nil {
		f.findMissing(asJSON)
	}
	return p, f
}

// explainSyntax says why a document cannot be read.
func explainSyntax(d yamlstream.Document, err error) error {
	if template := d.Template(); template != "" {
		return errors.New(template)
	}
	return err
}

// singleDocument returns the only document in data.
func (o *form) singleDocument(data []byte) (d yamlstream.Document, err error) {
	if len(data) > o.limit {
		return d, fmt.Errorf("too large: %s %s file has at most %d bytes", o.a, o.what, o.limit)
	}
	documents := yamlstream.Split(data)
	var errs []error
	for _, document := range documents {
		if document.Err != nil {
			errs = append(errs, explainSyntax(document, document.Err))
		}
	}
	switch {
	case len(errs) > 0:
		return d, (&faults{errs: errs}).join()
	case len(documents) == 0:
		return d, fmt.Errorf("empty: %s %s file holds one %s of %s", o.a, o.what, o.kind, APIVersion)
	case len(documents) > 1:
		return d, fmt.Errorf("more than one document (on lines %d and %d): %s %s file holds exactly one %s",
			documents[0].Line, documents[1].Line, o.a, o.what, o.kind)
	}
	return documents[0], nil
}

// decodeAs reads JSON. Of values of a wrong type it reads the rest. It returns nil
// where the document is no object.
func decodeAs[T any](f *faults, asJSON []byte) *T {
	var p T
	unknown, err := json.UnmarshalStrict(asJSON, &p)
	if err == nil && string(bytes.TrimSpace(asJSON)) != "null" {
		f.unknown(unknown)
		return &p
	}
	decoder := stdjson.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		f.add("", fmt.Errorf("not valid JSON: %w", err))
		return nil
	}
	if _, isObject := value.(map[string]any); !isObject {
		f.add("", fmt.Errorf("not %s %s: got %s, want an object with apiVersion, kind, metadata and spec", f.a, f.what, shape.Describe(value)))
		return nil
	}
	checker := shape.Checker{Prune: true, Notations: notations}
	checker.Check(value, f.document, nil)
	for _, wrong := range checker.Wrong {
		if path := wrong.Path.String(); wrong.Value != nil && !f.covers(path) {
			f.add(path, fmt.Errorf("%s: %s", path, wrong))
		}
	}
	rest, err := stdjson.Marshal(value)
	if err == nil {
		p = *new(T)
		unknown, err = json.UnmarshalStrict(rest, &p)
	}
	f.unknown(unknown)
	if err != nil { // of a type that the checker does not know
		f.add("", fmt.Errorf("not %s %s: %w", f.a, f.what, err))
		return nil
	}
	return &p
}

// unknown adds errors about unknown fields. Duplicates have been told before, but
// for those of a large document.
func (f *faults) unknown(strict []error) {
	f.errs = append(f.errs, f.explainStrictErrors(slices.DeleteFunc(strict, func(err error) bool {
		return !f.large && strings.HasPrefix(err.Error(), duplicateField)
	}))...)
}

// duplicateField begins the decoder's errors about those.
const duplicateField = "duplicate field"

// notations are of types that are read otherwise than their kind.
var notations = map[reflect.Type]string{
	reflect.TypeFor[Mode]():               "a string",
	reflect.TypeFor[intstr.IntOrString](): "an integer or a percentage",
}

// typeErrors are about a document of another kind. The rest of it would only add
// noise, and is taken out of what has been found.
func (f *faults) typeErrors(is *metav1.TypeMeta) {
	f.errs = slices.DeleteFunc(f.errs, func(err error) bool {
		path, _, _ := strings.Cut(err.Error(), ": ")
		return path != "apiVersion" && path != "kind"
	})
	at := func(name, is, want string) {
		if path := field.NewPath(name); is != want && !f.paths[name] {
			f.errs = append(f.errs, field.NotSupported(path, is, []string{want}))
		}
	}
	at("apiVersion", is.APIVersion, APIVersion)
	at("kind", is.Kind, f.kind)
}

// explainStrictErrors turns `unknown field "spec.x"` into a line that begins
// with the path, as all others do, and lists the fields that are known there.
func (o *form) explainStrictErrors(strict []error) []error {
	errs := make([]error, 0, len(strict))
	for _, err := range strict {
		what, path, found := strings.Cut(err.Error(), ` "`)
		path, quoted := strings.CutSuffix(path, `"`)
		if !found || !quoted {
			errs = append(errs, err)
			continue
		}
		if known := knownFields(o.document, path); len(known) > 0 && what == "unknown field" {
			errs = append(errs, fmt.Errorf("%s: %s, known here: %s", path, what, strings.Join(known, ", ")))
			continue
		}
		if what == duplicateField {
			what = "there twice"
		}
		errs = append(errs, fmt.Errorf("%s: %s", path, what))
	}
	return errs
}

// knownFields lists the JSON names beside the last element of path.
func knownFields(t reflect.Type, path string) []string {
	elements := strings.Split(path, ".")
	for _, element := range elements[:len(elements)-1] {
		name, _, _ := strings.Cut(element, "[")
		fieldType, ok := shape.Fields(t)[name]
		if !ok {
			return nil
		}
		t = fieldType
	}
	known := make([]string, 0)
	for name := range shape.Fields(t) {
		known = append(known, name)
	}
	slices.Sort(known)
	return known
}
