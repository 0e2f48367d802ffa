// Package gates finds out whether what pods would be pointed at works: the API
// server's hosts by TLS handshakes, node-local caches by the status of their
// DaemonSets, what DNS servers say of names outside the cluster by asking them.
// pkg/policy/gate.go has what a closed gate means for a pod.
//
// Each replica has gates of its own. They never affect readiness: a replica
// whose gates are closed still decides as it should.
package gates

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Kind is what a gate watches over, in the spelling of metric labels and log
// fields.
type Kind string

const (
	// KindServiceHost is a host of the API server.
	KindServiceHost Kind = "service_host"
	// KindNodeLocal is a node-local cache.
	KindNodeLocal Kind = "node_local"
	// KindUpstream is what DNS servers say of names outside the cluster.
	KindUpstream Kind = "upstream"
)

// Kinds returns the closed list.
func Kinds() []Kind { return []Kind{KindServiceHost, KindNodeLocal, KindUpstream} }

// patience bounds how long Prepare waits for first answers. For that long at most it
// delays the start of a server, and the reload of a policy that names something new.
const patience = 3 * time.Second

// Recorder learns which gates are open.
type Recorder interface {
	// GateOpen says whether all gates of a kind are open, as they are where
	// there are none.
	GateOpen(kind Kind, open bool)
	// PublicNamespaces says how many namespaces with a headless Service are names
	// that the outside knows.
	PublicNamespaces(n int)
}

// Options holds what a Set needs. All fields are required but Metadata,
// Discovered, Namespaces and CachesChanged.
type Options struct {
	// Client reads DaemonSets.
	Client dynamic.Interface
	// Metadata lists EndpointSlices. Defaults to none: Namespaces and the list of
	// top-level domains decide which namespaces the outside knows.
	Metadata metadata.Interface
	// Discovered returns what is known of the cluster's DNS. Defaults to nothing.
	Discovered func() *policy.Discovered
	// Namespaces are the names of the cluster's namespaces. Defaults to none.
	Namespaces func() []string
	// Roots returns the CA that API servers are verified against. It is asked
	// before every probe, as the file it comes from may be replaced.
	Roots    func() (*x509.CertPool, error)
	Recorder Recorder
	// CachesChanged is called when Caches returns something else.
	CachesChanged func()
	Log           logr.Logger
}

// Status is a gate as people want to see it.
type Status struct {
	Gate Kind `json:"gate"`
	// Target is host:port, or namespace/name of the DaemonSet, or the namespace
	// and the labels of several, or the DNS servers.
	Target string `json:"target"`
	// MaxUnavailable is the limit of a DaemonSet's gate.
	MaxUnavailable string `json:"maxUnavailable,omitzero"`
	// State and Reason are of a gate of kind upstream: local, forwarded or closed,
	// and why it is not local.
	State string `json:"state,omitzero"`
	// Upstream is the gate's name in policy.Gates, where it is not the cluster
	// DNS's.
	Upstream policy.Upstream `json:"upstream,omitzero"`
	Reason   policy.Reason   `json:"reason,omitzero"`
	// PublicNamespaces are those with a headless Service, or with a name like a
	// top-level domain's where Services are not known, that the outside knows.
	PublicNamespaces []string `json:"publicNamespaces,omitzero"`
	Open             bool     `json:"open"`
	// Since is when it was opened or closed.
	Since time.Time `json:"since"`
	// LastError is why it is closed, or why the last probe failed.
	LastError string `json:"lastError,omitzero"`
}

// Set holds the gates of the policy in force, and for a moment those of the
// next one.
type Set struct {
	Options
	current atomic.Pointer[policy.Gates]

	// life ends with Start's context, and with it all probes and watches.
	life   context.Context
	end    context.CancelFunc
	active sync.WaitGroup

	// probing has an entry for each probe under way.
	probing chan struct{}

	mu sync.Mutex
	// policies has the policy in force first, and then those about to be.
	policies []watched
	// due is true while publishSoon has put publish off.
	due   bool
	hosts map[policy.Endpoint]*host
	// sets are the DaemonSets of caches, by policy.Cache.DaemonSet.
	sets   map[string]*daemonSet
	caches map[policy.Cache]*gate
	// upstreams are those of all policies, public is nil until one needs it.
	upstreams map[policy.Upstream]*upstream
	public    *publicNames
	// dnsPort is the port on which DNS servers are asked: 53 but in tests.
	dnsPort string
}

