package gates

import (
	"context"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Handshake is one probe.
func (s *Set) Handshake(ctx context.Context, e policy.Endpoint, timeout time.Duration) error {
	return s.handshake(ctx, e, timeout)
}

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
