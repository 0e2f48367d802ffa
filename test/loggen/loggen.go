// Package loggen simulates the query log of a cluster: workloads with habits, their
// resolvers, lost packets and retries. Equal options give equal logs, so figures
// that rest on one can be reproduced.
package loggen

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// ClusterDomain and NodeSearch are those of the simulated cluster.
const (
	ClusterDomain = "cluster.local"
	NodeSearch    = "corp.example.com"
)

// Options say what to simulate.
type Options struct {
	Seed uint64
	// Workloads is the number of workloads, with one pod each. Defaults to 40.
	Workloads int
	// Lookups is how many lookups each workload makes. Defaults to 200.
	Lookups int
	// Loss is how many packets in a thousand are lost. Each loss leads to a retry.
	Loss int
	// Wildcard makes the nodes' search domain answer for every name.
	Wildcard bool
	// Timestamps puts a timestamp before every line.
	Timestamps bool
	// Upstream makes it the log of the cluster DNS behind the caches on the nodes: the
	// clients are the nodes, and queries that a cache could answer are not in it.
	// Otherwise it is the log of the caches, which has all queries.
	Upstream bool
}

// How long a cache on a node keeps an answer with records and one without, in the time
// of the log.
const (
	positiveTTL = 30 * time.Second
	negativeTTL = 5 * time.Second
)

// Cluster is a simulated cluster.
type Cluster struct {
	Node      resolver.Node
	Workloads []Workload
	options   Options
	exists    map[string]bool
	random    *rand.Rand
}

// Workload is one with its habits.
type Workload struct {
	Namespace, Name string
	Address         string
	Image           string
	Resolver        resolver.Resolver
	Ndots           int // in the pod's dnsConfig; 0 for none
	// Names that it looks up, the most popular first.
	Names []string
	// Node is the address of the node that its pod runs on.
	Node string
	// Only is the one type that it asks for; 0 for A and AAAA.
	Only resolver.RRType
}

// imagePrefix begins the reference of every image. The resolver in the image follows,
// and the tag 1.
const imagePrefix = "registry.example/"

// ResolverOf says which resolver an image of the simulation contains.
func ResolverOf(image string) resolver.Resolver {
	return resolver.Resolver(strings.TrimPrefix(strings.TrimSuffix(image, ":1"), imagePrefix))
}

// externals are names outside the cluster that exist.
func externals() []string {
	return []string{
		"api.example.com", "www.example.net", "example.net", "s3.eu-central-1.storage.example.net", "hooks.example.org", "example.com",
		"registry-1.example.org", "a.b.c.d.e.example.org", "metrics.example.org", "login.example.net", "db.prod.example.com", "sts.storage.example.net",
	}
}

// New makes a cluster.
func New(o Options) *Cluster {
	if o.Workloads == 0 {
		o.Workloads = 40
	}
	if o.Lookups == 0 {
		o.Lookups = 200
	}
	c := &Cluster{
		Node:    resolver.Node{ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: ClusterDomain, Host: resolver.ResolvConf{Searches: []string{NodeSearch}}},
		options: o, exists: make(map[string]bool), random: rand.New(rand.NewPCG(o.Seed, 1)),
	}
	namespaces := []string{"shop", "data", "dev", "crawl", "infra", "team-a", "team-b"}
	services := []string{"web", "api", "cache", "db", "queue", "auth"}
	for _, namespace := range namespaces {
		for _, service := range services {
			c.exists[service+"."+namespace+".svc."+ClusterDomain] = true
		}
		c.exists["db-0.db."+namespace+".svc."+ClusterDomain] = true
	}
	for _, name := range externals() {
		c.exists[name] = true
	}
	c.exists["wiki."+NodeSearch] = true
	// The trap: a name that exists both in the nodes' search domain and outside.
	c.exists[trap+"."+NodeSearch], c.exists[trap] = true, true
	resolvers := []resolver.Resolver{resolver.Glibc, resolver.Musl, resolver.Go}
	for i := range o.Workloads {
		w := Workload{
			Namespace: namespaces[c.random.IntN(len(namespaces))], Name: fmt.Sprintf("app-%d", i),
			Address:  fmt.Sprintf("10.%d.%d.%d", 64+i>>16, i>>8&255, i&255),
			Node:     fmt.Sprintf("192.168.%d.%d", i%nodes>>8, i%nodes&255+1),
			Resolver: resolvers[c.random.IntN(len(resolvers))],
		}
		switch c.random.IntN(12) {
		case 0:
			w.Only = resolver.A
		case 1:
			w.Only = resolver.AAAA
		}
		w.Image = imagePrefix + string(w.Resolver) + ":1"
		if c.random.IntN(3) == 0 {
			w.Ndots = 1 + c.random.IntN(4)
		}
		w.Names = c.habit(w.Namespace, namespaces, services)
		c.Workloads = append(c.Workloads, w)
	}
	return c
}

