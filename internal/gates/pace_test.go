package gates_test

import (
	"crypto/x509"
	"errors"
	"slices"
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

// between are the times between one note and the next, and what was noted is forgotten.
func (p *pace) between() []time.Duration {
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
		if len(probes.at) != 1 || set.Status()[0].LastError != "read the cluster's CA: no CA" {
			t.Errorf("probed %d times at the beginning: %+v", len(probes.at), set.Status())
		}
		time.Sleep(time.Minute)
		if pauses := probes.between(); !about(pauses, 5*time.Second) {
			t.Errorf("the pauses of a closed gate are %v", pauses)
		}
		use(`{interval: 30s, failureThreshold: 7}`)
		if len(probes.at) > 0 {
			t.Error("another threshold is a reason to probe")
		}
		use(`{interval: 1s}`)
		if len(probes.at) != 1 {
			t.Errorf("probed %d times as soon as the interval is another, want once", len(probes.at))
		}
		time.Sleep(20 * time.Second)
		if pauses := probes.between(); !about(pauses, time.Second) {
			t.Errorf("the pauses are %v, and the interval is 1 s", pauses)
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
			if again := len(probes.at) - hosts; (again > hosts/4) != spread || again < 0 || !spread && again > 0 {
				t.Errorf("%d of %d hosts are probed again in the first four seconds", again, hosts)
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
