package policy

import (
	"bytes"
	stdjson "encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/shorthop/shorthop/pkg/shape"
)

// findMissing finds null in a document, and a spec that is not there. Metadata
// may have null: Kubernetes' own types write creationTimestamp so.
func (f *faults) findMissing(asJSON []byte) {
	var document map[string]stdjson.RawMessage
	if stdjson.Unmarshal(asJSON, &document) != nil {
		return // decoding has told why
	}
	at := field.NewPath("spec")
	text, named := document["spec"]
	switch {
	case !named:
		f.missing(field.Required(at, f.noSpec))
	case bytes.Contains(text, []byte("null")): // perhaps in a name: that is looked up
		var spec any
		_ = stdjson.Unmarshal(text, &spec) // part of what has been decoded
		f.walk(spec, f.spec, at)
	}
}

func (f *faults) missing(err *field.Error) { f.add(err.Field, err) }

// walk looks for null in a value that is to become a t. t is nil where nothing
// is known of that.
func (f *faults) walk(value any, t reflect.Type, at *field.Path) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := value.(type) {
	case nil:
		f.missing(field.Invalid(at, nil, f.allowed(t, at)))
	case map[string]any:
		var fields map[string]reflect.Type
		if t != nil && t.Kind() == reflect.Struct {
			fields = shape.Fields(t)
		}
		isMap := t != nil && t.Kind() == reflect.Map
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if isMap {
				f.walk(value[key], t.Elem(), at.Key(key))
				continue
			}
			f.walk(value[key], fields[key], at.Child(key))
		}
	case []any:
		var element reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			element = t.Elem()
		}
		for i, item := range value {
			f.walk(item, element, at.Index(i))
		}
	}
}

// allowed says what may stand in the place of null.
func (f *faults) allowed(t reflect.Type, at *field.Path) string {
	switch {
	case t == nil:
		return "must have a value; leave the field out if none is meant"
	case t == f.spec:
		return f.noSpec
	case t == reflect.TypeFor[Match]():
		return "must be an object; {} is for every pod"
	case strings.HasSuffix(at.String(), "]"):
		return "must be " + shape.Want(t, notations)
	}
	return "must be " + shape.Want(t, notations) + "; leave the field out if none is meant"
}
