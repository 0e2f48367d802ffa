// Package gates finds out whether what pods would be pointed at works: the API
// server's hosts by TLS handshakes, node-local caches by the status of their
// DaemonSets. pkg/policy/gate.go has what a closed gate means for a pod.
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
)

// Kinds returns the closed list.
func Kinds() []Kind { return []Kind{KindServiceHost, KindNodeLocal} }

// patience bounds how long Prepare waits for first answers. It delays the
// start of a server, and the reload of a policy that names something new.
const patience = 3 * time.Second

// Recorder learns which gates are open.
type Recorder interface {
	// GateOpen says whether all gates of a kind are open, as they are where
	// there are none.
	GateOpen(kind Kind, open bool)
}

// Options holds what a Set needs. All fields are required.
type Options struct {
	// Client reads DaemonSets.
	Client dynamic.Interface
	// Roots returns the CA that API servers are verified against. It is asked
	// before every probe, as the file it comes from may be replaced.
	Roots    func() (*x509.CertPool, error)
	Recorder Recorder
	Log      logr.Logger
}

// Status is a gate as people want to see it.
type Status struct {
	Gate Kind `json:"gate"`
	// Target is host:port, or namespace/name of the DaemonSet.
	Target string `json:"target"`
	// MaxUnavailable is the limit of a DaemonSet's gate.
	MaxUnavailable string `json:"maxUnavailable,omitzero"`
	Open           bool   `json:"open"`
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

	mu       sync.Mutex
	policies []*policy.Compiled // in force, and about to be
	hosts    map[policy.Endpoint]*host
	sets     map[string]*daemonSet
	caches   map[policy.Cache]*gate
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
	s := &Set{
		Options: o,
		hosts:   map[policy.Endpoint]*host{},
		sets:    map[string]*daemonSet{},
		caches:  map[policy.Cache]*gate{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.current.Store(&policy.Gates{})
	return s
}

// Current returns the gates as they are. It takes no lock.
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
// The gates of the policy in force stay. inForce takes away those that the new
// policy does not need, and must be called once it is in force.
func (s *Set) Prepare(ctx context.Context, compiled *policy.Compiled) (inForce func()) {
	s.mu.Lock()
	s.policies = append(s.policies, compiled)
	var answers []<-chan struct{}
	for _, probe := range compiled.HostProbes() {
		answers = append(answers, s.watchHost(probe))
	}
	for _, cache := range compiled.Caches() {
		answers = append(answers, s.watchDaemonSet(cache.DaemonSet))
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
	return func() { s.keep(compiled) }
}

// keep ends everything that is not needed by the policy, nor by one that has
// been prepared after it.
func (s *Set) keep(compiled *policy.Compiled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.policies, compiled)
	if at < 0 {
		return // a later one came into force first
	}
	s.policies = s.policies[at:]
	endpoints, names := map[policy.Endpoint]bool{}, map[string]bool{}
	for _, compiled := range s.policies {
		for _, probe := range compiled.HostProbes() {
			endpoints[probe.Endpoint] = true
			s.hosts[probe.Endpoint].adjust(probe)
		}
		for _, cache := range compiled.Caches() {
			names[cache.DaemonSet] = true
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
	s.publish()
}

// begin runs something until the context that it returns the cancel function
// of ends, or the Set does.
func (s *Set) begin(run func(context.Context)) context.CancelFunc {
	ctx, cancel := context.WithCancel(s.life)
	s.active.Go(func() { run(ctx) })
	return cancel
}

// publish works out the gates anew: for reviews those of all policies, for the
// metrics those of the one in force. s.mu is held.
func (s *Set) publish() {
	next := &policy.Gates{ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}}
	for endpoint, h := range s.hosts {
		next.ServiceHosts[endpoint] = h.open
	}
	caches := map[policy.Cache]*gate{}
	for _, compiled := range s.policies {
		for _, cache := range compiled.Caches() {
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
	s.current.Store(next)

	if len(s.policies) == 0 {
		return
	}
	hosts, locals := true, true
	for _, probe := range s.policies[0].HostProbes() {
		hosts = hosts && next.ServiceHosts[probe.Endpoint]
	}
	for _, cache := range s.policies[0].Caches() {
		locals = locals && next.Caches[cache]
	}
	s.Recorder.GateOpen(KindServiceHost, hosts)
	s.Recorder.GateOpen(KindNodeLocal, locals)
}

// notYet is the error of a gate before its first answer.
const notYet = "not known yet"

// turn opens or closes a gate, and logs a change and the first answer.
func (s *Set) turn(g *gate, open bool, problem string, kind Kind, target string) {
	changed := open != g.open
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
	compiled := s.policies[0]
	for _, probe := range compiled.HostProbes() {
		h := s.hosts[probe.Endpoint]
		statuses = append(statuses, h.status(KindServiceHost, net.JoinHostPort(probe.Host, probe.Port)))
	}
	for _, cache := range compiled.Caches() {
		status := s.caches[cache].status(KindNodeLocal, cache.DaemonSet)
		status.MaxUnavailable = cache.MaxUnavailable.String()
		statuses = append(statuses, status)
	}
	return statuses
}

func (g *gate) status(kind Kind, target string) Status {
	return Status{Gate: kind, Target: target, Open: g.open, Since: g.since.UTC(), LastError: g.lastError}
}
