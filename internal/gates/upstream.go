package gates

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// What fall-through rests on is that the servers that pods ask say NXDOMAIN
// about a name that nobody has. They are asked for A and AAAA of a name below
// "shorthop-probe.svc.", as pods ask for "web.shop.svc." before they try the
// search list. Of several answers the one that is furthest down counts:
//
//	answer                                   verdict                    state
//	NXDOMAIN, with the marker                                           local
//	NXDOMAIN                                 svc_not_local              forwarded
//	none in time                             upstream_slow              closed
//	anything else                            upstream_fails             closed
//	an address, or a name that stands for    upstream_invents_answers   closed
//	  another one
//
// The marker is the SOA of the template block that the documentation and doctor
// have: the cluster DNS answers "svc." itself then, so that no outage reaches
// pods. It comes through caches, which the flag AA does not, or comes from
// elsewhere.
//
// When the gate takes over the verdict of a probe:
//
//	the first one, or the first of other servers   at once: there is none about them yet
//	no worse than the gate's                       at once
//	upstream_invents_answers                       at once: that does not pass by itself
//	any other that is worse                        if it is the failureThreshold-th in a row

// probeNames are how many names are asked for, by turns: few enough that caches
// know them, many enough that none keeps an old answer for all.
const probeNames = 1000

// verdicts are in the order of the table.
var verdicts = []policy.Reason{
	"", policy.ReasonServiceNotLocal, policy.ReasonUpstreamSlow, policy.ReasonUpstreamFails, policy.ReasonUpstreamInventsAnswers,
}

func rank(verdict policy.Reason) int { return slices.Index(verdicts, verdict) }

// upstream is a set of DNS servers that is asked. Its fields are guarded by
// Set.mu.
type upstream struct {
	gate
	reason   policy.Reason
	probe    policy.UpstreamProbe
	asked    []string // the servers, as they were last
	failures int
	answered chan struct{} // closed at the first answer
	changed  chan struct{} // has an entry where the interval is another
	cancel   context.CancelFunc
}

// watchUpstream begins to ask servers unless they are being asked. The channel
// is closed at the first answer. s.mu is held.
func (s *Set) watchUpstream(probe policy.UpstreamProbe) <-chan struct{} {
	if u, known := s.upstreams[probe.Upstream]; known {
		return u.answered
	}
	u := &upstream{
		gate:     gate{since: time.Now(), lastError: notYet},
		reason:   policy.ReasonUpstreamFails,
		probe:    probe,
		answered: make(chan struct{}),
		changed:  make(chan struct{}, 1),
	}
	s.upstreams[probe.Upstream] = u
	u.cancel = s.begin(func(ctx context.Context) { s.probeUpstream(ctx, u) })
	return u.answered
}

// adjust takes over what a new policy says. Of other addresses nothing is known
// until they have answered.
func (u *upstream) adjust(probe policy.UpstreamProbe) {
	if !slices.Equal(u.probe.Addresses, probe.Addresses) {
		u.reason, u.lastError = policy.ReasonUpstreamFails, notYet
	}
	if u.probe.Interval != probe.Interval || !slices.Equal(u.probe.Addresses, probe.Addresses) {
		select {
		case u.changed <- struct{}{}:
		default:
		}
	}
	u.probe = probe
	u.open = u.opens()
}

// opens reports whether the verdict lets pods have fall-through.
func (u *upstream) opens() bool {
	return u.reason == "" || u.reason == policy.ReasonServiceNotLocal && !u.probe.RequireLocal
}

