package explain_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/testfile"
)

// A hint names a resolver that is modelled, and every one of those can be
// named.
func TestHintsNameTheResolversThatAreModelled(t *testing.T) {
	t.Parallel()
	for _, r := range resolver.Resolvers() {
		if _, err := policy.Parse(fmt.Appendf(nil, "{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, spec: {resolvers: [{images: [a], resolver: %s}]}}", r)); err != nil {
			t.Errorf("%s cannot be named: %v; add it to pkg/policy/types_resolvers.go and ImageResolver.Validate", r, err)
		}
	}
	const types = "../../pkg/policy/types_resolvers.go"
	constants := regexp.MustCompile(`(?m)^\tResolver\w* Resolver = "([\w.-]+)"`).FindAllSubmatch(testfile.Read(t, types), -1)
	if len(constants) != len(resolver.Resolvers()) {
		t.Errorf("%s has %d resolvers, pkg/resolver models %d", types, len(constants), len(resolver.Resolvers()))
	}
	for _, match := range constants {
		if r := resolver.Resolver(match[1]); !slices.Contains(resolver.Resolvers(), r) {
			t.Errorf("%s can be named and is not modelled: explain could not say what it asks. Add it to Resolvers of pkg/resolver", r)
		}
	}
}
