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
	// Container whose RES_OPTIONS and LOCALDOMAIN count, where it has any.
	Container string        `json:"container,omitzero"`
	Before    LookupOutcome `json:"before"`
	After     LookupOutcome `json:"after"`
	// Breaks is true for a name that is found before and not after.
	Breaks bool `json:"breaks"`

	// Label is the resolver; with the container, where it has several clients.
	Label string `json:"-"`
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
	clients := e.clients()
	if len(e.modelled()) == len(resolver.Resolvers()) {
		note("The containers may have any of the resolvers: spec.resolvers does not name one for every image.")
	}
	for i := range clients {
		if c := &clients[i]; c.container != "" {
			note("With %s, %s is as in container %s.", c.read(), c.resolver, printable.Name(c.container))
		}
	}
	for i := range e.Fallthrough.Containers {
		c := &e.Fallthrough.Containers[i]
		if unseen := c.after.unseen(); unseen != "" {
			note("What container %s has in %s is not seen here: the lookups are those of one without.", printable.Name(c.Name), unseen)
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
		for i := range clients {
			c := &clients[i]
			outcome := Lookup{
				Name: name, ExistsAs: exists, Resolver: c.resolver, Container: c.container, Label: c.label,
				Before: c.lookup(was.complete, &c.before, name, zone), After: c.lookup(is.complete, &c.after, name, zone),
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

// client is a resolver, with what it reads in the environment of containers. All
// containers with the same are one client.
type client struct {
	resolver      resolver.Resolver
	before, after variables
	// container is the first that has these variables; empty without any.
	container string
	label     string
}

// clients are the resolvers that are modelled, each with all the variables that its
// containers have; without any, too, where a container may have that resolver.
func (e *Explanation) clients() []client {
	var clients []client
	anyResolver := slices.ContainsFunc(e.Resolvers, func(r Resolver) bool { return r.Resolver == "" })
	for _, r := range e.modelled() {
		first := len(clients)
		for i := range e.Fallthrough.Containers {
			c := &e.Fallthrough.Containers[i]
			one := client{resolver: r, before: c.before.seen(), after: c.after.seen(), label: string(r)}
			if c.Resolver != policy.Resolver(r) || slices.ContainsFunc(clients[first:], one.same) {
				continue
			}
			if one.before != (variables{}) || one.after != (variables{}) {
				one.container = c.Name
			}
			clients = append(clients, one)
		}
		plain := client{resolver: r, label: string(r)}
		if len(clients) == first || anyResolver && !slices.ContainsFunc(clients[first:], plain.same) {
			clients = append(clients, plain)
		}
		if several := clients[first:]; len(several) > 1 {
			for i := range several {
				if c := &several[i]; c.container != "" {
					c.label += " in " + printable.Name(c.container)
				}
			}
		}
	}
	return clients
}

func (c *client) same(other client) bool { return c.before == other.before && c.after == other.after }

// read is what the client reads in the environment, and when.
func (c *client) read() string {
	var all []string
	one := func(name, value, when string) {
		switch {
		case value == "":
		case strings.TrimSpace(value) == "":
			all = append(all, "an empty "+name+when)
		default:
			all = append(all, name+" "+printable.Name(value)+when)
		}
	}
	add := func(name, before, after string) {
		if before == after {
			one(name, after, "")
			return
		}
		one(name, before, " before")
		one(name, after, " after")
	}
	add(policy.EnvResOptions, c.before.resOptions, c.after.resOptions)
	add(policy.EnvLocalDomain, c.before.localDomain, c.after.localDomain)
	return strings.Join(all, " and ")
}

// lookup is one lookup of the client.
func (c *client) lookup(conf resolver.ResolvConf, v *variables, name string, zone resolver.Zone) LookupOutcome {
	lookup := resolver.Client{Resolver: c.resolver, ResolvConf: conf, ResOptions: v.resOptions, LocalDomain: v.localDomain}.Lookup(name, zone)
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
