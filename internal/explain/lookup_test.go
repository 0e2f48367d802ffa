package explain_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// A hint names a resolver that is modelled, and every one of those can be
// named.
func TestHintsNameTheResolversThatAreModelled(t *testing.T) {
	t.Parallel()
	for _, r := range resolver.Resolvers() {
		if _, err := policy.Parse(fmt.Appendf(nil, "{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, spec: {resolvers: [{images: [a], resolver: %s}]}}", r)); err != nil {
			t.Errorf("%s cannot be named: %v", r, err)
		}
	}
	for _, r := range []policy.Resolver{policy.ResolverGlibc, policy.ResolverMusl, policy.ResolverMuslBefore124, policy.ResolverGo, policy.ResolverCAres} {
		if !slices.Contains(resolver.Resolvers(), resolver.Resolver(r)) {
			t.Errorf("%s can be named and is not modelled", r)
		}
	}
}
