package gates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	// closedInterval is the longest time between two probes of a closed gate:
	// every pod meanwhile goes the long way.
	closedInterval = 5 * time.Second
	// probeTimeout bounds a probe with a long interval.
	probeTimeout = 5 * time.Second
	// jitter is the share of an interval by which probes are moved about, so
	// that replicas do not probe in step.
	jitter = 0.1
	// maxProbes are under way at once. A policy may name thousands of hosts.
	maxProbes = 64
)

// host is an endpoint that is probed. Its fields are guarded by Set.mu.
//
//	gate     the probe    the gate
//	closed   succeeds     opens
//	closed   fails        stays closed
//	open     succeeds     stays open, failures are forgotten
//	open     fails        closes if it is the failureThreshold-th in a row
type host struct {
	gate
	probe    policy.HostProbe
	failures int
	answered chan struct{} // closed at the first answer
	changed  chan struct{} // has an entry where the interval is another
	cancel   context.CancelFunc
}

// watchHost begins to probe an endpoint unless it is being probed. The channel
// is closed at the first answer. s.mu is held.
func (s *Set) watchHost(probe policy.HostProbe) <-chan struct{} {
	if h, known := s.hosts[probe.Endpoint]; known {
		return h.answered
	}
	h := &host{
		gate:     gate{since: time.Now(), lastError: notYet},
		probe:    probe,
		answered: make(chan struct{}),
		changed:  make(chan struct{}, 1),
	}
	s.hosts[probe.Endpoint] = h
	h.cancel = s.begin(func(ctx context.Context) { s.probeHost(ctx, h) })
	return h.answered
}

// adjust takes over interval and threshold of a new policy.
func (h *host) adjust(probe policy.HostProbe) {
	if h.probe.Interval != probe.Interval {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
	h.probe = probe
}

// probeHost probes until ctx ends.
func (s *Set) probeHost(ctx context.Context, h *host) {
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case s.probing <- struct{}{}:
		}
		s.mu.Lock()
		endpoint, timeout := h.probe.Endpoint, min(probeTimeout, h.probe.Interval*4/5)
		many := len(s.hosts) > maxProbes
		s.mu.Unlock()
		err := s.handshake(ctx, endpoint, timeout)
		<-s.probing
		if ctx.Err() != nil {
			return
		}
		pause := s.answer(h, err)
		if first && many { // those that began together are spread over the interval
			pause = time.Duration(float64(pause) * rand.Float64())
		}
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
		case <-time.After(pause):
		}
	}
}

// answer notes the result of a probe and returns the time until the next.
func (s *Set) answer(h *host, err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, problem := err == nil, ""
	if err != nil {
		h.failures++
		open = h.open && h.failures < h.probe.FailureThreshold
		problem = printable.Clip(err.Error()) // it may quote what a certificate says
	} else {
		h.failures = 0
	}
	target := net.JoinHostPort(h.probe.Host, h.probe.Port)
	if open && err != nil {
		s.Log.Info("a probe failed, the gate stays open", "gate", string(KindServiceHost), "target", target,
			"failures", h.failures, "failureThreshold", h.probe.FailureThreshold, "error", problem)
	}
	if s.turn(&h.gate, open, problem, KindServiceHost, target) {
		s.publishSoon()
	}
	select {
	case <-h.answered:
	default:
		close(h.answered)
	}
	pause := h.probe.Interval
	if !h.open {
		pause = min(pause, closedInterval)
	}
	return time.Duration(float64(pause) * (1 + jitter*(2*rand.Float64()-1)))
}

// handshake asks whether the endpoint is an API server of this cluster: whether
// its certificate is valid for the host and comes from the cluster's CA. It
// ends there: no credentials are sent, and no request.
func (s *Set) handshake(ctx context.Context, e policy.Endpoint, timeout time.Duration) error {
	roots, err := s.Roots()
	if err != nil {
		return fmt.Errorf("read the cluster's CA: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: e.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(e.Host, e.Port))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if operation := new(net.OpError); errors.As(err, &operation) {
			operation.Source = nil // a port of ours, another each time
		}
		return err
	}
	_ = connection.Close() // the answer is in
	return nil
}
