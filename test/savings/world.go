package savings

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

const (
	clusterDomain = "cluster.local"
	clusterDNS    = "10.96.0.10"
	// workloadsOfMix, each container of which makes lookupsOfContainer in a month,
	// times the workload's volume.
	workloadsOfMix     = 300
	lookupsOfContainer = 200
)

// imageKind is what is in an image: what `kubectl shorthop resolvers` says of it,
// and the resolver that the program in it really has.
type imageKind struct {
	says    policy.Resolver
	beside  []policy.ResolverBeside
	client  resolver.Resolver
	library resolver.Resolver // of a Go program with cgo
}

var imageKinds = map[string]imageKind{
	"glibc":       {says: policy.ResolverGlibc, client: resolver.Glibc},
	"musl":        {says: policy.ResolverMusl, client: resolver.Musl},
	"go":          {says: policy.ResolverGo, client: resolver.Go},
	"go in glibc": {says: policy.ResolverGlibc, client: resolver.Go},
	"go in musl":  {says: policy.ResolverMusl, client: resolver.Go},
	"go with cgo": {says: policy.ResolverGlibc, beside: []policy.ResolverBeside{policy.BesideGoCgo}, client: resolver.Go, library: resolver.Glibc},
	"c-ares":      {says: policy.ResolverGlibc, client: resolver.CAres},
}

// The cluster's names. data is a namespace with a headless Service, and is a name
// outside in the second judgement.
var (
	namespaces = []string{"shop", "data", "backend", "infra", "team-a"}
	services   = []string{"web", "api", "cache", "db", "queue", "auth"}
	headless   = []string{"kafka-brokers", "pg"}
)

const publicNamespace = "data"

// forms draw a name as it is written, and as it exists; the latter is empty for
// names that nobody has.
var forms = map[string]func(r *rand.Rand, own string) (written, exists string){
	"external, 1 dot": func(r *rand.Rand, _ string) (string, string) { return outside(r, "") },
	"external, 2 dots": func(r *rand.Rand, _ string) (string, string) {
		return outside(r, pick(r, "api.", "www.", "hooks.", "login."))
	},
	"external, 3 dots": func(r *rand.Rand, _ string) (string, string) { return outside(r, "s3.eu-central-1.") },
	"external, 4 dots and more": func(r *rand.Rand, _ string) (string, string) {
		return outside(r, pick(r, "db.c1a2.eu-central-1.", "q.sqs.eu-central-1.", "a.b.c.eu-central-1."))
	},
	"external with a dot": func(r *rand.Rand, _ string) (string, string) {
		name, _ := outside(r, "api.")
		return name + ".", name
	},
	"external, nowhere": func(r *rand.Rand, _ string) (string, string) {
		name, _ := outside(r, "gone.")
		return name, ""
	},
	"service": func(r *rand.Rand, own string) (string, string) {
		s := pick(r, services...)
		return s, service(s, own)
	},
	"service.namespace": func(r *rand.Rand, _ string) (string, string) {
		s, n := pick(r, services...), pick(r, namespaces...)
		return s + "." + n, service(s, n)
	},
	"service.namespace.svc": func(r *rand.Rand, _ string) (string, string) {
		s, n := pick(r, services...), pick(r, namespaces...)
		return s + "." + n + ".svc", service(s, n)
	},
	"service, full name": func(r *rand.Rand, _ string) (string, string) {
		name := service(pick(r, services...), pick(r, namespaces...))
		return name, name
	},
	"service, full name with a dot": func(r *rand.Rand, _ string) (string, string) {
		name := service(pick(r, services...), pick(r, namespaces...))
		return name + ".", name
	},
	"pod.service": func(r *rand.Rand, own string) (string, string) {
		p := pod(r)
		return p, service(p, own)
	},
	"pod.service.namespace": func(r *rand.Rand, _ string) (string, string) {
		p, n := pod(r), pick(r, publicNamespace, "backend")
		return p + "." + n, service(p, n)
	},
	"pod.service.namespace.svc": func(r *rand.Rand, _ string) (string, string) {
		p, n := pod(r), pick(r, publicNamespace, "backend")
		return p + "." + n + ".svc", service(p, n)
	},
}

func outside(r *rand.Rand, prefix string) (written, exists string) {
	name := fmt.Sprintf("%svendor-%d.com", prefix, r.IntN(400))
	return name, name
}

func service(name, namespace string) string { return name + "." + namespace + ".svc." + clusterDomain }