// nodes is how many nodes there are.
const nodes = 5

// trap is a name with a dot that the nodes' search domain answers, and the outside
// too.
const trap = "wiki.test"

// habit draws the names of a workload.
func (c *Cluster) habit(own string, namespaces, services []string) []string {
	var names []string
	pick := func(from []string) string { return from[c.random.IntN(len(from))] }
	kinds := 1 + c.random.IntN(4)
	for range kinds {
		service, namespace := pick(services), pick(namespaces)
		switch c.random.IntN(12) {
		case 0, 1, 2:
			for range 1 + c.random.IntN(6) {
				names = append(names, pick(externals()))
			}
		case 3:
			names = append(names, service)
		case 4:
			names = append(names, service+"."+namespace)
		case 5:
			names = append(names, service+"."+namespace+".svc")
		case 6:
			names = append(names, service+"."+namespace+".svc."+ClusterDomain)
		case 7:
			names = append(names, service+"."+namespace+".svc."+ClusterDomain+".")
		case 8:
			names = append(names, pick(externals())+".")
		case 9:
			names = append(names, pick([]string{"gone", "gone." + namespace, "gone." + namespace + ".svc", "nowhere.invalid", "typo.example.test"}))
		case 10:
			names = append(names, pick([]string{"wiki", "wiki." + NodeSearch, trap}))
		case 11:
			names = append(names, "db-0.db", "db-0.db."+own+".svc")
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	c.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names
}

// Outcome is what the nameserver answers. A third of the names that exist, by the
// length of the name, have no IPv6 address.
func (c *Cluster) Outcome(_ int, name string, t resolver.RRType) resolver.Outcome {
	if c.exists[name] || c.options.Wildcard && strings.HasSuffix(name, "."+NodeSearch) {
		if t == resolver.AAAA && len(name)%3 == 0 {
			return resolver.NoData
		}
		return resolver.Answer
	}
	return resolver.NXDomain
}

// Zone is what the nameserver answers to a workload. For one that asks for one type
// only, the other type has the same outcome.
func (c *Cluster) Zone(w *Workload) resolver.Zone {
	return func(server int, name string, t resolver.RRType) resolver.Outcome {
		if w.Only != 0 {
			t = w.Only // the other one is not asked for, so it decides nothing
		}
		return c.Outcome(server, name, t)
	}
}

// ResolvConf is a workload's.
func (c *Cluster) ResolvConf(w *Workload) resolver.ResolvConf {
	dns := resolver.PodDNS{Namespace: w.Namespace}
	if w.Ndots > 0 {
		dns.Config = &resolver.DNSConfig{Options: []resolver.Option{{Name: "ndots", Value: new(fmt.Sprint(w.Ndots))}}}
	}
	conf, _ := c.Node.ResolvConf(dns)
	return conf
}

// Pods are the workloads' pods.
func (c *Cluster) Pods() []advisor.Pod {
	var pods []advisor.Pod
	for i := range c.Workloads {
		w := &c.Workloads[i]
		const hash = "abc12"
		p := advisor.Pod{Metadata: advisor.Metadata{PodMetadata: policy.PodMetadata{
			Namespace: w.Namespace, Name: w.Name + "-" + hash + "-x", Labels: map[string]string{"pod-template-hash": hash},
			OwnerReferences: []policy.OwnerReference{{Kind: "ReplicaSet", Name: w.Name + "-" + hash, Controller: true}},
		}}}
		p.Spec.Containers = []advisor.Container{{ContainerImage: policy.ContainerImage{Image: w.Image}}}
		if w.Ndots > 0 {
			p.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new(fmt.Sprint(w.Ndots))}}}
			// As Shorthop would have set it.
			p.Metadata.Annotations = map[string]string{policy.AnnotationInjected: `{"added":{"options":["ndots"]}}`}
		}
		p.Status.Phase, p.Status.PodIP, p.Status.HostIP = "Running", w.Address, w.Node
		pods = append(pods, p)
	}
	return pods
}

