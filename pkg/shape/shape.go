// Package shape compares decoded JSON with the Go type that it is meant for. A
// decoder stops at the first value of a wrong type, and does not say which
// element of a list it is in: here all are found, with their paths.
package shape

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// Checker compares values with types. It collects what several calls of Check find.
type Checker struct {
	// Prune makes Check remove what does not fit from the value, so that the rest can
	// be decoded: a field is deleted, and an item of a list becomes null, so that the
	// items behind it keep their index.
	Prune bool
	// Notations says, for types that decode themselves, what a value should be, for
	// example "a duration such as 30s". The types of the API are known without it.
	Notations map[reflect.Type]string

	// Wrong are values that do not fit the type.
	Wrong []Wrong
	// Unknown are fields that the type does not have: a typo, or newer than this
	// build.
	Unknown []*field.Path

	fields map[reflect.Type]map[string]reflect.Type
}

// Wrong is a value that does not fit.
type Wrong struct {
	Path  *field.Path
	Value any
	// Want is what would fit.
	Want string
}

// String says what was found and what is wanted, without the path.
func (w Wrong) String() string {
	hint := ""
	if text, isString := w.Value.(string); isString {
		hint = yamlstream.TemplateHint(text)
	}
	return fmt.Sprintf("got %s, want %s", Describe(w.Value), w.Want) + hint
}

// Check compares a value, as encoding/json decodes it with UseNumber, with a type. It
// reports whether the value itself fits, even if something inside it does not.
func (s *Checker) Check(value any, t reflect.Type, at *field.Path) bool {
	if value == nil {
		return true
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return s.checkUnmarshaler(value, t, at)
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.checkStruct(value, t, at)
	case reflect.Map:
		object, ok := value.(map[string]any)
		if !ok {
			return s.reject(value, "an object", at)
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			if !s.Check(object[key], t.Elem(), at.Key(key)) && s.Prune {
				delete(object, key)
			}
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return s.checkBytes(value, at)
		}
		list, ok := value.([]any)
		if !ok {
			return s.reject(value, "a list", at)
		}
		for i := range list {
			if list[i] == nil { // a field that is null counts as left out, an item cannot be left out
				s.reject(nil, "a value", at.Index(i))
			}
			if !s.Check(list[i], t.Elem(), at.Index(i)) && s.Prune {
				list[i] = nil // null decodes to the zero value of any type
			}
		}
	case reflect.String:
		switch value.(type) {
		case string:
		case json.Number, bool:
			return s.reject(value, "a string (put it in quotes)", at)
		default:
			return s.reject(value, "a string", at)
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			return s.reject(value, "true or false", at)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if number, ok := value.(json.Number); !ok {
			return s.reject(value, "an integer", at)
		} else if _, err := strconv.ParseInt(number.String(), 10, t.Bits()); err != nil {
			return s.reject(value, fmt.Sprintf("an integer of %d bits", t.Bits()), at)
		}
	default:
		// Pods and policies have no values of other kinds; the decoder would find what is wrong.
	}
	return true
}

// checkBytes checks what JSON has as text in base64: the caBundle of a webhook.
func (s *Checker) checkBytes(value any, at *field.Path) bool {
	text, isString := value.(string)
	if !isString {
		return s.reject(value, "a string in base64", at)
	}
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		return s.reject(value, "a string in base64", at)
	}
	return true
}

func (s *Checker) checkStruct(value any, t reflect.Type, at *field.Path) bool {
	object, ok := value.(map[string]any)
	if !ok {
		return s.reject(value, "an object", at)
	}
	fields := s.fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		fieldType, known := fields[name]
		if !known {
			s.Unknown = append(s.Unknown, at.Child(name))
		} else if !s.Check(object[name], fieldType, at.Child(name)) && s.Prune {
			delete(object, name)
		}
	}
	return true
}

// fieldsOf returns Fields of a type, which it works out once.
func (s *Checker) fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields, found := s.fields[t]
	if !found {
		if s.fields == nil {
			s.fields = map[reflect.Type]map[string]reflect.Type{}
		}
		fields = Fields(t)
		s.fields[t] = fields
	}
	return fields
}

// Fields maps the JSON names of a struct, inlined ones included, to their types.
// t may be a pointer to it or a list. Empty for any other type.
func Fields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// notations are those of the API's types that decode themselves: see Notations.
var notations = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():  "a quantity such as 100m or 64Mi",
	reflect.TypeFor[intstr.IntOrString](): "an integer or a string",
	reflect.TypeFor[metav1.Duration]():    "a duration such as 30s",
	reflect.TypeFor[metav1.Time]():        "a time such as 2006-01-02T15:04:05Z",
	reflect.TypeFor[metav1.MicroTime]():   "a time such as 2006-01-02T15:04:05.000000Z",
	reflect.TypeFor[metav1.FieldsV1]():    "an object",
}

// checkUnmarshaler lets a type that decodes itself decode the value.
func (s *Checker) checkUnmarshaler(value any, t reflect.Type, at *field.Path) bool {
	encoded, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(encoded, reflect.New(t).Interface())
	}
	if err == nil {
		return true
	}
	return s.reject(value, Want(t, s.Notations), at)
}

// Want says what a value of a type should be, as the end of "got ..., want ...". more
// are further notations, as in Checker.Notations.
func Want(t reflect.Type, more map[reflect.Type]string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if want, known := more[t]; known {
		return want
	}
	if want, known := notations[t]; known {
		return want
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a " + t.Name()
	}
}

func (s *Checker) reject(value any, want string, at *field.Path) bool {
	s.Wrong = append(s.Wrong, Wrong{at, value, want})
	return false
}

// maxShown bounds, in bytes, how much of a value a message repeats.
const maxShown = 64

// Describe names a decoded value, in printable ASCII and not at length.
func Describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return "the string " + printable.Quote(v, maxShown)
	case json.Number:
		return "the number " + printable.Cut(v.String(), maxShown)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	}
	return "an object"
}
