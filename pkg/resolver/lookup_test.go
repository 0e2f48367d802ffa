package resolver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/testfile"
)

const namespace = "shop"

// cluster is the resolv.conf of a ClusterFirst pod with these options.
func cluster(options ...string) resolver.ResolvConf {
	return resolver.ResolvConf{
		Nameservers: []string{"10.96.0.10"},
		Searches:    []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Options:     options,
	}
}

// names is a zone in which some names exist, with addresses of both types, on
// every server.
func names(exist ...string) resolver.Zone {
	return func(_ int, name string, _ resolver.RRType) resolver.Outcome {
		for _, other := range exist {
			if name == other {
				return resolver.Answer
			}
		}
		return resolver.NXDomain
	}
}

// records is a zone of single outcomes, keyed by "[server/]name[/type]"; what is
// not in it does not exist. The more specific key wins.
func records(outcomes map[string]resolver.Outcome) resolver.Zone {
	return func(server int, name string, t resolver.RRType) resolver.Outcome {
		for _, key := range []string{
			fmt.Sprintf("%d/%s/%s", server, name, t), fmt.Sprintf("%d/%s", server, name),
			fmt.Sprintf("%s/%s", name, t), name,
			fmt.Sprintf("%d", server), "*",
		} {
			if outcome, ok := outcomes[key]; ok {
				return outcome
			}
		}
		return resolver.NXDomain
	}
}

// summary is a lookup in one line per query: "name type @server", A and AAAA of
// the same name and server one after the other as "name @server".
func summary(l resolver.Lookup) []string {
	var lines []string
	for i := 0; i < len(l.Queries); i++ {
		q := l.Queries[i]
		types := " " + q.Type.String()
		if q.Type == resolver.A && i+1 < len(l.Queries) {
			if next := l.Queries[i+1]; next.Type == resolver.AAAA && next.Name == q.Name && next.Server == q.Server {
				types = ""
				i++
			}
		}
		lines = append(lines, fmt.Sprintf("%s%s @%d", q.Name, types, q.Server))
	}
	result := string(l.Status)
	for _, q := range l.Answers {
		result += fmt.Sprintf(" %s %s @%d", q.Name, q.Type, q.Server)
	}
	return append(lines, result)
}