// watched is a policy with the gates that it needs, worked out once.
type watched struct {
	compiled  *policy.Compiled
	probes    []policy.HostProbe
	caches    []policy.Cache
	upstreams []policy.UpstreamProbe
}

// gate is open or closed, since a time and for a reason.
type gate struct {
	open      bool
	since     time.Time
	lastError string
}

// New returns a Set in which every gate is closed until Prepare has been told
// of a policy.
func New(o Options) *Set {
	if o.Discovered == nil {
		o.Discovered = func() *policy.Discovered { return nil }
	}
	if o.Namespaces == nil {
		o.Namespaces = func() []string { return nil }
	}
	s := &Set{
		Options: o,
		probing: make(chan struct{}, maxProbes),
		hosts:   map[policy.Endpoint]*host{},
		sets:    map[string]*daemonSet{},
		caches:  map[policy.Cache]*gate{},

		upstreams: map[policy.Upstream]*upstream{},
		dnsPort:   "53",
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.current.Store(&policy.Gates{})
	return s
}

// Current returns the gates as they are, at most 20 ms late. It takes no lock.
func (s *Set) Current() *policy.Gates { return s.current.Load() }

// Start keeps the gates up to date until ctx ends. It returns nil.
func (s *Set) Start(ctx context.Context) error {
	<-ctx.Done()
	s.end()
	s.active.Wait()
	return nil
}

// Prepare begins to watch what a policy that is about to come into force needs,
// and returns as soon as all of it has answered once, at the latest after three
// seconds: otherwise the first pods under the policy would find closed gates.
// The gates of the policy in force stay. The caller must call inForce once the new
// policy is in force: it takes away the gates that only earlier policies need.
func (s *Set) Prepare(ctx context.Context, compiled *policy.Compiled) (inForce func()) {
	next := watched{compiled, compiled.HostProbes(), compiled.Caches(), compiled.UpstreamProbes()}
	s.mu.Lock()
	s.policies = append(s.policies, next)
	var answers []<-chan struct{}
	for _, probe := range next.probes {
		answers = append(answers, s.watchHost(probe))
	}
	for _, cache := range next.caches {
		answers = append(answers, s.watchDaemonSet(cache))
	}
	for _, probe := range next.upstreams {
		answers = append(answers, s.watchUpstream(probe))
	}
	if compiled.FallsThrough() {
		answers = append(answers, s.watchPublicNames())
	}
	s.publish()
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, answer := range answers {
		select {
		case <-answer:
		case <-ctx.Done():
		case <-s.life.Done():
		}
	}
	s.mu.Lock()
	s.publishIfDue()
	s.mu.Unlock()
	return func() { s.keep(compiled) }
}

// keep ends every probe and watch that neither the policy needs nor one that was
// prepared after it.
func (s *Set) keep(compiled *policy.Compiled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.policies, func(w watched) bool { return w.compiled == compiled })
	if at < 0 {
		return // a later one came into force first
	}
	s.policies = s.policies[at:]
	endpoints, names, upstreams := map[policy.Endpoint]bool{}, map[string]bool{}, map[policy.Upstream]bool{}
	for _, w := range s.policies {
		for _, probe := range w.probes {
			endpoints[probe.Endpoint] = true
			s.hosts[probe.Endpoint].adjust(probe)
		}
		for _, cache := range w.caches {
			names[cache.DaemonSet] = true
		}
		for _, probe := range w.upstreams {
			upstreams[probe.Upstream] = true
			s.upstreams[probe.Upstream].adjust(probe)
		}
	}
	for key, u := range s.upstreams {
		if !upstreams[key] {
			u.cancel()
			delete(s.upstreams, key)
		}
	}
	for endpoint, h := range s.hosts {
		if !endpoints[endpoint] {
			h.cancel()
			delete(s.hosts, endpoint)
		}
	}
	for name, d := range s.sets {
		if !names[name] {
			d.cancel()
			delete(s.sets, name)
		}
	}
	if s.public != nil && !slices.ContainsFunc(s.policies, func(w watched) bool { return w.compiled.FallsThrough() }) {
		s.public.cancel()
		s.public = nil
	}
	s.publish()
}

