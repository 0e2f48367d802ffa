package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestExcluded(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, metadata: {name: test},
		spec: {dns: {}, excludedNamespaces: [openshift-*, vault, a*, vault-dev]}}`))
	if err != nil {
		t.Fatal(err)
	}
	excluded := policy.NewExcluded(p.Spec.ExcludedNamespaces)
	if diff := cmp.Diff([]string{"vault", "vault-dev"}, excluded.Names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"openshift-", "a"}, excluded.Prefixes); diff != "" {
		t.Errorf("prefixes (-want +got):\n%s", diff)
	}
	compiled, err := policy.Compile(p, "own")
	if err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]bool{
		"openshift-dns": true, "openshift-": true, "a": true, "ab": true, "vault": true, "vault-dev": true,
		"openshift": false, "my-openshift-dns": false, "vault-prod": false, "vaul": false, "b": false, "": false, "kube-system": false,
	} {
		if got := excluded.Has(namespace); got != want {
			t.Errorf("%q is excluded: %t, want %t", namespace, got, want)
		}
		if got := compiled.Excludes(namespace); got != want {
			t.Errorf("%q is excluded by the compiled policy: %t, want %t", namespace, got, want)
		}
	}
	if !compiled.Excludes("own") || compiled.Excludes("own-2") {
		t.Error("besides, the own namespace is excluded, and by its name only")
	}
	if (*policy.Excluded)(nil).Has("vault") {
		t.Error("nothing excludes a namespace")
	}
}