// Lookup is a lookup that was made.
type Lookup struct {
	Workload int
	Name     string
}

// Write writes the log of all lookups, each workload's spread over an hour, and
// returns them.
func (c *Cluster) Write(out io.Writer) ([]Lookup, error) {
	w := bufio.NewWriterSize(out, 1<<16)
	var made []Lookup
	lines := &lineWriter{w: w, c: c, at: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), kept: make(map[question]time.Time)}
	for range c.options.Lookups {
		for i := range c.Workloads {
			workload := &c.Workloads[i]
			name := workload.Names[c.zipf(len(workload.Names))]
			made = append(made, Lookup{i, name})
			lines.lookup(workload, name)
		}
		lines.at = lines.at.Add(time.Hour / time.Duration(c.options.Lookups))
	}
	return made, w.Flush()
}

// zipf draws an index: the second is half as likely as the first, and so on.
func (c *Cluster) zipf(n int) int {
	total := 0.0
	for i := range n {
		total += 1 / float64(i+1)
	}
	draw := c.random.Float64() * total
	for i := range n {
		if draw -= 1 / float64(i+1); draw < 0 {
			return i
		}
	}
	return n - 1
}

type lineWriter struct {
	w  *bufio.Writer
	c  *Cluster
	at time.Time
	// kept says until when the caches have an answer.
	kept map[question]time.Time
}

// question is what a node's cache keeps the answer to.
type question struct {
	node, name string
	rrtype     resolver.RRType
}

// lookup writes the lines of one lookup. A packet is lost on its way there, which
// leaves no line, or on its way back.
func (l *lineWriter) lookup(w *Workload, name string) {
	random := l.c.random
	result := resolver.Client{Resolver: w.Resolver, ResolvConf: l.c.ResolvConf(w), Hostname: "pod"}.Lookup(name, l.c.Zone(w))
	port := 1024 + random.IntN(64000)
	for i := range result.Queries {
		q := &result.Queries[i]
		if w.Only != 0 && q.Type != w.Only {
			continue
		}
		if w.Resolver == resolver.Go || i > 0 && q.Name != result.Queries[i-1].Name {
			port = 1024 + random.IntN(64000)
		}
		id := random.IntN(1 << 16)
		for random.IntN(1000) < l.c.options.Loss {
			if random.IntN(2) == 0 {
				l.line(w, q, port, id)
			}
			if w.Resolver == resolver.Go {
				port, id = 1024+random.IntN(64000), random.IntN(1<<16)
			}
		}
		l.line(w, q, port, id)
	}
}

func (l *lineWriter) line(w *Workload, q *resolver.Query, port, id int) {
	code, flags, ttl := "NXDOMAIN", "qr,aa,rd", negativeTTL
	switch l.c.Outcome(0, q.Name, q.Type) {
	case resolver.Answer:
		code, ttl = "NOERROR", positiveTTL
	case resolver.NoData:
		code = "NOERROR"
	case resolver.ServFail:
		code, flags = "SERVFAIL", "qr,rd"
	case resolver.NXDomain, resolver.Timeout:
	}
	client := w.Address
	if l.c.options.Upstream {
		asked := question{w.Node, q.Name, q.Type}
		if l.at.Before(l.kept[asked]) {
			return
		}
		l.kept[asked] = l.at.Add(ttl)
		client = w.Node
	}
	if l.c.options.Timestamps {
		fmt.Fprintf(l.w, "%s ", l.at.Format(time.RFC3339Nano))
	}
	fmt.Fprintf(l.w, "[INFO] %s:%d - %d \"%s IN %s. udp %d false 512\" %s %s 149 0.000102s\n",
		client, port, id, q.Type, strings.ToLower(q.Name), len(q.Name)+18, code, flags)
}

// Names are all names that exist, sorted.
func (c *Cluster) Names() []string { return slices.Sorted(maps.Keys(c.exists)) }
