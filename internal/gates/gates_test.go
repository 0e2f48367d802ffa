package gates_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// recorder is what a Set tells: metrics and log lines.
type recorder struct {
	mu    sync.Mutex
	open  map[gates.Kind]bool
	lines []string
	// public is what PublicNamespaces was told last.
	public int
}

func (r *recorder) PublicNamespaces(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.public = n
}

func (r *recorder) GateOpen(kind gates.Kind, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[gates.Kind]bool{}
	}
	r.open[kind] = open
}

func (r *recorder) logged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// newSet returns a Set that trusts a CA. Its API server does not exist.
func newSet(t testing.TB, ca *cluster.CA) (*gates.Set, *recorder) {
	t.Helper()
	client, err := dynamic.NewForConfig(&rest.Config{Host: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	return gates.New(gates.Options{
		Client: client,
		Roots: func() (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(ca.Bundle())
			return pool, nil
		},
		Recorder: r,
		Log: funcr.New(func(_, args string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.lines = append(r.lines, args)
		}, funcr.Options{}),
	}), r
}

// server accepts TLS connections until the end of the test, and asks for a
// client certificate as API servers do. It says what each client sent.
func server(t *testing.T, ca *cluster.CA, name string) (port string, sent <-chan string) {
	t.Helper()
	dir := t.TempDir()
	if err := ca.WriteServingCert(dir, name); err != nil {
		t.Fatal(err)
	}
	pair := clustertest.LoadCert(t, dir)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	reports := make(chan string, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			data, err := io.ReadAll(connection)
			state := connection.(*tls.Conn).ConnectionState()
			reports <- fmt.Sprintf("name %q, %d certificates, %d bytes, complete %v, error %v",
				state.ServerName, len(state.PeerCertificates), len(data), state.HandshakeComplete, err)
			connection.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, reports
}

func TestAProbeIsAHandshakeAndNoMore(t *testing.T) {
	t.Parallel()
	ca := clustertest.CA(t)
	s, _ := newSet(t, ca)
	port, sent := server(t, ca, "localhost")
	if err := s.Handshake(t.Context(), policy.Endpoint{Host: "localhost", Port: port}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got, want := <-sent, `name "localhost", 0 certificates, 0 bytes, complete true, error <nil>`; got != want {
		t.Errorf("the client sent: %s\nwant: %s", got, want)
	}
}

func TestAProbeFailsUnlessTheServerIsItself(t *testing.T) {
	t.Parallel()
	ca := clustertest.CA(t)
	s, _ := newSet(t, ca)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	_, silentPort, _ := net.SplitHostPort(silent.Addr().String())
	resets, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resets.Close() })
	go func() {
		for {
			connection, err := resets.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 16<<10)) // the whole hello
			_ = connection.(*net.TCPConn).SetLinger(0)
			connection.Close()
		}
	}()
	_, resetsPort, _ := net.SplitHostPort(resets.Addr().String())
	for name, test := range map[string]struct {
		ca   *cluster.CA
		host string // that the certificate is for
		port string // of the server, if not one of our own
		dial string
		want string // in the error; empty: none
	}{
		"the address of the certificate":    {ca: ca, host: "127.0.0.1", dial: "127.0.0.1"},
		"a certificate of another name":     {ca: ca, host: "other.example.com", dial: "localhost", want: "not localhost"},
		"a certificate for the name only":   {ca: ca, host: "localhost", dial: "127.0.0.1", want: "x509"},
		"a certificate of another CA":       {ca: clustertest.CA(t), host: "localhost", dial: "localhost", want: "x509"},
		"nobody listens":                    {port: "1", dial: "127.0.0.1", want: "connection refused"},
		"somebody listens and says nothing": {port: silentPort, dial: "127.0.0.1", want: "no answer within 100ms"},
		"somebody hangs up":                 {port: resetsPort, dial: "127.0.0.1", want: "read tcp 127.0.0.1:" + resetsPort + ": "}, // without a port of ours
		"a name that does not exist":        {port: "443", dial: "shorthop.invalid", want: "shorthop.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, timeout := test.port, 100*time.Millisecond
			if port == "" {
				port, _ = server(t, test.ca, test.host)
			}
			if port != silentPort {
				timeout = time.Minute
			}
			err := s.Handshake(t.Context(), policy.Endpoint{Host: test.dial, Port: port}, timeout)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A probe has four fifths of a short interval.
func TestAProbeEndsWithinItsInterval(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	_, port, _ := net.SplitHostPort(silent.Addr().String())
	s, _ := newSet(t, clustertest.CA(t))
	start(t, s)
	s.Prepare(t.Context(), compile(t, `{serviceHost: {host: 127.0.0.1, port: `+port+`, probe: {interval: 1s}}}`))()
	if got := s.Status()[0].LastError; got != "no answer within 800ms" {
		t.Errorf("the status says %q", got)
	}
}

func TestHysteresis(t *testing.T) {
	t.Parallel()
	failed := errors.New("refused")
	for name, test := range map[string]struct {
		threshold int
		results   []error
		want      []bool
		logged    int // changes and failures that are worth a line
	}{
		"one success opens":                        {3, []error{nil, nil}, []bool{true, true}, 1},
		"the threshold closes":                     {3, []error{nil, failed, failed, failed, failed}, []bool{true, true, true, false, false}, 4},
		"a success in between starts anew":         {2, []error{nil, failed, nil, failed, failed}, []bool{true, true, true, true, false}, 4},
		"one success opens again":                  {2, []error{nil, failed, failed, failed, nil}, []bool{true, true, false, false, true}, 4},
		"a threshold of one":                       {1, []error{nil, failed, nil}, []bool{true, false, true}, 3},
		"what never answered is closed, said once": {3, []error{failed, failed, failed, failed}, []bool{false, false, false, false}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newSet(t, clustertest.CA(t))
			open, pauses := s.Answers(policy.HostProbe{
				Endpoint: policy.Endpoint{Host: "api.example.com", Port: "443"}, Interval: 30 * time.Second, FailureThreshold: test.threshold,
			}, test.results)
			if diff := cmp.Diff(test.want, open); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
			for i, pause := range pauses {
				low, high := 27*time.Second, 33*time.Second
				if !open[i] {
					low, high = 4500*time.Millisecond, 5500*time.Millisecond
				}
				if pause < low || pause > high {
					t.Errorf("the pause after probe %d is %s, want %s to %s", i, pause, low, high)
				}
			}
			if lines := r.logged(); len(lines) != test.logged {
				t.Errorf("%d log lines, want %d:\n%s", len(lines), test.logged, strings.Join(lines, "\n"))
			}
		})
	}
}

// Gates of a policy that is gone must neither be probed nor keep a metric at 0.
func TestGatesComeAndGoWithThePolicy(t *testing.T) {
	t.Parallel()
	ca := clustertest.CA(t)
	s, r := newSet(t, ca)
	stop := start(t, s)
	port, _ := server(t, ca, "localhost")
	endpoint := policy.Endpoint{Host: "localhost", Port: port}
	use := func(spec string) {
		t.Helper()
		s.Prepare(t.Context(), compile(t, spec))()
	}
	targets := func() []string {
		found := []string{}
		for _, status := range s.Status() {
			found = append(found, fmt.Sprintf("%s %s %v", status.Gate, status.Target, status.Open))
		}
		return found
	}
	expect := func(when string, serviceHost, nodeLocal bool, want ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, want...), targets()); diff != "" {
			t.Errorf("%s: gates (-want +got):\n%s", when, diff)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if diff := cmp.Diff(map[gates.Kind]bool{gates.KindServiceHost: serviceHost, gates.KindNodeLocal: nodeLocal, gates.KindUpstream: true}, r.open); diff != "" {
			t.Errorf("%s: metrics (-want +got):\n%s", when, diff)
		}
	}

	if targets := targets(); len(targets) > 0 || s.Current() == nil {
		t.Errorf("before the first policy there are gates: %v", targets)
	}
	use(`{serviceHost: {host: localhost, port: ` + port + `}}`)
	expect("a host that works", true, true, "service_host localhost:"+port+" true")
	if !s.Current().ServiceHosts[endpoint] {
		t.Error("the gate is not open")
	}

	next := compile(t, `{serviceHost: {host: 127.0.0.1, port: 1}}`)
	inForce := s.Prepare(t.Context(), next)
	if !s.Current().ServiceHosts[endpoint] {
		t.Error("the policy in force has lost its gate to the next one")
	}
	if r.mu.Lock(); !r.open[gates.KindServiceHost] {
		t.Error("the metric is that of a policy that is not in force yet")
	}
	r.mu.Unlock()
	inForce()
	expect("a host that does not work", false, true, "service_host 127.0.0.1:1 false")
	if status := s.Status()[0]; !strings.Contains(status.LastError, "refused") || status.Since.IsZero() {
		t.Errorf("status %+v", status)
	}

	use(`{dns: {mode: NodeLocal}, cluster: {domain: cluster.local}}`)
	expect("a cache of which nothing is known", true, false, "node_local kube-system/node-local-dns false")
	use(`{dns: {}}`)
	expect("no gates", true, true)

	stop()
	use(`{serviceHost: {host: localhost, port: ` + port + `}}`) // must not wait for what has ended
	if s.Current().ServiceHosts[endpoint] {
		t.Error("a gate has opened after the end")
	}
}

// Not parallel: it looks at all goroutines of the process.
func TestWhatIsGoneIsProbedAndWatchedNoMore(t *testing.T) {
	s, _ := newSet(t, clustertest.CA(t))
	stop := start(t, s)
	at := func(function string) bool {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(stacks.String(), "gates.(*Set)."+function+"(")
	}
	s.Prepare(t.Context(), compile(t, `{serviceHost: {host: 127.0.0.1, port: 1}, dns: {mode: NodeLocal}, cluster: {domain: cluster.local}}`))()
	if !at("probeHost") || !at("followDaemonSet") {
		t.Error("nothing is probed or watched: this test has lost its subject")
	}
	s.Prepare(t.Context(), compile(t, `{dns: {}}`))()
	clustertest.Eventually(t, "the host is not probed any more", func() bool { return !at("probeHost") })
	clustertest.Eventually(t, "the DaemonSet is not watched any more", func() bool { return !at("followDaemonSet") })
	stop()
}

func compile(t testing.TB, spec string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, "{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, metadata: {name: test}, spec: "+spec+"}", "")
}
