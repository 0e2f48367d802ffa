package images

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/pkg/policy"
)

// policyDocument is a policy with nothing but spec.resolvers.
type policyDocument struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Resolvers []policy.ImageResolver `json:"resolvers"`
	} `json:"spec"`
}

// Policy is a policy whose spec.resolvers says what is known of images, each by
// the full reference that pods name: the next tag of a repository may have
// another resolver. leftOut counts those of which the policy does not take what
// is known: those whose resolver is not, and those with a variable that is too
// long or not printable.
func Policy(results []Result) (text []byte, leftOut int, err error) {
	document := policyDocument{APIVersion: policy.APIVersion, Kind: policy.Kind, Metadata: map[string]any{"name": "resolvers"}}
	byWhat := map[string]int{}
	for i := range results {
		result := &results[i]
		entry := result.policyEntry()
		if len(entry.Validate(nil)) > 0 {
			leftOut++
			continue
		}
		what := fmt.Sprintf("%q %q %q", entry.Resolver, entry.Beside, result.Env)
		at, known := byWhat[what]
		if !known {
			at = len(document.Spec.Resolvers)
			byWhat[what] = at
			document.Spec.Resolvers = append(document.Spec.Resolvers, entry)
			continue
		}
		images := &document.Spec.Resolvers[at].Images
		*images = append(*images, entry.Images...)
	}
	slices.SortStableFunc(document.Spec.Resolvers, func(a, b policy.ImageResolver) int { return strings.Compare(string(a.Resolver), string(b.Resolver)) })
	if document.Spec.Resolvers == nil {
		document.Spec.Resolvers = []policy.ImageResolver{}
	}
	text, err = yaml.Marshal(document)
	return text, leftOut, err
}

// policyEntry is what the policy is to know of one image.
func (r *Result) policyEntry() policy.ImageResolver {
	entry := policy.ImageResolver{
		Images: []string{r.Reference}, Resolver: policy.Resolver(r.Resolver),
		ResOptions: r.variable(policy.EnvResOptions), LocalDomain: r.variable(policy.EnvLocalDomain),
	}
	if r.Resolver != rootfs.Musl { // what is beside musl is no stricter
		for _, beside := range r.Beside {
			entry.Beside = append(entry.Beside, policy.ResolverBeside(beside))
		}
	}
	return entry
}

// variable is a variable that an image sets, nil for one that it does not.
func (f *Found) variable(name string) *string {
	if value, set := f.Env[name]; set {
		return &value
	}
	return nil
}
