package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// phase is a run under load while one thing changes again and again, or several in turn.
type phase struct {
	name string
	// counts are of reviews, or of pods created.
	counts *tally
	// connections is how many were opened to the webhook, refused how many found no server, changes how many were made.
	connections, refused, changes int
	took                          time.Duration
}

// progressInterval is how often a run says that it goes on.
const progressInterval = 30 * time.Second

// lossless sends reviews during each change.
func (s *site) lossless(ctx context.Context, r *results) error {
	for _, c := range changes {
		counts := &tally{}
		s.generator.counts.Store(counts)
		_, stop := s.generator.start(ctx, s.options.rate)
		p, err := s.underLoad(ctx, s.options.phase, counts, c)
		stop()
		if err != nil {
			return err
		}
		p.name = c.name
		r.Lossless = append(r.Lossless, p)
		step("%s: %s", p.name, counts)
	}
	r.Rate = s.options.rate
	return nil
}

// creations creates pods during all changes in turn.
func (s *site) creations(ctx context.Context, r *results) error {
	counts := &tally{}
	s.creator.counts.Store(counts)
	_, stop := s.creator.start(ctx, s.options.podRate)
	p, err := s.underLoad(ctx, s.options.phase, counts, changes...)
	stop()
	if err != nil {
		return err
	}
	p.name = "all three in turn"
	if counts.missed() > 0 {
		if err := s.explainMissed(counts); err != nil {
			return err
		}
	}
	r.Creations, r.PodRate = p, s.options.podRate
	step("creating pods: %s", counts)
	return nil
}

// underLoad makes changes, in turn, until the time is over.
func (s *site) underLoad(ctx context.Context, lasting time.Duration, counts *tally, of ...change) (*phase, error) {
	p := &phase{counts: counts}
	began, connections, refused := time.Now(), s.balancer.Accepted(), s.balancer.Refused()
	said := began
	for p.changes == 0 || time.Since(began) < lasting {
		c := of[p.changes%len(of)]
		if p.changes < len(of) || time.Since(said) > progressInterval {
			step("%s, since %s: %s", c.name, time.Since(began).Round(time.Second), counts)
			said = time.Now()
		}
		if err := c.do(s, ctx); err != nil {
			return nil, err
		}
		p.changes++
		if examples := counts.examples(); len(examples) > 0 {
			step("%s: %s, %d connections refused; %s", c.name, counts, s.balancer.Refused()-refused, strings.Join(examples, "; "))
		}
	}
	p.took, p.connections, p.refused = time.Since(began), s.balancer.Accepted()-connections, s.balancer.Refused()-refused
	return p, nil
}

// explainMissed adds why the API server created pods without us, which it tells nobody but its log.
func (s *site) explainMissed(counts *tally) error {
	log, err := os.ReadFile(filepath.Join(filepath.Dir(s.cluster.Kubeconfig()), "kube-apiserver.log"))
	if err != nil {
		return fmt.Errorf("reading the API server's log: %w", err)
	}
	for line := range strings.Lines(string(log)) {
		if _, reason, found := strings.Cut(line, "failed to call webhook: "); found && strings.Contains(line, "failing open") {
			counts.problems["in the API server's log: "+generalized(strings.TrimSpace(reason))]++
		}
	}
	return nil
}
