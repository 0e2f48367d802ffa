// Package jsontest encodes and decodes JSON and YAML for tests, which fail on an
// error.
package jsontest

import (
	"encoding/json"
	"testing"

	"sigs.k8s.io/yaml"
)

// Marshal is a value as JSON.
func Marshal(tb testing.TB, value any) []byte {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// YAML is a value as YAML, with the fields of its JSON.
func YAML(tb testing.TB, value any) []byte {
	tb.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// Unmarshal reads JSON into what a pointer points at.
func Unmarshal(tb testing.TB, text []byte, into any) {
	tb.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		tb.Fatalf("%v\n%.4000s", err, text)
	}
}

// Decode reads JSON as a new value.
func Decode[T any](tb testing.TB, text []byte) (value T) {
	tb.Helper()
	Unmarshal(tb, text, &value)
	return value
}
