package cli

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/pkg/printable"
)

func (e explanationText) writeResolvers(t text) {
	if len(e.Resolvers) == 0 {
		return
	}
	t.section("Resolvers (spec.resolvers)")
	for _, r := range e.Resolvers {
		what := fmt.Sprintf("%s, as the image %s matches %s", r.Resolver, printable.Name(r.Image), r.Pattern)
		if r.Resolver == "" {
			what = "not known, no pattern matches the image " + printable.Name(r.Image)
			if r.OtherName != "" {
				what += "; one matches " + printable.Name(r.OtherName) + ", which may be the same image: patterns are for images as pods name them"
			}
		}
		t.labelled("container", printable.Name(r.Container)+": "+what)
	}
}

// sameLookups are lookups of a name that differ in nothing but the resolver.
type sameLookups struct {
	explain.Lookup
	resolvers string
}

// grouped are the lookups in their order, by name and outcome.
func grouped(lookups []explain.Lookup) []sameLookups {
	var groups []sameLookups
	for _, lookup := range lookups {
		i := slices.IndexFunc(groups, func(g sameLookups) bool {
			return g.Name == lookup.Name && reflect.DeepEqual(g.Before, lookup.Before) && reflect.DeepEqual(g.After, lookup.After)
		})
		if i < 0 {
			groups = append(groups, sameLookups{lookup, lookup.Label})
			continue
		}
		groups[i].resolvers += ", " + lookup.Label
	}
	return groups
}

func (e explanationText) writeLookups(t text) {
	if e.Lookups == nil {
		return
	}
	t.section("Lookups, with the queries sent before and after")
	for _, note := range e.Lookups.Notes {
		t.labelled("note", note)
	}
	groups := grouped(e.Lookups.Names)
	if len(groups) == 0 {
		return
	}
	nameWidth, resolverWidth := len("name"), len("resolver")
	for _, g := range groups {
		nameWidth, resolverWidth = max(nameWidth, len(g.Name)), max(resolverWidth, len(g.resolvers))
	}
	row := func(name, resolvers, before, after, answer string) {
		t.line(fmt.Sprintf("  %-*s  %-*s  %6s  %5s  %s", nameWidth, name, resolverWidth, resolvers, before, after, answer))
	}
	t.line("")
	row("name", "resolver", "before", "after", "answer")
	for _, g := range groups {
		answer := cmp.Or(g.After.Answer, string(g.After.Status))
		if was := cmp.Or(g.Before.Answer, string(g.Before.Status)); was != answer {
			answer = was + " -> " + answer
		}
		row(g.Name, g.resolvers, fmt.Sprint(len(g.Before.Queries)), fmt.Sprint(len(g.After.Queries)), answer)
	}
	for _, g := range groups {
		if g.Breaks {
			t.wrapped("  ! ", fmt.Sprintf("%s no longer resolves with %s: raise ndots for this workload, or look it up as %s.", g.Name, g.resolvers, g.ExistsAs))
		}
	}
	for _, g := range groups {
		t.line("")
		t.line("  " + g.Name + ", " + g.resolvers)
		if reflect.DeepEqual(g.Before, g.After) {
			writeQueries(t, &g.Before, "both")
			continue
		}
		writeQueries(t, &g.Before, "before")
		writeQueries(t, &g.After, "after")
	}
}

// writeQueries writes the queries in order, those for one name on one line: they are
// under way together.
func writeQueries(t text, o *explain.LookupOutcome, label string) {
	for rest := o.Queries; len(rest) > 0; label = "" {
		n := 1
		for n < len(rest) && rest[n].Name == rest[0].Name {
			n++
		}
		var types, servers []string
		for _, query := range rest[:n] {
			if !slices.Contains(types, query.Type) {
				types = append(types, query.Type)
			}
			if !slices.Contains(servers, query.Server) {
				servers = append(servers, query.Server)
			}
		}
		line := strings.Join(types, " ") + " " + rest[0].Name
		if o.ManyServers {
			line += " at " + strings.Join(servers, " and ")
		}
		if rest[0].Name == o.Answer {
			line += ": the answer"
		}
		t.wrapped(fmt.Sprintf("    %-*s", labelWidth-4, label), line)
		rest = rest[n:]
	}
}
