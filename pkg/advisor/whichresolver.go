package advisor

import (
	"slices"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// resolversOf are the resolvers that a group's lookups are judged by: those that the
// policy names for its images, else all that are modelled, so that what is safe for
// the most careful of them is recommended.
func resolversOf(g *group) (judges []resolver.Resolver, known bool) {
	if len(g.resolvers) > 0 {
		return g.resolvers, true
	}
	return resolver.Resolvers(), false
}

// stopsAtNdots tells whether a group may have musl: it asks for a name with as many
// dots as ndots and does not go through the search list behind it, so that a name
// that the log does not have may be lost under a lower ndots.
func stopsAtNdots(g *group) bool {
	judges, _ := resolversOf(g)
	return slices.ContainsFunc(judges, func(r resolver.Resolver) bool { return r == resolver.Musl || r == resolver.MuslBefore124 })
}

// readsResOptions tells of a group's resolvers whether all, or none, read
// RES_OPTIONS. glibc and c-ares do.
func readsResOptions(g *group) (all, none bool) {
	judges, _ := resolversOf(g)
	all, none = true, true
	for _, r := range judges {
		reads := r == resolver.Glibc || r == resolver.CAres
		all, none = all && reads, none && !reads
	}
	return all, none
}
