package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// assumedDomain stands for a cluster domain that is not known here: nearly
// every cluster has it.
const assumedDomain = "cluster.local"

// resolverExplanation is which resolver a container is taken to have.
type resolverExplanation struct {
	Container string `json:"container"`
	Image     string `json:"image"`
	// Resolver and Pattern are empty where no pattern of spec.resolvers matches
	// the image.
	Resolver policy.Resolver `json:"resolver,omitzero"`
	Pattern  string          `json:"pattern,omitzero"`
}

// lookupsExplanation is what --lookup asks for.
type lookupsExplanation struct {
	// Notes say what the model takes for granted, as it is not known here.
	Notes []string            `json:"notes"`
	Names []lookupExplanation `json:"names"`
}

// lookupExplanation is one name with one resolver.
type lookupExplanation struct {
	Name string `json:"name"`
	// ExistsAs is the only name that the model takes to exist.
	ExistsAs string            `json:"existsAs"`
	Resolver resolver.Resolver `json:"resolver"`
	Before   lookupOutcome     `json:"before"`
	After    lookupOutcome     `json:"after"`
	// Breaks is true for a name that is found before and not after.
	Breaks bool `json:"breaks"`
}

type lookupOutcome struct {
	Status resolver.Status `json:"status"`
	// Answer is the name at which the addresses are found.
	Answer  string      `json:"answer,omitzero"`
	Queries []sentQuery `json:"queries"`

	several bool // there is more than one nameserver
}

type sentQuery struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Server string `json:"server"`
}

// checkLookups refuses names that nobody looks up.
func checkLookups(names []string) error {
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err == nil {
			return failure("--lookup %q: an address is not looked up", name)
		}
		if messages := validation.IsDNS1123Subdomain(strings.ToLower(strings.TrimSuffix(name, "."))); len(messages) > 0 {
			return failure("--lookup %q: %s", name, strings.Join(messages, "; "))
		}
	}
	return nil
}

// existsAs is the name under which a name that is looked up is taken to exist,
// and only there:
//
//	the name, without a dot at its end                  exists as
//	ends in the cluster domain                          it is written
//	ends in ".svc"                                      a name in the cluster domain
//	one label                                           a Service of the pod's namespace
//	two labels, the second the pod's namespace          that Service
//	two labels, the second no public top-level domain   a Service of that namespace
//	any other                                           it is written
func existsAs(name, namespace, domain string) string {
	name = strings.TrimSuffix(name, ".")
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	_, public := publicsuffix.PublicSuffix(last)
	switch {
	case strings.HasSuffix(name, "."+domain):
		return name
	case len(labels) > 2 && last == "svc":
		return name + "." + domain
	case len(labels) == 1:
		return name + "." + namespace + ".svc." + domain
	case len(labels) == 2 && (last == namespace || !public):
		return name + ".svc." + domain
	}
	return name
}

// resolversOf says which resolver each container is taken to have, where the
// policy has hints.
func resolversOf(compiled *policy.Compiled, pod []byte) ([]resolverExplanation, error) {
	if len(compiled.Document().Spec.Resolvers) == 0 {
		return nil, nil
	}
	type container struct{ Name, Image string }
	var images struct {
		Spec struct{ InitContainers, Containers, EphemeralContainers []container }
	}
	if err := json.Unmarshal(pod, &images); err != nil {
		return nil, err
	}
	var all []resolverExplanation
	for _, c := range slices.Concat(images.Spec.InitContainers, images.Spec.Containers, images.Spec.EphemeralContainers) {
		r := resolverExplanation{Container: c.Name, Image: c.Image}
		r.Resolver, r.Pattern = compiled.ResolverOf(c.Image)
		all = append(all, r)
	}
	return all, nil
}

