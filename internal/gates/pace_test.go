package gates_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// pace notes when something happens.
type pace struct {
	began time.Time
	mu    sync.Mutex
	at    []time.Duration
}

func (p *pace) note() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, time.Since(p.began))
}

// count is how often, since between.
func (p *pace) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}

// between are the times between one note and the next, and what was noted is forgotten.
func (p *pace) between() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []time.Duration
	for i := 1; i < len(p.at); i++ {
		all = append(all, p.at[i]-p.at[i-1])
	}
	p.at = nil
	return all
}

// about reports whether every pause is one of an interval that is moved about, and not all are the same.
func about(pauses []time.Duration, interval time.Duration) bool {
	return len(pauses) > 1 && slices.Min(pauses) >= interval*9/10 && slices.Max(pauses) <= interval*11/10 && slices.Min(pauses) < slices.Max(pauses)
}

// paced is a Set, the hosts of which cannot be probed, and when that was tried.
func paced(t *testing.T) (set *gates.Set, probes *pace, stop func()) {
	t.Helper()
	set, _ = newSet(t, clustertest.CA(t))
	probes = &pace{began: time.Now()}
	set.Roots = func() (*x509.CertPool, error) { probes.note(); return nil, errors.New("no CA") }
	return set, probes, start(t, set)
}

func TestHostsAreProbedAtIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, probes, stop := paced(t)
		defer stop()
		use := func(probe string) {
			set.Prepare(t.Context(), compile(t, `{serviceHost: {host: api.example.com, probe: `+probe+`}}`))()
			synctest.Wait()
		}
		use(`{interval: 30s}`)
		if probes.count() != 1 || set.Status()[0].LastError != "read the cluster's CA: no CA" {
			t.Errorf("probed %d times at the beginning: %+v", probes.count(), set.Status())
		}
		time.Sleep(time.Minute)
		if pauses := probes.between(); !about(pauses, 5*time.Second) {
			t.Errorf("the pauses of a closed gate are %v", pauses)
		}
		use(`{interval: 30s, failureThreshold: 7}`)
		if probes.count() > 0 {
			t.Error("another threshold is a reason to probe")
		}
		use(`{interval: 1s}`)
		if probes.count() != 1 {
			t.Errorf("probed %d times as soon as the interval is another, want once", probes.count())
		}
		time.Sleep(20 * time.Second)
		if pauses := probes.between(); !about(pauses, time.Second) {
			t.Errorf("the pauses are %v, and the interval is 1 s", pauses)
		}
	})
}

// What only earlier policies need ends once a policy is in force, and the gates of one that never was do not come.
func TestOnlyWhatThePoliciesNeedIsProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, probes, stop := paced(t)
		defer stop()
		var servers, names pace
		set.Discovered = func() *policy.Discovered { servers.note(); return nil }
		set.Namespaces = func() []string { names.note(); return nil }
		prepare := func(spec string) (inForce func()) {
			inForce = set.Prepare(t.Context(), compile(t, spec))
			synctest.Wait()
			return inForce
		}
		const fallsThrough = `{resolvers: [{images: ["*"], resolver: glibc}], serviceHost: {host: a.example.com}, dns: {fallthrough: {probe: {interval: INTERVAL}}}}`
		for range 2 { // the second time, all of it is new again
			prepare(strings.Replace(fallsThrough, "INTERVAL", "30s", 1))()
			if got := set.Current().Upstreams; len(got) != 1 || len(set.Current().ServiceHosts) != 1 {
				t.Errorf("gates %+v", set.Current())
			}
			time.Sleep(30 * time.Second)
			if names.count() == 0 {
				t.Error("nobody looks for names that are public")
			}
			servers.between()
			prepare(strings.Replace(fallsThrough, "INTERVAL", "1s", 1))()
			if synctest.Wait(); servers.count() == 0 {
				t.Error("servers are not asked as soon as the interval is another")
			}
			time.Sleep(30 * time.Second)
			if n := servers.count(); n < 25 {
				t.Errorf("servers were asked %d times in 30 s", n)
			}

			first, second := prepare(`{serviceHost: {host: b.example.com}}`), prepare(`{serviceHost: {host: c.example.com}}`)
			if got := len(set.Current().ServiceHosts); got != 3 {
				t.Errorf("%d hosts are known while two policies are about to be in force, want 3", got)
			}
			second()
			first() // is too late
			synctest.Wait()
			if status := set.Status(); len(status) != 1 || status[0].Target != "c.example.com:443" || len(set.Current().ServiceHosts) != 1 || len(set.Current().Upstreams) != 0 {
				t.Errorf("status %+v, gates %+v", status, set.Current())
			}
			servers.between()
			names.between()
			probes.between()
			time.Sleep(time.Minute)
			if servers.count() > 0 || names.count() > 0 {
				t.Errorf("servers are asked %d times, and names looked at %d times, for nobody", servers.count(), names.count())
			}
			if pauses := probes.between(); !about(pauses, 5*time.Second) {
				t.Errorf("more than one host is probed: %v", pauses)
			}
			prepare(`{}`)()
			time.Sleep(10 * time.Second)
			if probes.between(); len(set.Status()) != 0 {
				t.Errorf("status %+v", set.Status())
			}
			time.Sleep(10 * time.Second)
			if probes.count() > 0 {
				t.Errorf("a host is probed %d times for nobody", probes.count())
			}
		}
	})
}

