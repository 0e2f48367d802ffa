package loggen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// World is a small cluster with everything that makes a log hard to judge: pods that
// start in the middle, names that are looked up at a start only, names that are not
// ready, node domains that differ, names that exist twice, and a mesh that answers
// names of the cluster itself. What its log has is known line by line, so that it can
// be damaged as people and programs do.
type World struct {
	Domain    string
	Begin     time.Time
	Length    time.Duration
	Workloads []WorldWorkload
	Lines     []Line
	// NodeDomains are the nodes' own search domains, by node.
	NodeDomains [][]string
	// Namespaces are all, those without pods too.
	Namespaces []string
	servers    int
	perNode    bool // each node has a server of its own
	now, later map[string]bool
	random     *rand.Rand
}

// WorldWorkload is a workload of a World.
type WorldWorkload struct {
	Namespace, Name string
	Resolver        resolver.Resolver
	// Known tells that the policy says which resolver it has.
	Known    bool
	Ndots    int
	Captured bool
	// Always are looked up again and again, Once at the start of each pod.
	Always, Once []string
	Pods         []WorldPod
}

// WorldPod is a pod of a World.
type WorldPod struct {
	Address string
	Node    int
	Created time.Time
}

// Line is a line of the log with what is known of it.
type Line struct {
	At        time.Time
	Server    int
	Client    string
	Name      string
	Code      string
	Text      string // without a timestamp
	InCluster bool
}

// NewWorld draws a world.
func NewWorld(seed uint64) *World {
	random := rand.New(rand.NewPCG(seed, 3))
	w := &World{
		Domain: ClusterDomain, Begin: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), Length: time.Duration(90+random.IntN(150)) * time.Minute,
		servers: 1 + random.IntN(2), perNode: random.IntN(2) == 0, now: make(map[string]bool), later: make(map[string]bool), random: random,
	}
	if random.IntN(8) == 0 {
		w.Domain = "k8s.corp.example"
	}
	w.nodeDomains()
	namespaces := pickSome(random, 3, "shop", "backend", "app", "dev", "data", "team-a", "stage")
	w.Namespaces = namespaces
	w.exist(namespaces)
	mesh := random.IntN(6) == 0
	for i := range 2 + random.IntN(4) {
		w.Workloads = append(w.Workloads, w.workload(i, namespaces, mesh && random.IntN(2) == 0))
	}
	for i := range w.Workloads {
		w.live(&w.Workloads[i])
	}
	slices.SortStableFunc(w.Lines, func(a, b Line) int { return a.At.Compare(b.At) })
	return w
}

func (w *World) nodeDomains() {
	const nodes = 4
	kind := w.random.IntN(4)
	for node := range nodes {
		var domains []string
		switch kind {
		case 1:
			domains = []string{NodeSearch}
		case 2:
			domains = []string{"eu.example.net", NodeSearch}
		case 3:
			domains = []string{fmt.Sprintf("zone-%c.c.project.internal", 'a'+node%3), "c.project.internal", "google.internal"}
		}
		w.NodeDomains = append(w.NodeDomains, domains)
	}
}

// exist decides which names there are. later has those that are not ready too.
func (w *World) exist(namespaces []string) {
	for _, namespace := range namespaces {
		for _, service := range []string{"web", "api", "cache", "db"} {
			w.now[service+"."+namespace+".svc."+w.Domain] = w.random.IntN(5) > 0
			w.later[service+"."+namespace+".svc."+w.Domain] = true
		}
		for pod := range 3 {
			name := fmt.Sprintf("db-%d.db.%s.svc.%s", pod, namespace, w.Domain)
			w.now[name], w.later[name] = w.random.IntN(2) > 0, true
		}
	}
	outside := append(externals(), "github.com", "wiki."+NodeSearch, trap+"."+NodeSearch, trap, "host.eu.example.net")
	if w.random.IntN(2) == 0 {
		outside = append(outside, "api.app", "web.dev") // somebody has these names outside
	}
	for _, name := range outside {
		w.now[name], w.later[name] = true, true
	}
}

