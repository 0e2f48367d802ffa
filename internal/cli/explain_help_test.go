package cli_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/explain"
)

// jsonFields are the names of a type's fields in JSON, and those of the fields'
// types, as far as they are of package explain.
func jsonFields(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[explain.Explanation]().PkgPath() {
		return nil
	}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name != "" { // it is not embedded
			names = append(names, name)
		}
		names = append(names, jsonFields(field.Type)...)
	}
	return names
}

func TestHelpOfExplainListsEveryField(t *testing.T) {
	t.Parallel()
	help, _, _ := run(t, nil, "explain", "--help")
	_, fields, found := strings.Cut(help, "With -o json")
	if !found {
		t.Fatal("the help has no list of fields")
	}
	fields, _, _ = strings.Cut(fields, "and beside these")
	names := jsonFields(reflect.TypeFor[explain.Explanation]())
	if len(names) < 40 {
		t.Errorf("only %d fields: %v", len(names), names)
	}
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(fields) {
			t.Errorf("%s is not in the list", name)
		}
	}
}