// probeUpstream asks until ctx ends.
func (s *Set) probeUpstream(ctx context.Context, u *upstream) {
	began := time.Now()
	for {
		s.mu.Lock()
		servers, timeout := s.serversOf(&u.probe), u.probe.Timeout
		s.mu.Unlock()
		pause := 100 * time.Millisecond // what is discovered comes soon after the start
		if len(servers) > 0 || time.Since(began) > patience {
			verdict, err := s.askUpstream(ctx, servers, timeout)
			if ctx.Err() != nil {
				return
			}
			pause = s.judge(u, servers, verdict, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-u.changed:
		case <-time.After(pause):
		}
	}
}

// serversOf are the servers that pods ask.
func (s *Set) serversOf(probe *policy.UpstreamProbe) []string {
	if discovered := s.Discovered(); len(probe.Addresses) == 0 && discovered != nil {
		return discovered.DNSServers
	}
	return probe.Addresses
}

// judge notes a verdict and returns the time until the next.
func (s *Set) judge(u *upstream, servers []string, verdict policy.Reason, err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	problem := ""
	if err != nil {
		problem = printable.Clip(err.Error()) // it may quote what a server says
	}
	others := !slices.Equal(u.asked, servers)
	u.asked = servers
	first := u.lastError == notYet
	switch {
	case first || others || rank(verdict) <= rank(u.reason) || verdict == policy.ReasonUpstreamInventsAnswers:
		u.failures = 0
	default:
		u.failures++
	}
	before := u.reason
	if u.failures == 0 || u.failures >= u.probe.FailureThreshold {
		u.reason, u.failures = verdict, 0
	} else if u.open {
		s.Log.Info("a probe failed, the gate stays open", "gate", string(KindUpstream), "target", u.target(),
			"failures", u.failures, "failureThreshold", u.probe.FailureThreshold, "error", problem)
	}
	if s.turn(&u.gate, u.opens(), problem, KindUpstream, u.target()) || before != u.reason || first {
		s.publishSoon()
	}
	select {
	case <-u.answered:
	default:
		close(u.answered)
	}
	pause := u.probe.Interval
	if rank(u.reason) > rank(policy.ReasonServiceNotLocal) {
		pause = min(pause, closedInterval)
	}
	return time.Duration(float64(pause) * (1 + jitter*(2*rand.Float64()-1)))
}

func (u *upstream) target() string {
	return cmp.Or(strings.Join(u.asked, " "), strings.Join(u.probe.Addresses, " "), "the cluster DNS")
}

func (u *upstream) describe() Status {
	status := u.status(KindUpstream, u.target())
	status.Reason, status.Upstream = u.reason, u.probe.Upstream
	switch u.reason {
	case "":
		status.State = "local"
	case policy.ReasonServiceNotLocal:
		status.State = "forwarded"
	default:
		status.State = "closed"
	}
	return status
}

// askUpstream asks every server for both types at once.
func (s *Set) askUpstream(ctx context.Context, servers []string, timeout time.Duration) (policy.Reason, error) {
	if len(servers) == 0 {
		return policy.ReasonUpstreamFails, errors.New("the addresses of the cluster DNS are not known")
	}
	name := fmt.Sprintf("%d.shorthop-probe.svc.", rand.IntN(probeNames))
	type answer struct {
		verdict policy.Reason
		err     error
	}
	answers := make(chan answer)
	asked := 0
	for _, server := range servers {
		for _, rrtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			asked++
			go func() {
				verdict, err := verdictOn(s.ask(ctx, server, name, rrtype, timeout))
				if err != nil {
					err = fmt.Errorf("%s, %s of %s: %w", server, dns.TypeToString[rrtype], name, err)
				}
				answers <- answer{verdict, err}
			}()
		}
	}
	var worst answer
	for range asked {
		if a := <-answers; rank(a.verdict) > rank(worst.verdict) {
			worst = a
		}
	}
	return worst.verdict, worst.err
}

// ask sends one question, over TCP where the answer does not fit into UDP.
func (s *Set) ask(ctx context.Context, server, name string, rrtype uint16, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	question := new(dns.Msg).SetQuestion(name, rrtype)
	address := net.JoinHostPort(server, s.dnsPort)
	reply, _, err := (&dns.Client{Timeout: timeout}).ExchangeContext(ctx, question, address)
	if err == nil && reply.Truncated {
		reply, _, err = (&dns.Client{Net: "tcp", Timeout: timeout}).ExchangeContext(ctx, question, address)
	}
	return reply, err
}

// verdictOn judges one answer.
func verdictOn(reply *dns.Msg, err error) (policy.Reason, error) {
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return policy.ReasonUpstreamSlow, errors.New("no answer in time")
	case err != nil:
		return policy.ReasonUpstreamFails, err
	case len(reply.Answer) > 0:
		return policy.ReasonUpstreamInventsAnswers, fmt.Errorf("answered %s", shown(reply.Answer[0]))
	case reply.Rcode == dns.RcodeSuccess:
		return policy.ReasonUpstreamFails, errors.New("answered that the name exists, without an address")
	case reply.Rcode != dns.RcodeNameError:
		return policy.ReasonUpstreamFails, fmt.Errorf("answered %s", cmp.Or(dns.RcodeToString[reply.Rcode], "an unknown code"))
	}
	for _, record := range reply.Ns {
		if soa, ok := record.(*dns.SOA); ok && strings.EqualFold(soa.Ns, policy.UpstreamMarker) {
			return "", nil
		}
	}
	return policy.ReasonServiceNotLocal, errors.New("the answer that there is no such name comes from outside the cluster")
}

// shown is a record in one line.
func shown(record dns.RR) string { return strings.Join(strings.Fields(record.String()), " ") }
