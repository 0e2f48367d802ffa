package gates_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// manyHosts is a policy with a host for each of its rules.
func manyHosts(t testing.TB, hosts int) *policy.Compiled {
	t.Helper()
	var b strings.Builder
	b.WriteString("{rules: [")
	for i := range hosts {
		fmt.Fprintf(&b, "{name: r-%d, match: {namespaces: [n-%d]}, serviceHost: {host: api-%d.shorthop.invalid, probe: {failureThreshold: 1}}},", i, i, i)
	}
	return compile(t, strings.TrimSuffix(b.String(), ",")+"]}")
}

// answered returns a Set that knows hosts and does not probe them.
func answered(t testing.TB, hosts int) *gates.Set {
	t.Helper()
	s, _ := newSet(t, clustertest.CA(t))
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.Start(ended); err != nil {
		t.Fatal(err)
	}
	s.Prepare(t.Context(), manyHosts(t, hosts))()
	return s
}

// What an answer costs does not depend on the number of hosts.
func TestAnAnswerCostsTheSameHoweverManyHostsThereAre(t *testing.T) {
	perAnswer := map[int]float64{}
	for _, hosts := range []int{30, 3000} {
		s := answered(t, hosts)
		s.AnswerAll(nil)
		if !s.Status()[hosts-1].Open {
			t.Fatal("a host that answers is not open")
		}
		// AnswerAll itself allocates for its list.
		perAnswer[hosts] = testing.AllocsPerRun(5, func() { s.AnswerAll(nil) }) / float64(hosts)
	}
	if few, many := perAnswer[30], perAnswer[3000]; many > few+1 {
		t.Errorf("%.1f allocations an answer with 3,000 hosts, %.1f with 30", many, few)
	}
}

// All gates that turn together reach reviews, metrics and the status.
func TestManyGatesTurnTogether(t *testing.T) {
	t.Parallel()
	const hosts = 3000
	s := answered(t, hosts)
	for _, result := range []error{nil, errors.New("refused"), nil} {
		s.AnswerAll(result)
		for i, status := range s.Status() {
			if status.Open != (result == nil) {
				t.Fatalf("after %v, gate %d is %+v", result, i, status)
			}
		}
		open := 0
		for _, isOpen := range s.Current().ServiceHosts {
			if isOpen {
				open++
			}
		}
		if want := map[bool]int{true: hosts}[result == nil]; open != want {
			t.Errorf("after %v, %d gates are open for reviews, want %d", result, open, want)
		}
	}
}

// holdConnections accepts connections, keeps each for a while and counts them.
func holdConnections(listener net.Listener, now, most *atomic.Int32) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.AfterFunc(50*time.Millisecond, func() {
			now.Add(-1)
			connection.Close()
		})
	}
}

// No more probes than a fixed number are under way, and all hosts get an answer.
func TestProbesAreBounded(t *testing.T) {
	t.Parallel()
	const hosts = 3 * gates.MaxProbes
	var now, most atomic.Int32
	var rules strings.Builder
	for i := range hosts {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go holdConnections(listener, &now, &most)
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		fmt.Fprintf(&rules, "{name: r-%d, match: {namespaces: [n-%d]}, serviceHost: {host: 127.0.0.1, port: %s}},", i, i, port)
	}
	s, _ := newSet(t, clustertest.CA(t))
	stop := start(t, s)
	s.Prepare(t.Context(), compile(t, "{rules: ["+strings.TrimSuffix(rules.String(), ",")+"]}"))()
	clustertest.Eventually(t, "every host has been probed", func() bool {
		return !slices.ContainsFunc(s.Status(), func(status gates.Status) bool { return status.LastError == "not known yet" })
	})
	stop()
	if most.Load() > gates.MaxProbes || most.Load() < 2 {
		t.Errorf("%d connections at once, want at most %d", most.Load(), gates.MaxProbes)
	}
	if left := s.Probing(); left != 0 {
		t.Errorf("%d probes have not ended", left)
	}
}

// BenchmarkRound answers one probe of each host: with all as they were, and with
// all of them opening and closing.
func BenchmarkRound(b *testing.B) {
	for _, hosts := range []int{300, 3000} {
		for name, results := range map[string][]error{"steady": {nil}, "turning": {nil, errors.New("refused")}} {
			b.Run(fmt.Sprintf("%s/%d", name, hosts), func(b *testing.B) {
				s := answered(b, hosts)
				s.AnswerAll(nil)
				s.Status()
				round := 0
				for b.Loop() {
					round++
					s.AnswerAll(results[round%len(results)])
				}
			})
		}
	}
}