func pickSome(random *rand.Rand, n int, from ...string) []string {
	random.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:n]
}

func (w *World) workload(number int, namespaces []string, captured bool) WorldWorkload {
	resolvers := resolver.Resolvers()
	load := WorldWorkload{
		Namespace: namespaces[w.random.IntN(len(namespaces))], Name: fmt.Sprintf("load-%d", number),
		Resolver: resolvers[w.random.IntN(len(resolvers))], Known: w.random.IntN(3) > 0, Ndots: 5, Captured: captured,
	}
	if w.random.IntN(5) == 0 {
		load.Ndots = 2 + w.random.IntN(3)
	}
	for range 1 + w.random.IntN(4) {
		load.Always = append(load.Always, w.name(load.Namespace, namespaces))
	}
	if w.random.IntN(3) > 0 { // something to save
		load.Always = append(load.Always, externals()[w.random.IntN(len(externals()))])
	}
	for range w.random.IntN(3) {
		load.Once = append(load.Once, w.name(load.Namespace, namespaces))
	}
	for pod := range 1 + w.random.IntN(3) {
		p := WorldPod{Address: fmt.Sprintf("10.0.%d.%d", number, pod+1), Node: w.random.IntN(len(w.NodeDomains)), Created: w.Begin.Add(-24 * time.Hour)}
		if w.random.IntN(2) == 0 {
			p.Created = w.Begin.Add(time.Duration(w.random.Int64N(int64(w.Length))).Truncate(time.Second))
		}
		load.Pods = append(load.Pods, p)
	}
	return load
}

// name draws a name as an application has it in its settings.
func (w *World) name(own string, namespaces []string) string {
	pick := func(from ...string) string { return from[w.random.IntN(len(from))] }
	service, namespace := pick("web", "api", "cache", "db"), pick(namespaces...)
	pod := fmt.Sprintf("db-%d.db", w.random.IntN(3))
	switch w.random.IntN(12) {
	case 0:
		return service
	case 1:
		return service + "." + namespace
	case 2:
		return service + "." + namespace + ".svc"
	case 3:
		return service + "." + namespace + ".svc." + w.Domain
	case 4:
		return pod
	case 5:
		return pod + "." + namespace
	case 6:
		return pod + "." + own + ".svc"
	case 7:
		return pick("github.com", "example.com", "old.example.org", "www.gone.example.com")
	case 8:
		return pick("wiki", "wiki."+NodeSearch, "host")
	case 9:
		return pick(externals()...) + "."
	}
	return pick(externals()...)
}

// Outcome is what a nameserver says, later once all Services are ready.
func (w *World) Outcome(ready bool) resolver.Zone {
	exists := w.now
	if ready {
		exists = w.later
	}
	return func(_ int, name string, t resolver.RRType) resolver.Outcome {
		if !exists[strings.ToLower(name)] {
			return resolver.NXDomain
		}
		if t == resolver.AAAA && len(name)%2 == 0 {
			return resolver.NoData
		}
		return resolver.Answer
	}
}

// ResolvConf is that of a pod.
func (w *World) ResolvConf(load *WorldWorkload, node int) resolver.ResolvConf {
	dns := resolver.PodDNS{Namespace: load.Namespace}
	if load.Ndots != 5 {
		dns.Config = &resolver.DNSConfig{Options: []resolver.Option{{Name: "ndots", Value: new(fmt.Sprint(load.Ndots))}}}
	}
	conf, _ := resolver.Node{ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: w.Domain, Host: resolver.ResolvConf{Searches: w.NodeDomains[node]}}.ResolvConf(dns)
	return conf
}

