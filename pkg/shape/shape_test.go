package shape_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/shape"
	"github.com/shorthop/shorthop/test/jsontest"
)

type sample struct {
	Name   string            `json:"name"`
	Count  *int32            `json:"count"`
	Labels map[string]string `json:"labels"`
	Items  []sample          `json:"items"`
	Every  metav1.Duration   `json:"every"`
	Bundle []byte            `json:"bundle"`
}

// Everything that does not fit is told with its index, and the rest can be
// decoded with what fits where it was.
func TestEverythingIsToldAndTheRestIsDecoded(t *testing.T) {
	t.Parallel()
	decoder := json.NewDecoder(strings.NewReader(`{"name": 1, "count": 4294967299, "labels": {"a": true, "b": "c"}, "x": 1, "every": "1", "bundle": [1],
		"items": [{"name": "first", "bundle": "Zmlyc3Q="}, 5, {"name": "third", "bundle": "x", "items": "{{ .Values.items }}"}, null]}`))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	checker := shape.Checker{Prune: true}
	checker.Check(value, reflect.TypeFor[sample](), nil)
	var got []string
	for _, wrong := range checker.Wrong {
		got = append(got, wrong.Path.String()+": "+wrong.String())
	}
	for _, at := range checker.Unknown {
		got = append(got, at.String())
	}
	if diff := cmp.Diff([]string{
		"bundle: got a list, want a string in base64",
		"count: got the number 4294967299, want an integer of 32 bits",
		`every: got the string "1", want a duration such as 30s`,
		"items[1]: got the number 5, want an object",
		`items[2].bundle: got the string "x", want a string in base64`,
		`items[2].items: got the string "{{ .Values.items }}", want a list; it looks like a template: render it first`,
		"items[3]: got nothing, want a value",
		"labels[a]: got true, want a string (put it in quotes)",
		"name: got the number 1, want a string (put it in quotes)",
		"x",
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	rest := jsontest.Marshal(t, value)
	decoded := jsontest.Decode[sample](t, rest)
	want := sample{Labels: map[string]string{"b": "c"}, Items: []sample{{Name: "first", Bundle: []byte("first")}, {}, {Name: "third"}, {}}}
	if diff := cmp.Diff(want, decoded); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}
