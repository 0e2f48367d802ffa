package gates_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// answering is a way in which a DNS server answers.
type answering func(w dns.ResponseWriter, question *dns.Msg)

func rcode(code int) answering {
	return func(w dns.ResponseWriter, question *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(question, code)) }
}

// record answers with a record in one of the sections, in the notation of zone
// files; QNAME is the name that was asked for.
func record(code int, section, text string) answering {
	return func(w dns.ResponseWriter, question *dns.Msg) {
		rr, err := dns.NewRR(strings.ReplaceAll(text, "QNAME", question.Question[0].Name))
		if err != nil {
			panic(err)
		}
		reply := new(dns.Msg).SetRcode(question, code)
		if section == "answer" {
			reply.Answer = append(reply.Answer, rr)
		} else {
			reply.Ns = append(reply.Ns, rr)
		}
		_ = w.WriteMsg(reply)
	}
}

// only answers questions of one type like this, and others like that.
func only(rrtype uint16, this, that answering) answering {
	return func(w dns.ResponseWriter, question *dns.Msg) {
		if question.Question[0].Qtype == rrtype {
			this(w, question)
			return
		}
		that(w, question)
	}
}

var (
	local     = record(dns.RcodeNameError, "authority", "svc. 60 IN SOA local.shorthop.dev. hostmaster.shorthop.dev. 1 3600 600 86400 60")
	forwarded = record(dns.RcodeNameError, "authority", ". 900 IN SOA a.root-servers.net. nstld.verisign-grs.com. 2026112900 1800 900 604800 86400")
	lying     = only(dns.TypeA, record(dns.RcodeSuccess, "answer", "QNAME 60 IN A 192.0.2.80"), rcode(dns.RcodeSuccess))
	silent    = func(dns.ResponseWriter, *dns.Msg) {}
)

// dnsServer is a DNS server on UDP and TCP until the end of the test.
type dnsServer struct {
	port   string
	answer atomic.Pointer[answering]
	asked  atomic.Int64
}

func (s *dnsServer) answers(how answering) { s.answer.Store(&how) }

func (s *dnsServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	s.asked.Add(1)
	(*s.answer.Load())(w, question)
}

func newDNSServer(t testing.TB, how answering) *dnsServer {
	t.Helper()
	s := &dnsServer{}
	s.answers(how)
	var packets net.PacketConn
	var listener net.Listener
	for range 20 { // the port of the one may be taken for the other
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if listener, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			break
		}
		packets.Close()
	}
	if listener == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	_, s.port, _ = net.SplitHostPort(listener.Addr().String())
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: listener, Handler: s}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

func TestVerdictsOnWhatServersAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer answering
		want   policy.Reason
		says   string // in the error
	}{
		"the template's marker":                          {local, "", ""},
		"the marker in other case":                       {record(dns.RcodeNameError, "authority", "svc. 60 IN SOA LOCAL.Shorthop.DEV. h. 1 2 3 4 60"), "", ""},
		"NXDOMAIN from the root":                         {forwarded, policy.ReasonServiceNotLocal, "outside"},
		"NXDOMAIN and nothing else":                      {rcode(dns.RcodeNameError), policy.ReasonServiceNotLocal, "outside"},
		"a marker that is the owner and not the primary": {record(dns.RcodeNameError, "authority", "local.shorthop.dev. 60 IN SOA ns. h. 1 2 3 4 60"), policy.ReasonServiceNotLocal, "outside"},
		"SERVFAIL":                               {rcode(dns.RcodeServerFailure), policy.ReasonUpstreamFails, "SERVFAIL"},
		"REFUSED":                                {rcode(dns.RcodeRefused), policy.ReasonUpstreamFails, "REFUSED"},
		"no data":                                {rcode(dns.RcodeSuccess), policy.ReasonUpstreamFails, "without an address"},
		"silence":                                {silent, policy.ReasonUpstreamSlow, "in time"},
		"an address":                             {lying, policy.ReasonUpstreamInventsAnswers, "192.0.2.80"},
		"an IPv6 address only":                   {only(dns.TypeAAAA, record(dns.RcodeSuccess, "answer", "QNAME 60 IN AAAA 2001:db8::80"), local), policy.ReasonUpstreamInventsAnswers, "2001:db8::80"},
		"an alias":                               {record(dns.RcodeSuccess, "answer", "QNAME 60 IN CNAME parked.example.com."), policy.ReasonUpstreamInventsAnswers, "parked"},
		"an alias of a name that does not exist": {record(dns.RcodeNameError, "answer", "QNAME 60 IN CNAME parked.example.com."), policy.ReasonUpstreamInventsAnswers, "parked"},
		"the marker for A, silence for AAAA":     {only(dns.TypeA, local, silent), policy.ReasonUpstreamSlow, "AAAA"},
		"the marker for A, NXDOMAIN from outside for the rest": {only(dns.TypeA, local, forwarded), policy.ReasonServiceNotLocal, "AAAA"},
		"an answer that does not fit into UDP": {func(w dns.ResponseWriter, question *dns.Msg) {
			if w.LocalAddr().Network() == "tcp" {
				local(w, question)
				return
			}
			reply := new(dns.Msg).SetReply(question)
			reply.Truncated = true
			_ = w.WriteMsg(reply)
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newDNSServer(t, test.answer)
			set, _ := newSet(t, clustertest.CA(t))
			set.AskDNSAt(server.port)
			got, err := set.AskUpstream(t.Context(), []string{"127.0.0.1"}, 2*time.Second)
			if got != test.want {
				t.Errorf("%q, want %q: %v", got, test.want, err)
			}
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
}

func TestTheWorstServerDecides(t *testing.T) {
	t.Parallel()
	server := newDNSServer(t, local)
	set, _ := newSet(t, clustertest.CA(t))
	set.AskDNSAt(server.port)
	for want, servers := range map[policy.Reason][]string{
		"":                         {"127.0.0.1"},
		policy.ReasonUpstreamFails: {"127.0.0.1", "127.0.0.2"}, // where nobody listens
	} {
		if got, err := set.AskUpstream(t.Context(), servers, 2*time.Second); got != want {
			t.Errorf("%v: %q, want %q: %v", servers, got, want, err)
		}
	}
	if got, err := set.AskUpstream(t.Context(), nil, time.Second); got != policy.ReasonUpstreamFails || err == nil {
		t.Errorf("no server: %q, %v", got, err)
	}
}

func TestGateOfVerdicts(t *testing.T) {
	t.Parallel()
	const (
		none, far, slow, fails, invents = policy.Reason(""), policy.ReasonServiceNotLocal, policy.ReasonUpstreamSlow, policy.ReasonUpstreamFails, policy.ReasonUpstreamInventsAnswers
	)
	for name, test := range map[string]struct{ verdicts, want []policy.Reason }{
		"the first verdict counts":                      {[]policy.Reason{slow, none}, []policy.Reason{slow, none}},
		"the first good verdict opens":                  {[]policy.Reason{none}, []policy.Reason{none}},
		"the third failure in a row closes":             {[]policy.Reason{none, slow, fails, slow}, []policy.Reason{none, none, none, slow}},
		"a good verdict makes failures forgotten":       {[]policy.Reason{none, slow, slow, none, slow, slow}, []policy.Reason{none, none, none, none, none, none}},
		"a lie closes at once":                          {[]policy.Reason{none, invents}, []policy.Reason{none, invents}},
		"one replica without the template is a failure": {[]policy.Reason{none, far, none, far, far, far}, []policy.Reason{none, none, none, none, none, far}},
		"a lie that ends becomes what comes then":       {[]policy.Reason{none, invents, far, none}, []policy.Reason{none, invents, far, none}},
		"of a closed gate a worse reason comes later":   {[]policy.Reason{slow, fails, fails, fails}, []policy.Reason{slow, slow, slow, fails}},
		"failures between forwarded ones are forgotten": {[]policy.Reason{far, slow, slow, far, slow}, []policy.Reason{far, far, far, far, far}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, requireLocal := range []bool{true, false} {
				set, recorder := newSet(t, clustertest.CA(t))
				kept := 0
				probe := policy.UpstreamProbe{Interval: 30 * time.Second, FailureThreshold: 3, RequireLocal: requireLocal}
				got, open, pauses := set.Verdicts(probe, test.verdicts)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				for i, pause := range pauses {
					interval := 30 * time.Second
					if slices.Contains([]policy.Reason{slow, fails, invents}, got[i]) {
						interval = 5 * time.Second
					}
					if pause < interval*9/10 || pause > interval*11/10 {
						t.Errorf("after %q the pause is %s, want about %s", got[i], pause, interval)
					}
					if want := got[i] == none || got[i] == far && !requireLocal; open[i] != want {
						t.Errorf("after %q it is open: %t, with requireLocal %t", got[i], open[i], requireLocal)
					}
					if open[i] && got[i] != test.verdicts[i] {
						kept++
					}
				}
				if lines := strings.Join(recorder.logged(), "\n"); strings.Count(lines, "a probe failed, the gate stays open") != kept {
					t.Errorf("an open gate stays open %d times, and the log says:\n%s", kept, lines)
				}
			}
		})
	}
}

const fallthroughPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
spec:
  cluster: {dnsServers: [127.0.0.1]}
  dns: {fallthrough: {requireLocal: REQUIRED, probe: {interval: 1s, timeout: 500ms, failureThreshold: 2}}}
  resolvers: [{images: ["debian:*"], resolver: glibc}]
`

func compileFallthrough(t *testing.T, document string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, document, "")
}

// start runs a Set until stop, or the end of the test.
func start(t *testing.T, set *gates.Set) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- set.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestGateOfTheUpstreamFollowsTheServer(t *testing.T) {
	t.Parallel()
	server := newDNSServer(t, local)
	set, recorder := newSet(t, clustertest.CA(t))
	set.AskDNSAt(server.port)
	start(t, set)
	set.Prepare(t.Context(), compileFallthrough(t, strings.Replace(fallthroughPolicy, "REQUIRED", "true", 1)))()
	is := func(want policy.Reason) func() bool {
		return func() bool {
			got, known := set.Current().Upstreams[policy.UpstreamCluster]
			return known && got == want
		}
	}
	if !is("")() {
		t.Fatalf("Prepare did not wait for the first answer: %+v", set.Status())
	}
	for _, step := range []struct {
		answer answering
		want   policy.Reason
		state  string
	}{
		{forwarded, policy.ReasonServiceNotLocal, "forwarded"},
		{rcode(dns.RcodeServerFailure), policy.ReasonUpstreamFails, "closed"},
		{silent, policy.ReasonUpstreamSlow, "closed"},
		{lying, policy.ReasonUpstreamInventsAnswers, "closed"},
		{local, "", "local"},
	} {
		server.answers(step.answer)
		clustertest.Eventually(t, string(step.want), is(step.want))
		status := set.Status()[0]
		open := step.want == ""
		if status.Gate != gates.KindUpstream || status.State != step.state || status.Reason != step.want || status.Open != open || status.Target != "127.0.0.1" {
			t.Errorf("status %+v", status)
		}
		recorder.mu.Lock()
		if recorder.open[gates.KindUpstream] != open {
			t.Errorf("the metric says open %t in state %s", !open, step.state)
		}
		recorder.mu.Unlock()
	}
}

// TestAVerdictIsOfTheServersThatPodsAsk changes the servers under a threshold that no test reaches.
func TestAVerdictIsOfTheServersThatPodsAsk(t *testing.T) {
	t.Parallel()
	const here, nobody = "127.0.0.1", "127.0.0.2"
	server := newDNSServer(t, local)
	patient := strings.Replace(strings.Replace(fallthroughPolicy, "REQUIRED", "true", 1), "failureThreshold: 2", "failureThreshold: 1000000", 1)
	newPatientSet := func() *gates.Set {
		set, _ := newSet(t, clustertest.CA(t))
		set.AskDNSAt(server.port)
		return set
	}
	has := func(set *gates.Set) policy.Reason { return set.Current().Upstreams[policy.UpstreamCluster] }

	t.Run("the policy names others", func(t *testing.T) {
		set := newPatientSet()
		start(t, set)
		for range 2 {
			set.Prepare(t.Context(), compileFallthrough(t, patient))()
			clustertest.Eventually(t, "open", func() bool { return has(set) == "" })
			set.Prepare(t.Context(), compileFallthrough(t, strings.Replace(patient, here, nobody, 1)))()
			if got := has(set); got != policy.ReasonUpstreamFails {
				t.Errorf("%q as soon as the other servers are in force", got)
			}
		}
	})
	t.Run("others are discovered", func(t *testing.T) {
		set := newPatientSet()
		var discovered atomic.Pointer[policy.Discovered]
		discovered.Store(&policy.Discovered{DNSServers: []string{here}})
		set.Discovered = discovered.Load
		start(t, set)
		set.Prepare(t.Context(), compileFallthrough(t, strings.Replace(patient, "cluster: {dnsServers: [127.0.0.1]}", "cluster: {}", 1)))()
		clustertest.Eventually(t, "open", func() bool { return has(set) == "" })
		discovered.Store(&policy.Discovered{DNSServers: []string{nobody}})
		clustertest.Eventually(t, "closed", func() bool { return has(set) == policy.ReasonUpstreamFails })
	})
}

func TestForwardedIsOpenWhereThePolicySaysSo(t *testing.T) {
	t.Parallel()
	server := newDNSServer(t, forwarded)
	set, _ := newSet(t, clustertest.CA(t))
	set.AskDNSAt(server.port)
	start(t, set)
	set.Prepare(t.Context(), compileFallthrough(t, strings.Replace(fallthroughPolicy, "REQUIRED", "false", 1)))()
	if status := set.Status()[0]; !status.Open || status.State != "forwarded" {
		t.Errorf("status %+v", status)
	}
}

func TestANameIsPublicWhereAServerHasIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer     answering
		public, ok bool
	}{"no such name": {forwarded, false, true}, "a name": {rcode(dns.RcodeSuccess), true, true}, "no word": {rcode(dns.RcodeServerFailure), false, false}, "nobody": {nil, false, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, _ := newSet(t, clustertest.CA(t))
			set.Discovered = func() *policy.Discovered { return &policy.Discovered{DNSServers: []string{"127.0.0.1"}} }
			set.AskDNSAt("1")
			if test.answer != nil {
				set.AskDNSAt(newDNSServer(t, test.answer).port)
			}
			if public, ok := set.IsPublic(t.Context(), "dev"); public != test.public || ok != test.ok {
				t.Errorf("public %t, known %t", public, ok)
			}
		})
	}
}

func TestNobodyIsAskedWhereNoImageIsKnown(t *testing.T) {
	t.Parallel()
	server := newDNSServer(t, local)
	set, _ := newSet(t, clustertest.CA(t))
	set.AskDNSAt(server.port)
	start(t, set)
	set.Prepare(t.Context(), compileFallthrough(t, "{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, spec: {cluster: {dnsServers: [127.0.0.1]}, dns: {}}}"))()
	if status := set.Status(); len(status) != 0 || server.asked.Load() != 0 || set.Current().PublicNamespace {
		t.Errorf("%d questions, %+v", server.asked.Load(), status)
	}
}

func TestNamespacesLikeTopLevelDomainsCountWhereServicesAreNotKnown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ namespaces, public []string }{
		"one of a top-level domain":   {[]string{"web", "dev"}, []string{"dev"}},
		"names of top-level domains":  {[]string{"web", "dev", "app", "kube-system"}, []string{"app", "dev"}},
		"names below them and others": {[]string{"co-uk", "default", "internal", "local", "github"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newDNSServer(t, local)
			set, recorder := newSet(t, clustertest.CA(t))
			set.Namespaces = func() []string { return test.namespaces }
			set.AskDNSAt(server.port)
			start(t, set)
			set.Prepare(t.Context(), compileFallthrough(t, strings.Replace(fallthroughPolicy, "REQUIRED", "true", 1)))()
			if got := set.Status()[0].PublicNamespaces; !slices.Equal(got, test.public) || set.Current().PublicNamespace != (len(test.public) > 0) {
				t.Errorf("%q, %t, want %q", got, set.Current().PublicNamespace, test.public)
			}
			recorder.mu.Lock()
			defer recorder.mu.Unlock()
			if recorder.public != len(test.public) {
				t.Errorf("the metric says %d", recorder.public)
			}
		})
	}
}
