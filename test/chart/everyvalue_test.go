//go:build chart

package chart_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/jsontest"
)

// Every value of every example has an effect: without it, the chart is rendered differently, or not at all. What the policy
// says, all of it reaches the ConfigMap.
func TestEveryValueIsRendered(t *testing.T) {
	schema, effective := readSchema(t), map[string]bool{}
	for _, file := range examples(t) {
		all := example(t, file)
		with, err := template(t, file)
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := all["policy"]; ok {
			var config corev1.ConfigMap
			convert(t, render(t, "--values="+file)["ConfigMap "+namespace+"/"+release].Object, &config)
			var document struct{ Spec any }
			if err := sigsyaml.Unmarshal([]byte(config.Data["policy.yaml"]), &document); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, document.Spec); diff != "" {
				t.Errorf("%s: policy (-values +rendered):\n%s", file, diff)
			}
		}
		schema.visit("", schema.document, all, func(leaf string, at []any) {
			if at[0] == "policy" {
				effective[leaf] = true
				return
			}
			encoded := jsontest.YAML(t, without(all, at))
			less := filepath.Join(t.TempDir(), "values.yaml")
			write(t, less, encoded)
			if rendered, err := template(t, less); err != nil || rendered != with {
				effective[leaf] = true
			}
		})
		schema.visit("", schema.document, all, func(leaf string, _ []any) {
			if _, ok := effective[leaf]; !ok {
				effective[leaf] = false
			}
		})
	}
	for leaf, is := range effective {
		if !is {
			t.Errorf("%s: the chart is rendered alike without it", leaf)
		}
	}
	t.Logf("%d values", len(effective))
}

// template is `helm template` with a values file, as text.
func template(t *testing.T, file string) (string, error) {
	t.Helper()
	return output(t, os.Getenv("HELM"), "template", release, chartDir, "--namespace", namespace, "--values=testdata/self-managed.yaml", "--values="+file)
}

// without returns a copy of values that lacks one.
func without(values any, at []any) any {
	switch values := values.(type) {
	case object:
		less := object{}
		for key, value := range values {
			switch {
			case key != at[0]:
				less[key] = value
			case len(at) > 1:
				less[key] = without(value, at[1:])
			}
		}
		return less
	case []any:
		less := slices.Clone(values)
		i := at[0].(int)
		less[i] = without(values[i], at[1:])
		return less
	}
	panic("neither an object nor a list")
}