// begin runs a probe or a watch until the function that it returns is called, or
// the Set ends.
func (s *Set) begin(run func(context.Context)) context.CancelFunc {
	ctx, cancel := context.WithCancel(s.life)
	s.active.Go(func() { run(ctx) })
	return cancel
}

// publishPause is how long a change of a gate may wait for others before it is
// published: working out the gates takes time in proportion to their number, so it
// must not be done for each change when many hosts open or close at once.
const publishPause = 20 * time.Millisecond

// publishSoon publishes after publishPause, for an answer that changes a gate. s.mu
// is held.
func (s *Set) publishSoon() {
	if s.due {
		return
	}
	s.due = true
	time.AfterFunc(publishPause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.publishIfDue()
	})
}

// publishIfDue publishes at once where publishSoon has put that off. s.mu is held.
func (s *Set) publishIfDue() {
	if s.due {
		s.publish()
	}
}

// publish works out the gates anew. Reviews get those of all policies (Current); the
// metrics are about those of the policy in force. s.mu is held.
func (s *Set) publish() {
	s.due = false
	next := &policy.Gates{ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}}
	for endpoint, h := range s.hosts {
		next.ServiceHosts[endpoint] = h.open
	}
	caches := map[policy.Cache]*gate{}
	for _, w := range s.policies {
		for _, cache := range w.caches {
			g := s.caches[cache]
			if g == nil {
				g = &gate{since: time.Now(), lastError: notYet}
			}
			caches[cache] = g
			problem := s.sets[cache.DaemonSet].problem(cache)
			s.turn(g, problem == "", problem, KindNodeLocal, cache.DaemonSet)
			next.Caches[cache] = g.open
		}
	}
	s.caches = caches
	next.Upstreams = map[policy.Upstream]policy.Reason{}
	for key, u := range s.upstreams {
		next.Upstreams[key] = u.reason
	}
	next.PublicNamespace = s.public.any()
	s.current.Store(next)

	if len(s.policies) == 0 {
		return
	}
	hosts, locals, upstreams := true, true, true
	for _, probe := range s.policies[0].probes {
		hosts = hosts && next.ServiceHosts[probe.Endpoint]
	}
	for _, cache := range s.policies[0].caches {
		locals = locals && next.Caches[cache]
	}
	for _, probe := range s.policies[0].upstreams {
		upstreams = upstreams && s.upstreams[probe.Upstream].open
	}
	s.Recorder.GateOpen(KindUpstream, upstreams)
	s.Recorder.PublicNamespaces(len(s.public.names()))
	s.Recorder.GateOpen(KindServiceHost, hosts)
	s.Recorder.GateOpen(KindNodeLocal, locals)
}

// notYet is the error of a gate before its first answer.
const notYet = "not known yet"

// turn opens or closes a gate, logs a change and the first answer, and reports
// whether the gate changed.
func (s *Set) turn(g *gate, open bool, problem string, kind Kind, target string) (changed bool) {
	changed = open != g.open
	news := changed || g.lastError == notYet && problem != notYet
	g.lastError = problem
	if changed {
		g.open, g.since = open, time.Now()
	}
	switch {
	case !news:
	case open:
		s.Log.Info("gate is open", "gate", string(kind), "target", target)
	default:
		s.Log.Info("gate is closed", "gate", string(kind), "target", target, "error", problem)
	}
	return changed
}

// Status returns the gates of the policy in force, hosts first, in the order
// of their names.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	statuses := []Status{}
	if len(s.policies) == 0 {
		return statuses
	}
	s.publishIfDue()
	inForce := &s.policies[0]
	for _, probe := range inForce.probes {
		h := s.hosts[probe.Endpoint]
		statuses = append(statuses, h.status(KindServiceHost, net.JoinHostPort(probe.Host, probe.Port)))
	}
	for _, cache := range inForce.caches {
		status := s.caches[cache].status(KindNodeLocal, cache.DaemonSet)
		status.MaxUnavailable = cache.MaxUnavailable.String()
		statuses = append(statuses, status)
	}
	for _, probe := range inForce.upstreams {
		status := s.upstreams[probe.Upstream].describe()
		status.PublicNamespaces = s.public.names()
		statuses = append(statuses, status)
	}
	return statuses
}

func (g *gate) status(kind Kind, target string) Status {
	return Status{Gate: kind, Target: target, Open: g.open, Since: g.since.UTC(), LastError: g.lastError}
}