// TestCounts is the cost of a lookup in a pod with the three search domains of
// the cluster: queries for A and AAAA together.
func TestCounts(t *testing.T) {
	t.Parallel()
	const (
		short    = "cart"
		other    = "cart.shop"
		service  = "cart.shop.svc"
		full     = "cart.shop.svc.cluster.local"
		absolute = "cart.shop.svc.cluster.local."
		external = "www.example.com"
		apex     = "example.com"
		srv      = "_http._tcp.cart.shop.svc"
	)
	// The search list alone resolves all short forms to this one.
	zone := names(full, external, apex, "_http._tcp."+full)
	// Unresolvable is written as the negative number of queries.
	type counts map[string]int
	all := func(c counts) map[resolver.Resolver]counts {
		by := make(map[resolver.Resolver]counts)
		for _, r := range resolver.Resolvers() {
			by[r] = c
		}
		return by
	}
	musl := func(c counts, differences counts) map[resolver.Resolver]counts {
		by := all(c)
		different := make(counts)
		for name, n := range c {
			different[name] = n
		}
		for name, n := range differences {
			different[name] = n
		}
		by[resolver.Musl], by[resolver.MuslBefore124] = different, different
		return by
	}
	tests := map[string]struct {
		ndots int
		want  map[resolver.Resolver]counts
	}{
		"ndots:5, kubelet's own: external names cost four times as much, and so does the full name of a service": {
			ndots: 5,
			want: all(counts{
				short: 2, other: 4, service: 6, full: 8, absolute: 2, external: 8, apex: 8, srv: 6,
			}),
		},
		"ndots:3: all forms of a service's name still resolve everywhere, except SRV names on musl": {
			ndots: 3,
			want: musl(counts{
				short: 2, other: 4, service: 6, full: 2, absolute: 2, external: 8, apex: 8, srv: 8,
			}, counts{srv: -2}),
		},
		"ndots:2: external names cost 2, svc.ns.svc gets dearer, and breaks on musl": {
			ndots: 2,
			want: musl(counts{
				short: 2, other: 4, service: 8, full: 2, absolute: 2, external: 2, apex: 8, srv: 8,
			}, counts{service: -2, srv: -2}),
		},
		"ndots:1: also svc.ns goes out first, and breaks on musl": {
			ndots: 1,
			want: musl(counts{
				short: 2, other: 6, service: 8, full: 2, absolute: 2, external: 2, apex: 2, srv: 8,
			}, counts{other: -2, service: -2, srv: -2}),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(map[resolver.Resolver]counts)
			for _, r := range resolver.Resolvers() {
				got[r] = make(counts)
				for name := range test.want[r] {
					lookup := r.Lookup(cluster(fmt.Sprintf("ndots:%d", test.ndots)), name, zone)
					got[r][name] = len(lookup.Queries)
					if lookup.Status != resolver.Found {
						got[r][name] = -len(lookup.Queries)
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNdotsTableOfKubernetesIssue93824 has the counts of kubernetes#93824 (one
// type) for a service mysvc in the namespace myns, asked in it, with three
// cluster search domains.
func TestNdotsTableOfKubernetesIssue93824(t *testing.T) {
	t.Parallel()
	conf := func(ndots int) resolver.ResolvConf {
		return resolver.ResolvConf{
			Nameservers: []string{"10.96.0.10"},
			Searches:    []string{"myns.svc.cluster.local", "svc.cluster.local", "cluster.local"},
			Options:     []string{fmt.Sprintf("ndots:%d", ndots)},
		}
	}
	zone := names("mysvc.myns.svc.cluster.local")
	want := map[int][3]int{
		1: {3, 4, 1},
		2: {2, 4, 1},
		3: {2, 3, 1},
		4: {2, 3, 1},
		5: {2, 3, 4},
	}
	got := make(map[int][3]int)
	for ndots := range want {
		var counts [3]int
		for i, name := range []string{"mysvc.myns", "mysvc.myns.svc", "mysvc.myns.svc.cluster.local"} {
			counts[i] = len(resolver.Glibc.Lookup(conf(ndots), name, zone).Queries) / 2
		}
		got[ndots] = counts
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// question is what a case file of testdata/lookup asks. By default it is asked by every resolver.
type question struct {
	Name       string
	Hostname   string
	Rotation   int
	ResolvConf resolver.ResolvConf
	// Zone is as records reads it; outcomes have the names that they have in the DNS.
	Zone      map[string]string
	Resolvers []resolver.Resolver

	ResOptions, LocalDomain string
}

// TestLookup holds the models to the case files: what each resolver asks, in which order, and how its lookup ends.
func TestLookup(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/lookup", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "client.yaml", "lookup")
		q := question{Resolvers: resolver.Resolvers()}
		readYAML(t, c, "client.yaml", &q)
		outcomes := make(map[string]resolver.Outcome)
		for key, text := range q.Zone {
			outcomes[key] = outcomeOf(t, text)
		}

		var lookups []string // as they first come
		by := make(map[string][]string)
		for _, r := range q.Resolvers {
			client := resolver.Client{
				Resolver: r, ResolvConf: q.ResolvConf, Hostname: q.Hostname, Rotation: q.Rotation, ResOptions: q.ResOptions, LocalDomain: q.LocalDomain,
			}
			lookup := "  " + strings.Join(summary(client.Lookup(q.Name, records(outcomes))), "\n  ") + "\n"
			if by[lookup] == nil {
				lookups = append(lookups, lookup)
			}
			by[lookup] = append(by[lookup], string(r))
		}
		var got strings.Builder
		for _, lookup := range lookups {
			got.WriteString(strings.Join(by[lookup], ", ") + "\n" + lookup)
		}
		c.Expect(t, "lookup", []byte(got.String()))
	})
}

func outcomeOf(t *testing.T, text string) resolver.Outcome {
	t.Helper()
	for _, outcome := range []resolver.Outcome{resolver.Timeout, resolver.Answer, resolver.NoData, resolver.NXDomain, resolver.ServFail} {
		if outcome.String() == text {
			return outcome
		}
	}
	t.Fatalf("unknown outcome %q", text)
	return 0
}

// readYAML reads a section of a case file over what is in the value.
func readYAML(t *testing.T, c *testfile.Case, section string, value any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(c.Section(section), value); err != nil {
		t.Fatalf("%s: %v", section, err)
	}
}

func TestAttemptsAreCountedPerNameServerAndType(t *testing.T) {
	t.Parallel()
	conf := resolver.ResolvConf{Nameservers: []string{"10.0.0.1", "10.0.0.2"}}
	lookup := resolver.Go.Lookup(conf, "x.y.", records(map[string]resolver.Outcome{"x.y/A": resolver.ServFail, "x.y/AAAA": resolver.NoData}))
	want := []resolver.Query{
		{Name: "x.y", Type: resolver.A},
		{Name: "x.y", Type: resolver.AAAA},
		{Name: "x.y", Type: resolver.A, Server: 1},
		{Name: "x.y", Type: resolver.A, Attempt: 1},
		{Name: "x.y", Type: resolver.A, Server: 1, Attempt: 1},
	}
	if diff := cmp.Diff(want, lookup.Queries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnyNumberOfAttemptsEnds: the options of a pod are anything that its author
// writes.
func TestAnyNumberOfAttemptsEnds(t *testing.T) {
	t.Parallel()
	for _, r := range resolver.Resolvers() {
		for _, attempts := range []string{"99999999999999999999", "-1", "4294967295", "-99999999999999999999"} {
			conf := cluster("attempts:"+attempts, "ndots:"+attempts, "timeout:"+attempts)
			lookup := r.Lookup(conf, "x", records(map[string]resolver.Outcome{"*": resolver.ServFail}))
			if n := len(lookup.Queries); n > 1000 {
				t.Errorf("%s asks %d queries with attempts:%s", r, n, attempts)
			}
		}
	}
}

// Ndots is the lowest number of dots with which a name is asked as it is first.
func TestNdotsIsWhatLookupsGoBy(t *testing.T) {
	t.Parallel()
	options := []string{"", "ndots:4", "ndots:", "ndots", "ndots:abc", "ndots:-1", "ndots:+3", "ndots:3abc", "ndots:99", "NDOTS:2", "ndots:1 ndots:3", "x-ndots:2", "use-vc", "ndots: 2", "ndots:\t3 use-vc"}
	for _, file := range options {
		for _, variable := range options {
			for _, r := range resolver.Resolvers() {
				for _, cLibrary := range []resolver.Resolver{"", resolver.Glibc} {
					client := resolver.Client{Resolver: r, ResolvConf: cluster(file), ResOptions: variable, CLibrary: cLibrary}
					ndots := client.Ndots()
					for dots := range 20 {
						name := strings.Repeat("a.", dots) + "a"
						first := client.Lookup(name, names()).Queries[0].Name
						if (first == name) != (dots >= ndots) {
							t.Fatalf("%s, options %q, RES_OPTIONS %q, C library %q: ndots %d, but first asked for a name with %d dots is %s",
								r, file, variable, cLibrary, ndots, dots, first)
						}
					}
				}
			}
		}
	}
}

func TestAnUnknownResolverFails(t *testing.T) {
	t.Parallel()
	got := resolver.Resolver("windows").Lookup(cluster(), "x", names("x"))
	if diff := cmp.Diff(resolver.Lookup{Status: resolver.Failure}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (resolver.Client{Resolver: "windows", ResolvConf: cluster("ndots:4")}).Ndots(); got != 1 {
		t.Errorf("ndots %d", got)
	}
}