// lookups models what the resolvers in the pod's containers ask for names.
func (o *explainOptions) lookups(domain string, e *explanation, was, is *podResolvConf) *lookupsExplanation {
	l := &lookupsExplanation{Notes: []string{}, Names: []lookupExplanation{}}
	note := func(format string, arguments ...any) {
		l.Notes = append(l.Notes, fmt.Sprintf(format, arguments...))
	}
	switch {
	case isWindows(e.request.Pod):
		note("The pod runs on Windows, whose resolver is not modelled.")
		return l
	case was.hostServers || is.hostServers:
		note("The pod uses the node's own resolv.conf, which is not known here (--node-resolv-conf): what it asks cannot be told.")
		return l
	}
	if domain == "" {
		domain = assumedDomain
		note("The cluster domain is taken to be %s (--cluster-domain).", assumedDomain)
	}
	if was.hostSearches || is.hostSearches {
		note("The node has no search domains of its own (--node-resolv-conf).")
	}
	resolvers := e.modelled()
	if len(resolvers) == len(resolver.Resolvers()) {
		note("The containers may have any of the resolvers: spec.resolvers does not name one for every image.")
	}
	note("Every name has IPv4 and IPv6 addresses.")
	for _, name := range o.lookupNames {
		exists := existsAs(name, e.Namespace, domain)
		if exists == strings.TrimSuffix(name, ".") {
			note("%s exists as it is written, and not below a search domain.", name)
		} else {
			note("%s exists as %s only.", name, exists)
		}
		zone := func(_ int, asked string, _ resolver.RRType) resolver.Outcome {
			if strings.EqualFold(asked, exists) {
				return resolver.Answer
			}
			return resolver.NXDomain
		}
		for _, r := range resolvers {
			outcome := lookupExplanation{
				Name: name, ExistsAs: exists, Resolver: r,
				Before: newOutcome(r, was.complete, name, zone), After: newOutcome(r, is.complete, name, zone),
			}
			outcome.Breaks = outcome.Before.Status == resolver.Found && outcome.After.Status != resolver.Found
			l.Names = append(l.Names, outcome)
		}
	}
	return l
}

// modelled are the resolvers that hints give to the pod's containers; all there
// are, unless there is a hint for each.
func (e *explanation) modelled() []resolver.Resolver {
	var hinted []resolver.Resolver
	for _, r := range e.Resolvers {
		if r.Resolver == "" {
			return resolver.Resolvers()
		}
		hinted = append(hinted, resolver.Resolver(r.Resolver))
	}
	if len(hinted) == 0 {
		return resolver.Resolvers()
	}
	return slices.DeleteFunc(resolver.Resolvers(), func(r resolver.Resolver) bool { return !slices.Contains(hinted, r) })
}

func newOutcome(r resolver.Resolver, conf resolver.ResolvConf, name string, zone resolver.Zone) lookupOutcome {
	lookup := r.Lookup(conf, name, zone)
	outcome := lookupOutcome{
		Status: lookup.Status, Answer: lookup.Name(), Queries: []sentQuery{}, several: len(conf.Nameservers) > 1,
	}
	for _, query := range lookup.Queries {
		server := "127.0.0.1" // of a resolv.conf without nameservers
		if query.Server < len(conf.Nameservers) {
			server = conf.Nameservers[query.Server]
		}
		if server == standInServer {
			server = "the cluster DNS"
		}
		outcome.Queries = append(outcome.Queries, sentQuery{query.Name, query.Type.String(), server})
	}
	return outcome
}

func (e *explanation) writeResolvers(t text) {
	if len(e.Resolvers) == 0 {
		return
	}
	t.section("Resolvers (spec.resolvers)")
	for _, r := range e.Resolvers {
		what := fmt.Sprintf("%s, as the image %s matches %s", r.Resolver, r.Image, r.Pattern)
		if r.Resolver == "" {
			what = "not known, no pattern matches the image " + r.Image
		}
		t.labelled("container", r.Container+": "+what)
	}
}

// sameLookups are lookups of a name that differ in nothing but the resolver.
type sameLookups struct {
	lookupExplanation
	resolvers string
}

func (l *lookupsExplanation) grouped() []sameLookups {
	var groups []sameLookups
	for _, lookup := range l.Names {
		i := slices.IndexFunc(groups, func(g sameLookups) bool {
			return g.Name == lookup.Name && reflect.DeepEqual(g.Before, lookup.Before) && reflect.DeepEqual(g.After, lookup.After)
		})
		if i < 0 {
			groups = append(groups, sameLookups{lookup, string(lookup.Resolver)})
			continue
		}
		groups[i].resolvers += ", " + string(lookup.Resolver)
	}
	return groups
}

func (e *explanation) writeLookups(t text) {
	if e.Lookups == nil {
		return
	}
	t.section("Lookups, with the queries sent before and after")
	for _, note := range e.Lookups.Notes {
		t.labelled("note", note)
	}
	groups := e.Lookups.grouped()
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
			g.Before.write(t, "both")
			continue
		}
		g.Before.write(t, "before")
		g.After.write(t, "after")
	}
}

// write writes the queries in order, those for one name on one line: they are
// under way together.
func (o *lookupOutcome) write(t text, label string) {
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
		if o.several {
			line += " at " + strings.Join(servers, " and ")
		}
		if rest[0].Name == o.Answer {
			line += ": the answer"
		}
		t.wrapped(fmt.Sprintf("    %-*s", labelWidth-4, label), line)
		rest = rest[n:]
	}
}
