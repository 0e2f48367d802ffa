package cli

import (
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
)

// shape compares decoded JSON with the Go type of an API object. A decoder
// stops at the first value of a wrong type, and does not say which element of
// a list it is in.
type shape struct {
	// wrong are values that do not fit the type.
	wrong []finding
	// unknown are fields that the type does not have: a typo, or newer than
	// this build.
	unknown []finding
}

func (s *shape) check(value any, t reflect.Type, at *field.Path) {
	if value == nil {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		s.checkUnmarshaler(value, t, at)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		s.checkStruct(value, t, at)
	case reflect.Map:
		object, ok := value.(map[string]any)
		if !ok {
			s.reject(value, "an object", at)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			s.check(object[key], t.Elem(), at.Key(key))
		}
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			s.reject(value, "a list", at)
			return
		}
		for i := range list {
			if list[i] == nil { // an empty list item, which is left out nowhere
				s.reject(nil, "a value", at.Index(i))
			}
			s.check(list[i], t.Elem(), at.Index(i))
		}
	case reflect.String:
		switch value.(type) {
		case string:
		case json.Number, bool:
			s.reject(value, "a string (put it in quotes)", at)
		default:
			s.reject(value, "a string", at)
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			s.reject(value, "true or false", at)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if number, ok := value.(json.Number); !ok {
			s.reject(value, "an integer", at)
		} else if _, err := strconv.ParseInt(number.String(), 10, t.Bits()); err != nil {
			s.reject(value, fmt.Sprintf("an integer of %d bits", t.Bits()), at)
		}
	default:
		// No other kind is in a pod; the decoder has the last word.
	}
}

func (s *shape) checkStruct(value any, t reflect.Type, at *field.Path) {
	object, ok := value.(map[string]any)
	if !ok {
		s.reject(value, "an object", at)
		return
	}
	fields := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if fieldType, known := fields[name]; known {
			s.check(object[name], fieldType, at.Child(name))
		} else {
			s.unknown = append(s.unknown, finding{at.Child(name).String(), "unknown field"})
		}
	}
}

// unmarshalers are the types with a notation of their own.
var unmarshalers = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():  "a quantity such as 100m or 64Mi",
	reflect.TypeFor[intstr.IntOrString](): "an integer or a string",
	reflect.TypeFor[metav1.Time]():        "a time such as 2006-01-02T15:04:05Z",
	reflect.TypeFor[metav1.MicroTime]():   "a time such as 2006-01-02T15:04:05.000000Z",
	reflect.TypeFor[metav1.FieldsV1]():    "an object",
}

func (s *shape) checkUnmarshaler(value any, t reflect.Type, at *field.Path) {
	encoded, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(encoded, reflect.New(t).Interface())
	}
	if err == nil {
		return
	}
	want, known := unmarshalers[t]
	if !known {
		want = "a " + t.Name()
	}
	s.reject(value, want, at)
}

func (s *shape) reject(value any, want string, at *field.Path) {
	s.wrong = append(s.wrong, finding{at.String(), fmt.Sprintf("got %s, want %s", describeValue(value), want)})
}

// maxShown bounds, in bytes, how much of a value a message repeats.
const maxShown = 64

// describeValue names a decoded value.
func describeValue(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		if len(v) > maxShown {
			return "the string " + strconv.QuoteToASCII(v[:maxShown]) + "..."
		}
		return "the string " + strconv.QuoteToASCII(v)
	case json.Number:
		return "the number " + v.String()
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	}
	return "an object"
}