// live writes what a workload's pods ask.
func (w *World) live(load *WorldWorkload) {
	end := w.Begin.Add(w.Length)
	for i := range load.Pods {
		p := &load.Pods[i]
		at := w.Begin
		if p.Created.After(at) {
			at = p.Created.Add(time.Duration(1+w.random.IntN(20)) * time.Second)
			for _, name := range load.Once {
				w.lookup(load, p, name, at)
				at = at.Add(time.Duration(w.random.IntN(5)) * time.Second)
			}
		}
		for at.Before(end) {
			w.lookup(load, p, load.Always[w.random.IntN(len(load.Always))], at)
			at = at.Add(time.Duration(15+w.random.IntN(60)) * time.Second)
		}
	}
}

func (w *World) lookup(load *WorldWorkload, p *WorldPod, name string, at time.Time) {
	zone := w.Outcome(false)
	found := resolver.Client{Resolver: load.Resolver, ResolvConf: w.ResolvConf(load, p.Node), Hostname: "pod"}.Lookup(name, zone)
	server := p.Node % w.servers
	port := 0
	for i := range found.Queries {
		q := &found.Queries[i]
		if i == 0 || q.Name != found.Queries[i-1].Name { // from another port, which may be sent to another server
			port = 1024 + w.random.IntN(64000)
			if !w.perNode {
				server = w.random.IntN(w.servers)
			}
		}
		asked := strings.ToLower(q.Name)
		code, flags := "NXDOMAIN", "qr,aa,rd"
		if outcome := zone(0, asked, q.Type); outcome == resolver.Answer || outcome == resolver.NoData {
			code = "NOERROR"
		}
		if inCluster := strings.HasSuffix(asked, "."+w.Domain); !inCluster || !load.Captured || code == "NXDOMAIN" && !w.later[asked] {
			w.Lines = append(w.Lines, Line{
				At: at, Server: server, Client: p.Address, Name: asked, Code: code, InCluster: inCluster,
				Text: fmt.Sprintf("[INFO] %s:%d - %d \"%s IN %s. udp %d false 512\" %s %s %d 0.%06ds",
					p.Address, port, w.random.IntN(1<<16), q.Type, asked, len(asked)+18, code, flags, 60+len(asked), w.random.IntN(1_000_000)),
			})
		}
	}
}

// Servers is how many wrote the log.
func (w *World) Servers() int { return w.servers }

// Pods are those of the world, as a list has them at its end.
func (w *World) Pods() []advisor.Pod {
	var pods []advisor.Pod
	for i := range w.Workloads {
		load := &w.Workloads[i]
		for n := range load.Pods {
			const hash = "abc12"
			p := advisor.Pod{Metadata: advisor.Metadata{CreationTimestamp: load.Pods[n].Created, PodMetadata: policy.PodMetadata{
				Namespace: load.Namespace, Name: fmt.Sprintf("%s-%s-%d", load.Name, hash, n), Labels: map[string]string{"pod-template-hash": hash},
				OwnerReferences: []policy.OwnerReference{{Kind: "ReplicaSet", Name: load.Name + "-" + hash, Controller: true}},
			}}}
			image := imagePrefix + "unknown:1"
			if load.Known {
				image = imagePrefix + string(load.Resolver) + ":1"
			}
			p.Spec.Containers = []advisor.Container{{ContainerImage: policy.ContainerImage{Image: image}}}
			p.Metadata.Annotations = map[string]string{}
			if load.Ndots != 5 {
				p.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new(fmt.Sprint(load.Ndots))}}}
				p.Metadata.Annotations[policy.AnnotationInjected] = `{"added":{"options":["ndots"]}}`
			}
			if load.Captured {
				p.Metadata.Annotations["ambient.istio.io/redirection"] = "enabled"
			}
			p.Status.Phase, p.Status.PodIP, p.Status.HostIP = "Running", load.Pods[n].Address, fmt.Sprintf("192.168.0.%d", load.Pods[n].Node+1)
			pods = append(pods, p)
		}
	}
	return pods
}

// KnownResolverOf says which resolver an image of a World contains, as far as its
// policy does.
func KnownResolverOf(image string) resolver.Resolver {
	if r := ResolverOf(image); slices.Contains(resolver.Resolvers(), r) {
		return r
	}
	return ""
}
