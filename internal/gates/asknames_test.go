package gates_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// A namespace of which nobody says anything counts, and is asked about once a minute.
func TestNamesOfWhichNothingIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, _ := newSet(t, clustertest.CA(t))
		asked := &pace{began: time.Now()}
		set.Discovered = func() *policy.Discovered { asked.note(); return nil }
		names := gates.NewPublicNames()
		expect := func(when string, questions int, want ...string) {
			t.Helper()
			if got := set.AskNames(t.Context(), names, want...); !slices.Equal(got, want) || asked.count() != questions {
				t.Errorf("%s: %q after %d questions, want %q after %d", when, got, asked.count(), want, questions)
			}
			if pauses := asked.between(); len(pauses) > 0 && slices.Min(pauses) < 20*time.Millisecond {
				t.Errorf("%s: the pauses between questions are %v", when, pauses)
			}
		}
		expect("at once", 3, "data", "dev", "shop")
		time.Sleep(59 * time.Second)
		expect("too early", 0, "data", "dev", "shop")
		time.Sleep(time.Second)
		expect("a minute later", 3, "data", "dev", "shop")
		expect("one is gone", 0, "data", "shop")
		expect("it is there again", 1, "data", "dev", "shop")
	})
}

// What was answered holds for an hour, and does not end with the servers.
func TestNamesOfWhichServersKnow(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	server := newDNSServer(t, func(w dns.ResponseWriter, question *dns.Msg) {
		switch q := question.Question[0]; {
		case failing.Load() || q.Qtype != dns.TypeSOA:
			rcode(dns.RcodeServerFailure)(w, question)
		case q.Name == "dev.":
			rcode(dns.RcodeSuccess)(w, question)
		default:
			rcode(dns.RcodeNameError)(w, question)
		}
	})
	set, _ := newSet(t, clustertest.CA(t))
	set.AskDNSAt(server.port)
	set.Discovered = func() *policy.Discovered { return &policy.Discovered{DNSServers: []string{"127.0.0.2", "127.0.0.1"}} } // one of them does not answer
	names := gates.NewPublicNames()
	for _, step := range []struct {
		names     []string
		want      []string
		questions int64
		failing   bool
	}{
		{[]string{"dev", "shop", "web"}, []string{"dev"}, 3, false},
		{[]string{"dev", "shop", "web"}, []string{"dev"}, 3, true}, // nobody is asked
		{[]string{"data", "dev", "web"}, []string{"data", "dev"}, 4, true},
	} {
		failing.Store(step.failing)
		if got := set.AskNames(t.Context(), names, step.names...); !slices.Equal(got, step.want) || server.asked.Load() != step.questions {
			t.Errorf("%q are public after %d questions, want %q after %d", got, server.asked.Load(), step.want, step.questions)
		}
	}
}