// An answer reaches reviews after 20 ms, with others that come meanwhile, and the status at once.
func TestWhenAnAnswerCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, recorder := newSet(t, clustertest.CA(t))
		set.Roots = func() (*x509.CertPool, error) { return nil, errors.New("no CA") }
		defer start(t, set)()
		set.Prepare(t.Context(), manyHosts(t, 2))()
		open := func() (n int) {
			for _, isOpen := range set.Current().ServiceHosts {
				if isOpen {
					n++
				}
			}
			return n
		}
		before := 0
		for _, step := range []struct {
			err  error
			want int
		}{{nil, 2}, {errors.New("refused"), 0}, {nil, 2}} {
			set.AnswerAll(step.err)
			time.Sleep(20*time.Millisecond - time.Nanosecond)
			if got := open(); got != before {
				t.Errorf("after %v, %d are open at once", step.err, got)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := open(); got != step.want {
				t.Errorf("after %v, %d are open, want %d", step.err, got, step.want)
			}
			before = step.want
		}
		set.AnswerAll(errors.New("refused"))
		if status := set.Status(); status[0].Open || open() != 0 {
			t.Errorf("status %+v, and %d are open", status, open())
		}
		opened, closed := 0, 0
		for _, line := range recorder.logged() {
			opened += strings.Count(line, `"msg"="gate is open"`)
			closed += strings.Count(line, `"msg"="gate is closed"`)
		}
		if opened != 4 || closed != 2+4 { // at the beginning as well
			t.Errorf("%d lines of gates that open and %d of those that close", opened, closed)
		}
	})
}

// Those that begin together are spread over the interval.
func TestManyHostsAreNotProbedInStep(t *testing.T) {
	t.Parallel()
	for hosts, spread := range map[int]bool{gates.MaxProbes: false, gates.MaxProbes + 1: true} {
		synctest.Test(t, func(t *testing.T) {
			set, probes, stop := paced(t)
			defer stop()
			set.Prepare(t.Context(), manyHosts(t, hosts))()
			synctest.Wait()
			time.Sleep(4 * time.Second) // closed gates are probed after 4.5 to 5.5 s
			synctest.Wait()
			if again := probes.count() - hosts; (again > hosts/4) != spread || again < 0 || !spread && again > 0 {
				t.Errorf("%d of %d hosts are probed again in the first four seconds", again, hosts)
			}
			time.Sleep(56 * time.Second)
			synctest.Wait()
			if n := probes.count(); n < 11*hosts || n > 14*hosts { // only the first pauses are shorter
				t.Errorf("%d hosts are probed %d times in a minute", hosts, n)
			}
		})
	}
}

// The addresses of the cluster DNS are soon known after the start, and asked for often until then.
func TestServersThatAreNotKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, _, stop := paced(t)
		defer stop()
		asked := &pace{began: time.Now()}
		set.Discovered = func() *policy.Discovered { asked.note(); return nil }
		inForce := set.Prepare(t.Context(), compile(t, `{resolvers: [{images: ["*"], resolver: glibc}], dns: {fallthrough: {probe: {interval: 30s}}}}`))
		if took := time.Since(asked.began); took != 3*time.Second {
			t.Errorf("Prepare waits for %s", took)
		}
		inForce()
		time.Sleep(200 * time.Millisecond)
		status := set.Status()[0]
		if status.LastError != "the addresses of the cluster DNS are not known" || status.Open || status.Target != "the cluster DNS" || status.State != "closed" {
			t.Errorf("status %+v", status)
		}
		if pauses := asked.between(); len(pauses) < 30 || slices.Max(pauses[:30]) != 100*time.Millisecond {
			t.Errorf("the pauses at the beginning are %v", pauses)
		}
		time.Sleep(time.Minute)
		if pauses := asked.between(); !about(pauses, 5*time.Second) {
			t.Errorf("the pauses of a closed gate are %v", pauses)
		}
	})
}
