package chart_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
)

// Every value that the schema knows is set by one of the examples in testdata/values, which TestEveryValueIsRendered and
// TestEveryObjectIsAccepted take from there.
func TestEveryValueHasAnExample(t *testing.T) {
	t.Parallel()
	schema := readSchema(t)
	want, got := map[string]bool{}, map[string]bool{}
	schema.leaves("", schema.document, want)
	for _, file := range examples(t) {
		schema.visit("", schema.document, example(t, file), func(leaf string, _ []any) { got[leaf] = true })
	}
	for _, leaf := range slices.Sorted(maps.Keys(want)) {
		if !got[leaf] {
			t.Errorf("no file in testdata/values sets %s", leaf)
		}
	}
	t.Logf("%d values", len(want))
}

// The policies among them are valid.
func TestExamplesHaveValidPolicies(t *testing.T) {
	t.Parallel()
	for _, file := range examples(t) {
		var values struct{ Policy policy.Spec }
		if err := sigsyaml.Unmarshal(read(t, file), &values); err != nil {
			t.Fatal(err)
		}
		document := &policy.InjectionPolicy{Spec: values.Policy}
		document.Metadata.Name = "a"
		policy.SetDefaults(document)
		if errs := policy.Validate(document); len(errs) > 0 {
			t.Errorf("%s: %v", file, errs.ToAggregate())
		}
	}
}

func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples (%v)", err)
	}
	return files
}

func example(t *testing.T, file string) object {
	t.Helper()
	var values object
	if err := sigsyaml.UnmarshalStrict(read(t, file), &values); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return values
}

// valuesSchema is values.schema.json.
type valuesSchema struct{ document, definitions object }

func readSchema(t *testing.T) valuesSchema {
	t.Helper()
	document := jsontest.Decode[object](t, read(t, chartDir+"/values.schema.json"))
	return valuesSchema{document, document["$defs"].(object)}
}

// follow returns the schema behind a reference, and what its leaves are called: by the definition, wherever that is used.
func (s valuesSchema) follow(path string, schema object) (string, object) {
	if reference, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(reference, "#/$defs/")
		return name, s.definitions[name].(object)
	}
	return path, schema
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// isKubernetes reports whether the values of a schema are passed on as they are, so that the whole is one value.
func isKubernetes(schema object) bool {
	reference, _ := schema["$ref"].(string)
	return strings.HasPrefix(reference, "#/$defs/core.")
}

// leaves collects what is neither an object of known fields nor a list of such.
func (s valuesSchema) leaves(path string, schema object, found map[string]bool) {
	if isKubernetes(schema) {
		found[path] = true
		return
	}
	path, schema = s.follow(path, schema)
	if items, ok := schema["items"].(object); ok && !isKubernetes(items) {
		if items["properties"] != nil || items["$ref"] != nil {
			s.leaves(path+"[]", items, found)
			return
		}
	}
	properties, ok := schema["properties"].(object)
	if !ok {
		found[path] = true
		return
	}
	for key, property := range properties {
		s.leaves(join(path, key), property.(object), found)
	}
}

// visit calls back for every leaf that the values set, with where it is: keys and indexes.
func (s valuesSchema) visit(path string, schema object, value any, visit func(leaf string, at []any)) {
	s.walk(path, schema, value, nil, visit)
}

func (s valuesSchema) walk(path string, schema object, value any, at []any, visit func(leaf string, at []any)) {
	if isKubernetes(schema) {
		visit(path, at)
		return
	}
	path, schema = s.follow(path, schema)
	if items, ok := schema["items"].(object); ok && !isKubernetes(items) && (items["properties"] != nil || items["$ref"] != nil) {
		for i, entry := range value.([]any) {
			s.walk(path+"[]", items, entry, append(slices.Clone(at), i), visit)
		}
		return
	}
	properties, ok := schema["properties"].(object)
	if !ok {
		visit(path, at)
		return
	}
	for key, property := range properties {
		if nested, set := value.(object)[key]; set {
			s.walk(join(path, key), property.(object), nested, append(slices.Clone(at), key), visit)
		}
	}
}