func pod(r *rand.Rand) string {
	s := pick(r, headless...)
	return fmt.Sprintf("%s-%d.%s", s, r.IntN(3), s)
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// use is a name that a container looks up, and how often in a month.
type use struct {
	name  string
	times int64
}

type container struct {
	kind      string
	reference string
	unread    bool
	names     []use
}

// workload has one pod.
type workload struct {
	namespace, name string
	containers      []container
	ownNdots        bool
	envFrom         bool
	// volume multiplies its lookups where they are counted.
	volume int64
}

// world is a mix in two months.
type world struct {
	mix       *Mix
	node      resolver.Node
	now, next []workload
	exist     map[string]bool
	// seen are the references of now.
	seen map[string]bool
}

func newWorld(mix *Mix, seed uint64) *world {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(mix.Name)) // never fails
	r := rand.New(rand.NewPCG(seed, hash.Sum64()))
	w := &world{mix: mix, exist: map[string]bool{}, seen: map[string]bool{}, node: resolver.Node{
		ClusterDNS: []string{clusterDNS}, ClusterDomain: clusterDomain, Host: resolver.ResolvConf{Searches: mix.NodeSearches},
	}}
	for i := range workloadsOfMix {
		w.now = append(w.now, w.draw(r, i))
	}
	for i := range w.now {
		for _, c := range w.now[i].containers {
			w.seen[c.reference] = true
		}
		w.next = append(w.next, w.later(r, &w.now[i]))
	}
	return w
}

func happens(r *rand.Rand, shares []Share, kind string) bool {
	return r.IntN(100) < percentOf(shares, kind)
}

// drawn is a kind, by the shares.
func drawn(r *rand.Rand, shares []Share) string {
	n := r.IntN(100)
	for _, s := range shares {
		if n -= s.Percent; n < 0 {
			return s.Kind
		}
	}
	return shares[len(shares)-1].Kind
}

func (w *world) draw(r *rand.Rand, i int) workload {
	l := workload{
		namespace: pick(r, namespaces...), name: fmt.Sprintf("app-%d", i), volume: 1 << r.IntN(5),
		ownNdots: happens(r, w.mix.Pods, podOwnNdots), envFrom: happens(r, w.mix.Pods, podEnvFrom),
	}
	l.containers = append(l.containers, w.container(r, &l, 2+r.IntN(7)))
	if happens(r, w.mix.Pods, podSidecar) {
		l.containers = append(l.containers, w.container(r, &l, 1+r.IntN(2)))
	}
	return l
}

func (w *world) container(r *rand.Rand, l *workload, names int) container {
	c := container{
		kind: drawn(r, w.mix.Images), unread: happens(r, w.mix.Pods, podUnread),
		reference: fmt.Sprintf("registry.example.com/%s/%s-%d:1", l.namespace, l.name, len(l.containers)),
	}
	sum := 0.0
	for rank := range names {
		sum += 1 / float64(rank+1)
	}
	for rank := range names { // the second name half as often as the first, and so on
		w.addName(r, &c, l.namespace, int64(lookupsOfContainer/sum/float64(rank+1)))
	}
	return c
}

func (w *world) addName(r *rand.Rand, c *container, namespace string, times int64) {
	name, exists := forms[drawn(r, w.mix.Names)](r, namespace)
	if exists != "" {
		w.exist[exists] = true
	}
	if !slices.ContainsFunc(c.names, func(u use) bool { return u.name == name }) {
		c.names = append(c.names, use{name, max(times, 1)})
	}
}

// later is the workload in the next month.
func (w *world) later(r *rand.Rand, now *workload) workload {
	l := *now
	l.containers = slices.Clone(now.containers)
	for i := range l.containers {
		c := &l.containers[i]
		c.names = slices.Clone(c.names)
		if happens(r, w.mix.NextMonth, nextNames) {
			w.addName(r, c, l.namespace, c.names[0].times/4)
		}
		newBase := happens(r, w.mix.NextMonth, nextBase)
		if newBase || happens(r, w.mix.NextMonth, nextTag) {
			c.reference = strings.TrimSuffix(c.reference, ":1") + ":2"
		}
		if newBase {
			c.kind = drawn(r, w.mix.Images)
		}
	}
	return l
}

// zone is what the cluster DNS says. With hijacked, the outside has an address for
// every name below the public namespace.
func (w *world) zone(hijacked bool) resolver.Zone {
	return func(_ int, name string, _ resolver.RRType) resolver.Outcome {
		if w.exist[name] || hijacked && strings.HasSuffix(name, "."+publicNamespace) {
			return resolver.Answer
		}
		return resolver.NXDomain
	}
}

// pod is the workload's as its author wrote it, as a Deployment makes it.
func (l *workload) pod() policy.Pod {
	const hash = "7c9d8f6b54"
	p := policy.Pod{Metadata: policy.PodMetadata{
		Namespace: l.namespace, Name: l.name + "-" + hash + "-x2x4x", Labels: map[string]string{"pod-template-hash": hash},
		OwnerReferences: []policy.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: l.name + "-" + hash, Controller: true}},
	}}
	p.Spec.DNSPolicy = "ClusterFirst"
	for i, c := range l.containers {
		p.Spec.Containers = append(p.Spec.Containers, policy.Container{Name: fmt.Sprintf("c%d", i), Image: c.reference, EnvFrom: policy.Named(l.envFrom)})
	}
	if l.ownNdots {
		p.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new("2")}}}
	}
	return p
}

// known is what the policy is told of the images of a month.
func known(workloads []workload) []policy.ImageResolver {
	var entries []policy.ImageResolver
	for i := range workloads {
		for _, c := range workloads[i].containers {
			if kind := imageKinds[c.kind]; !c.unread {
				entries = append(entries, policy.ImageResolver{Images: []string{c.reference}, Resolver: kind.says, Beside: kind.beside})
			}
		}
	}
	return entries
}
