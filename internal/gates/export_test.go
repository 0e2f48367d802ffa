package gates

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Handshake is one probe.
func (s *Set) Handshake(ctx context.Context, e policy.Endpoint, timeout time.Duration) error {
	return s.handshake(ctx, e, timeout)
}

// AnswerAll gives the gates of all hosts the same result of a probe.
func (s *Set) AnswerAll(err error) {
	s.mu.Lock()
	hosts := slices.Collect(maps.Values(s.hosts))
	s.mu.Unlock()
	for _, h := range hosts {
		s.answer(h, err)
	}
}

// Probing is how many probes are under way.
func (s *Set) Probing() int { return len(s.probing) }

// MaxProbes are under way at once.
const MaxProbes = maxProbes

// Answers feeds a gate the results of probes, one after the other, and returns
// after each whether it is open and how long the pause is.
func (s *Set) Answers(probe policy.HostProbe, results []error) (open []bool, pauses []time.Duration) {
	h := &host{gate: gate{lastError: notYet}, probe: probe, answered: make(chan struct{})}
	for _, err := range results {
		pauses = append(pauses, s.answer(h, err))
		open = append(open, h.open)
	}
	return open, pauses
}

// AskDNSAt makes the Set ask DNS servers on another port than 53.
func (s *Set) AskDNSAt(port string) { s.dnsPort = port }

// AskUpstream is one probe.
func (s *Set) AskUpstream(ctx context.Context, servers []string, timeout time.Duration) (policy.Reason, error) {
	return s.askUpstream(ctx, servers, timeout)
}

// IsPublic asks about one name.
func (s *Set) IsPublic(ctx context.Context, name string) (public, ok bool) {
	return s.isPublic(ctx, name)
}

// Verdicts feeds a gate verdicts, one after the other, and returns what it has
// after each, whether it is open, and how long the pause is.
func (s *Set) Verdicts(probe policy.UpstreamProbe, verdicts []policy.Reason) (has []policy.Reason, open []bool, pauses []time.Duration) {
	u := &upstream{gate: gate{lastError: notYet}, reason: policy.ReasonUpstreamFails, probe: probe, answered: make(chan struct{})}
	for _, verdict := range verdicts {
		pauses = append(pauses, s.judge(u, nil, verdict, nil))
		has, open = append(has, u.reason), append(open, u.open)
	}
	return has, open, pauses
}

// PublicNames remembers what was answered about names.
type PublicNames = publicNames

// NewPublicNames remembers nothing.
func NewPublicNames() *PublicNames { return &publicNames{asked: map[string]askedName{}} }

// AskNames asks about the names that it is time for, and returns those that the outside knows.
func (s *Set) AskNames(ctx context.Context, p *PublicNames, names ...string) []string {
	return slices.Sorted(maps.Keys(s.askNames(ctx, p, names)))
}
