package htmlreport

import (
	"reflect"
	"time"

	"github.com/shorthop/shorthop/pkg/printable"
)

// shown is a copy of a part of the report in which every string is one line of
// printable ASCII: nothing that HTML does not allow, and no directions or
// letters that make a name look like another one. It goes by the types, so that
// a field that is still to come is covered too.
func shown[T any](part T) T {
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	v.Set(reflect.ValueOf(&part).Elem())
	show(v)
	return v.Interface().(T) //nolint:forcetypeassert // v is of type T
}

// show replaces what a value has, and copies what it points at.
func show(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(printable.Line(printable.Cut(v.String(), printable.MaxLine)))
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		pointed := reflect.New(v.Type().Elem())
		pointed.Elem().Set(v.Elem())
		show(pointed.Elem())
		v.Set(pointed)
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		for i := range list.Len() {
			show(list.Index(i))
		}
		v.Set(list)
	case reflect.Array:
		for i := range v.Len() {
			show(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() { // the page cannot reach the others
				show(v.Field(i))
			}
		}
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
	default:
		panic("a report has a field of type " + v.Type().String() + ", which may have strings")
	}
}
