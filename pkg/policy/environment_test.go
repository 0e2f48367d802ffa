package policy_test

import (
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// A variable is what kubelet sets: of several entries the last, with its references.
// Where a part of it comes from elsewhere, it is not seen.
func TestVariable(t *testing.T) {
	t.Parallel()
	container := policy.Container{Env: []policy.EnvVar{
		{Name: "N", Value: "1"},
		{Name: "PLAIN", Value: "ndots:2"},
		{Name: "TWICE", Value: "ndots:2"}, {Name: "TWICE", Value: "ndots:$(N)"},
		{Name: "ESCAPED", Value: "ndots:$$(N)"},
		{Name: "LATER", Value: "$(LAST)"},
		{Name: "EMPTY"},
		{Name: "MAP", ValueFrom: policy.EnvVarSource{ConfigMapKeyRef: true}},
		{Name: "OF_A_MAP", Value: "ndots:$(MAP)"},
		{Name: "NO_LONGER", ValueFrom: policy.EnvVarSource{SecretKeyRef: true}}, {Name: "NO_LONGER", Value: "ndots:3"},
		{Name: "LAST", Value: "x"},
	}}
	for name, want := range map[string]struct {
		value     string
		set, seen bool
	}{
		"PLAIN":     {"ndots:2", true, true},
		"plain":     {"", false, true},
		"TWICE":     {"ndots:1", true, true},
		"ESCAPED":   {"ndots:$(N)", true, true},
		"LATER":     {"$(LAST)", true, true},
		"EMPTY":     {"", true, true},
		"MAP":       {"", true, false},
		"OF_A_MAP":  {"", true, false},
		"NO_LONGER": {"ndots:3", true, true},
	} {
		if value, set, seen := container.Variable(name); value != want.value || set != want.set || seen != want.seen {
			t.Errorf("%s: got %q, %t, %t, want %+v", name, value, set, seen, want)
		}
	}
	container.EnvFrom = true
	if value, set, seen := container.Variable("LATER"); value != "" || !set || seen {
		t.Errorf("a reference to what may come by envFrom: got %q, %t, %t", value, set, seen)
	}
}
