package policy

import (
	"bufio"
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Parse decodes, defaults and validates a policy document in YAML or JSON.
// The error joins everything that is wrong, one line each, with field paths;
// it unwraps to the single errors. Unknown and duplicate fields are errors.
func Parse(data []byte) (*InjectionPolicy, error) {
	document, err := singleDocument(data)
	if err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, fmt.Errorf("not valid YAML: %w", err)
	}
	var p InjectionPolicy
	strictErrs, err := json.UnmarshalStrict(asJSON, &p)
	if err != nil {
		return nil, errors.Join(append([]error{explainDecodeError(err)}, explainStrictErrors(strictErrs)...)...)
	}
	errs := explainStrictErrors(strictErrs)
	if p.APIVersion != APIVersion || p.Kind != Kind {
		// The rest of another kind's document would only add noise.
		return nil, errors.Join(typeErrors(&p)...)
	}
	SetDefaults(&p)
	for _, e := range Validate(&p) {
		errs = append(errs, e)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &p, nil
}

// singleDocument returns the only YAML document in data. The YAML decoder
// would silently drop a second one.
func singleDocument(data []byte) ([]byte, error) {
	var found []byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not valid YAML: %w", err)
		}
		document, rest := cutEndMarker(document)
		if isBlank(document) {
			document, rest = rest, nil
		}
		if isBlank(document) {
			continue
		}
		if found != nil || !isBlank(rest) {
			return nil, fmt.Errorf("more than one document: a policy file holds exactly one %s", Kind)
		}
		found = document
	}
	if found == nil {
		return nil, fmt.Errorf("empty: a policy file holds one %s of %s", Kind, APIVersion)
	}
	return found, nil
}

// cutEndMarker splits a document after its end marker, a line of three dots.
// What follows is another document, separator or not.
func cutEndMarker(document []byte) (before, after []byte) {
	end := 0
	for line := range bytes.Lines(document) {
		end += len(line)
		if bytes.Equal(bytes.TrimRight(line, " \t\r\n"), []byte("...")) {
			return document[:end], document[end:]
		}
	}
	return document, nil
}

// isBlank reports whether a document has nothing but comments, separators and
// white space.
func isBlank(document []byte) bool {
	for line := range bytes.Lines(document) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) && !bytes.Equal(line, []byte("...")) {
			return false
		}
	}
	return true
}

func typeErrors(p *InjectionPolicy) []error {
	var errs []error
	if p.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), p.APIVersion, []string{APIVersion}))
	}
	if p.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), p.Kind, []string{Kind}))
	}
	return errs
}

// explainDecodeError says what was expected where a value has the wrong type.
func explainDecodeError(err error) error {
	var wrong *stdjson.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fmt.Errorf("%s: got %s, want %s", wrong.Field, wrong.Value, typeName(wrong.Type))
	}
	return fmt.Errorf("not a policy: %w", err)
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return t.String()
	}
}

// explainStrictErrors turns `unknown field "spec.x"` into a line that begins
// with the path, as all others do, and lists the fields that are known there.
func explainStrictErrors(strict []error) []error {
	errs := make([]error, 0, len(strict))
	for _, err := range strict {
		what, path, found := strings.Cut(err.Error(), ` "`)
		path, quoted := strings.CutSuffix(path, `"`)
		if !found || !quoted {
			errs = append(errs, err)
			continue
		}
		if known := knownFields(reflect.TypeFor[InjectionPolicy](), path); len(known) > 0 && what == "unknown field" {
			errs = append(errs, fmt.Errorf("%s: %s, known here: %s", path, what, strings.Join(known, ", ")))
			continue
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
		fieldType, ok := jsonFields(t)[name]
		if !ok {
			return nil
		}
		t = fieldType
	}
	known := make([]string, 0)
	for name := range jsonFields(t) {
		known = append(known, name)
	}
	slices.Sort(known)
	return known
}

// jsonFields maps the JSON names of a struct, inlined ones included, to their
// types without pointers and slices.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		ft := f.Type
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		fields[name] = ft
	}
	return fields
}
