package gates

import (
	"crypto/x509"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// The table above daemonSet.problem, row by row.
func TestWhyACacheIsClosed(t *testing.T) {
	t.Parallel()
	const server = "169.254.20.10"
	on := func(rollouts ...rollout) map[string]rollout {
		found := map[string]rollout{}
		for i, r := range rollouts {
			found[string(rune('a'+i))] = r
		}
		return found
	}
	unowned := rollout{desired: 5, available: 5, cache: nodecache.Cache{Name: "cache", Unowned: true}}
	redirected := map[string]nodecache.Redirect{"a": {Address: netip.MustParseAddr(server)}}
	among := map[string]nodecache.Redirect{"b": {Address: netip.MustParseAddr("169.254.20.11")}, "c": {Address: netip.MustParseAddr("169.254.20.12")}}
	maps.Copy(among, redirected)
	for name, c := range map[string]struct {
		set  *daemonSet
		want string // in the problem; empty: open
	}{
		"not watched yet":                       {nil, notYet},
		"unreadable":                            {&daemonSet{unknown: "forbidden", found: on(rollout{desired: 5, available: 5})}, "forbidden"},
		"none of that name":                     {&daemonSet{}, "there is no such DaemonSet"},
		"none of these labels":                  {&daemonSet{namespace: "dns", selector: "a=b"}, "no DaemonSet in dns has the labels a=b"},
		"one on every node":                     {&daemonSet{found: on(rollout{desired: 5, available: 5})}, ""},
		"one that wants no node":                {&daemonSet{found: on(rollout{})}, "the DaemonSet wants no node"},
		"several that want no node":             {&daemonSet{selector: "a=b", found: on(rollout{}, rollout{})}, "the DaemonSets want no node (2 of them)"},
		"several that are added up":             {&daemonSet{selector: "a=b", found: on(rollout{desired: 9, available: 9}, rollout{desired: 1})}, ""},
		"several of which too many are away":    {&daemonSet{selector: "a=b", found: on(rollout{desired: 9, available: 8}, rollout{desired: 1})}, "unavailable on 2 of 10 nodes, at most 1 may be"},
		"an address that nobody has":            {&daemonSet{found: on(unowned), redirects: &redirects{}}, "no node has the address " + server},
		"an address that is redirected":         {&daemonSet{found: on(unowned), redirects: &redirects{found: redirected}}, ""},
		"an address that one of several has":    {&daemonSet{found: on(unowned), redirects: &redirects{found: among}}, ""},
		"one of several that nobody has":        {&daemonSet{found: on(rollout{desired: 5, available: 5}, rollout{desired: 5, available: 5}, unowned), redirects: &redirects{}}, "no node has the address " + server},
		"redirects that are not known yet":      {&daemonSet{found: on(unowned), redirects: &redirects{unknown: notYet}}, notYet},
		"redirects that cannot be read":         {&daemonSet{found: on(unowned), redirects: &redirects{unknown: "forbidden"}}, ""},
		"an address that nobody has to look at": {&daemonSet{found: on(unowned)}, ""},
	} {
		for range 20 { // whichever of several comes first
			problem := c.set.problem(policy.Cache{DaemonSet: "dns/cache", MaxUnavailable: intstr.FromInt32(1), Servers: server})
			if c.want == "" && problem != "" || !strings.HasPrefix(problem, c.want) {
				t.Errorf("%s: %q, want %q", name, problem, c.want)
			}
		}
	}
}

func TestCachesAreToldOnceAndInOrder(t *testing.T) {
	t.Parallel()
	of := func(namespace string, names ...string) *daemonSet {
		d := &daemonSet{found: map[string]rollout{}}
		for _, name := range names {
			d.found[name] = rollout{cache: nodecache.Cache{Namespace: namespace, Name: name}}
		}
		return d
	}
	s := &Set{sets: map[string]*daemonSet{"m/b": of("m", "b"), "m/x=y": of("m", "c", "b", "a"), "n/a": of("n", "a"), "n/none": of("n"), "o/a": of("o", "a")}}
	var got []string
	for _, c := range s.Caches() {
		got = append(got, c.Namespace+"/"+c.Name)
	}
	if want := []string{"m/a", "m/b", "m/c", "n/a", "o/a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What nobody knows yet counts as public, where a policy needs to know it.
func TestNamesThatAreNotKnownYetArePublic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names *publicNames
		want  bool
	}{{nil, false}, {&publicNames{}, true}, {&publicNames{found: map[string]bool{}}, false}, {&publicNames{found: map[string]bool{"dev": true}}, true}} {
		if got := c.names.any(); got != c.want {
			t.Errorf("%+v: %t", c.names, got)
		}
	}
}

// kinds is a Recorder.
type kinds map[Kind]bool

func (k kinds) GateOpen(kind Kind, open bool) { k[kind] = open }
func (kinds) PublicNamespaces(int)            {}

// A metric is about all gates of a kind: one that is closed closes it, whichever it is.
func TestAKindIsOpenWhereAllOfItsGatesAre(t *testing.T) {
	t.Parallel()
	told := kinds{}
	client, err := dynamic.NewForConfig(&rest.Config{Host: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Client: client, Roots: func() (*x509.CertPool, error) { return x509.NewCertPool(), nil }, Recorder: told, Log: logr.Discard()})
	s.end() // nothing is probed or watched
	s.Prepare(t.Context(), reviewtest.Compile(t, `{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, spec: {
		resolvers: [{images: ["*"], resolver: go}], serviceHost: {host: a.example.com},
		dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.10], daemonSet: dns/a}},
		rules: [{name: b, match: {namespaces: [b]}, serviceHost: {host: b.example.com}, dns: {nodeLocal: {servers: [169.254.20.11], daemonSet: dns/b}}}]}}`, ""))()
	s.active.Wait()
	if len(s.hosts) != 2 || len(s.sets) != 2 || len(s.upstreams) != 3 {
		t.Fatalf("%d hosts, %d caches, %d upstreams", len(s.hosts), len(s.sets), len(s.upstreams))
	}
	var targets []string
	for _, status := range s.Status() {
		if status.Since.IsZero() || status.Since.Location() != time.UTC {
			t.Errorf("%s is so since %s", status.Target, status.Since)
		}
		targets = append(targets, strings.TrimSpace(string(status.Gate)+" "+status.Target+" "+status.MaxUnavailable))
	}
	if want := []string{
		"service_host a.example.com:443", "service_host b.example.com:443", "node_local dns/a 10%", "node_local dns/b 10%",
		"upstream the cluster DNS", "upstream 169.254.20.10", "upstream 169.254.20.11",
	}; !slices.Equal(targets, want) {
		t.Errorf("the status has %q, want %q", targets, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for closed := range 4 {
		all := map[Kind]bool{KindServiceHost: closed > 1, KindNodeLocal: closed > 1, KindUpstream: closed > 2} // of which there are as many
		for i, probe := range s.policies[0].probes {
			s.hosts[probe.Endpoint].open = i != closed
		}
		for i, cache := range s.policies[0].caches {
			s.sets[cache.DaemonSet] = &daemonSet{found: map[string]rollout{"a": {desired: 10, available: map[bool]int{true: 10}[i != closed]}}}
		}
		for i, probe := range s.policies[0].upstreams {
			s.upstreams[probe.Upstream].open = i != closed
		}
		s.publish()
		since := maps.Clone(s.caches)
		if s.publish(); !maps.Equal(since, s.caches) || len(since) != 2 {
			t.Error("what is known of a cache is forgotten")
		}
		for kind, want := range all {
			if told[kind] != want {
				t.Errorf("with gate %d closed, %s is open: %t", closed, kind, told[kind])
			}
		}
	}
}
