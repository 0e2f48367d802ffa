package explain

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// AssumedDomain stands for a cluster domain that is not known here: it is
// kubeadm's, and nearly every cluster has it.
const AssumedDomain = "cluster.local"

// Resolver is which resolver a container is taken to have.
type Resolver struct {
	Container string `json:"container"`
	Image     string `json:"image"`
	// Resolver and Pattern are empty where no pattern of spec.resolvers matches
	// the image.
	Resolver policy.Resolver `json:"resolver,omitzero"`
	Pattern  string          `json:"pattern,omitzero"`
}

// Lookups is what --lookup asks for.
type Lookups struct {
	// Notes say what the model takes for granted, as it is not known here.
	Notes []string `json:"notes"`
	Names []Lookup `json:"names"`
}

// Lookup is one name with one resolver.
type Lookup struct {
	Name string `json:"name"`
	// ExistsAs is the only name that the model takes to exist.
	ExistsAs string            `json:"existsAs"`
	Resolver resolver.Resolver `json:"resolver"`
	Before   LookupOutcome     `json:"before"`
	After    LookupOutcome     `json:"after"`
	// Breaks is true for a name that is found before and not after.
	Breaks bool `json:"breaks"`
}

// LookupOutcome is what becomes of a lookup, with a resolv.conf.
type LookupOutcome struct {
	Status resolver.Status `json:"status"`
	// Answer is the name at which the addresses are found.
	Answer  string  `json:"answer,omitzero"`
	Queries []Query `json:"queries"`

	// ManyServers: the resolv.conf has more than one.
	ManyServers bool `json:"-"`
}

// Query is a question that is sent.
type Query struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Server string `json:"server"`
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
// policy knows any.
func resolversOf(compiled *policy.Compiled, pod *policy.Pod) []Resolver {
	if len(compiled.Document().Spec.Resolvers) == 0 {
		return nil
	}
	var all []Resolver
	for _, c := range pod.Spec.AllContainers() {
		r := Resolver{Container: c.Name, Image: c.Image}
		hint, pattern := compiled.ResolverOf(c.Image)
		if hint != nil {
			r.Resolver, r.Pattern = hint.Resolver, pattern
		}
		all = append(all, r)
	}
	return all
}

// lookups models what the resolvers in the pod's containers ask for names.
func (e *Explanation) lookups(names []string, domain string, was, is *podResolvConf) *Lookups {
	l := &Lookups{Notes: []string{}, Names: []Lookup{}}
	note := func(format string, arguments ...any) {
		l.Notes = append(l.Notes, fmt.Sprintf(format, arguments...))
	}
	switch {
	case was.windows:
		note("The pod runs on Windows, whose resolver is not modelled.")
		return l
	case was.hostServers || is.hostServers:
		note("The pod uses the node's own resolv.conf, which is not known here (--node-resolv-conf): what it asks cannot be told.")
		return l
	}
	if domain == "" {
		domain = AssumedDomain
		note("The cluster domain is taken to be %s (--cluster-domain).", AssumedDomain)
	}
	if was.hostSearches || is.hostSearches {
		note("The node has no search domains of its own (--node-resolv-conf).")
	}
	resolvers := e.modelled()
	if len(resolvers) == len(resolver.Resolvers()) {
		note("The containers may have any of the resolvers: spec.resolvers does not name one for every image.")
	}
	given := map[resolver.Resolver]string{}
	for _, r := range resolvers {
		if value, container := e.Fallthrough.givenTo(policy.Resolver(r)); value != "" {
			given[r] = value
			note("With RES_OPTIONS %s after, %s is as in container %s.", value, r, printable.Name(container))
		}
	}
	note("Every name has IPv4 and IPv6 addresses.")
	for _, name := range names {
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
			outcome := Lookup{
				Name: name, ExistsAs: exists, Resolver: r,
				Before: newLookupOutcome(r, was.complete, "", name, zone), After: newLookupOutcome(r, is.complete, given[r], name, zone),
			}
			outcome.Breaks = outcome.Before.Status == resolver.Found && outcome.After.Status != resolver.Found
			l.Names = append(l.Names, outcome)
		}
	}
	return l
}

// modelled returns the resolvers that hints give to the pod's containers. Where a
// container has no hint, it may have any resolver, so that is all of them.
func (e *Explanation) modelled() []resolver.Resolver {
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

func newLookupOutcome(r resolver.Resolver, conf resolver.ResolvConf, resOptions, name string, zone resolver.Zone) LookupOutcome {
	lookup := resolver.Client{Resolver: r, ResolvConf: conf, ResOptions: resOptions}.Lookup(name, zone)
	outcome := LookupOutcome{
		Status: lookup.Status, Answer: lookup.Name(), Queries: []Query{}, ManyServers: len(conf.Nameservers) > 1,
	}
	for _, query := range lookup.Queries {
		server := "127.0.0.1" // of a resolv.conf without nameservers
		if query.Server < len(conf.Nameservers) {
			server = conf.Nameservers[query.Server]
		}
		if server == standInServer {
			server = "the cluster DNS"
		}
		outcome.Queries = append(outcome.Queries, Query{query.Name, query.Type.String(), server})
	}
	return outcome
}
