package resolver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
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

// every is a test case for which all resolvers agree.
const every = resolver.Resolver("every resolver")

func TestLookup(t *testing.T) {
	t.Parallel()
	const (
		answer   = resolver.Answer
		noData   = resolver.NoData
		servFail = resolver.ServFail
		timeout  = resolver.Timeout
	)
	local := resolver.ResolvConf{
		Nameservers: []string{"169.254.20.10", "10.96.0.10"},
		Searches:    []string{"a.test", "b.test"},
		Options:     []string{"ndots:2"},
	}
	with := func(conf resolver.ResolvConf, options ...string) resolver.ResolvConf {
		conf.Options = append(append([]string{}, conf.Options...), options...)
		return conf
	}
	label63 := strings.Repeat("l", 63)
	one := with(local)
	one.Nameservers = one.Nameservers[:1]
	type outcomes = map[string]resolver.Outcome
	tests := map[string]struct {
		conf     resolver.ResolvConf
		hostname string
		rotation int
		name     string
		zone     outcomes
		want     map[resolver.Resolver][]string
	}{
		"fewer dots than ndots: the search list, then the name as it is": {
			conf: one, name: "x.y",
			want: map[resolver.Resolver][]string{
				every: {"x.y.a.test @0", "x.y.b.test @0", "x.y @0", "not_found"},
			},
		},
		"as many dots as ndots: the name as it is, then the search list, but not on musl": {
			conf: one, name: "x.y.z",
			want: map[resolver.Resolver][]string{
				resolver.Glibc:         {"x.y.z @0", "x.y.z.a.test @0", "x.y.z.b.test @0", "not_found"},
				resolver.Go:            {"x.y.z @0", "x.y.z.a.test @0", "x.y.z.b.test @0", "not_found"},
				resolver.CAres:         {"x.y.z @0", "x.y.z.a.test @0", "x.y.z.b.test @0", "not_found"},
				resolver.Musl:          {"x.y.z @0", "not_found"},
				resolver.MuslBefore124: {"x.y.z @0", "not_found"},
			},
		},
		"a trailing dot suppresses the search list": {
			conf: one, name: "x.y.",
			want: map[resolver.Resolver][]string{every: {"x.y @0", "not_found"}},
		},
		"a wildcard in a search domain wins over the name itself": {
			conf: one, name: "x.y", zone: outcomes{"x.y": answer, "x.y.a.test": answer},
			want: map[resolver.Resolver][]string{
				every: {"x.y.a.test @0", "found x.y.a.test A @0 x.y.a.test AAAA @0"},
			},
		},
		"one type is enough": {
			conf: one, name: "x.y", zone: outcomes{"x.y.a.test/A": answer, "x.y.a.test/AAAA": noData},
			want: map[resolver.Resolver][]string{every: {"x.y.a.test @0", "found x.y.a.test A @0"}},
		},
		"NODATA in the search list: only musl stops": {
			conf: one, name: "x.y", zone: outcomes{"x.y.a.test": noData, "x.y.b.test": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y.a.test @0", "x.y.b.test @0", "found x.y.b.test A @0 x.y.b.test AAAA @0"},
				resolver.Musl:          {"x.y.a.test @0", "no_data"},
				resolver.MuslBefore124: {"x.y.a.test @0", "not_found"},
			},
		},
		"NODATA is remembered as the reason, but not by Go": {
			conf: one, name: "x.y", zone: outcomes{"x.y.a.test": noData},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y.a.test @0", "x.y.b.test @0", "x.y @0", "no_data"},
				resolver.Go:            {"x.y.a.test @0", "x.y.b.test @0", "x.y @0", "not_found"},
				resolver.Musl:          {"x.y.a.test @0", "no_data"},
				resolver.MuslBefore124: {"x.y.a.test @0", "not_found"},
			},
		},
		"an address of one type does not help on musl if the other type says NXDOMAIN": {
			conf: one, name: "x.y", zone: outcomes{"x.y.a.test/A": answer, "x.y.b.test": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y.a.test @0", "found x.y.a.test A @0"},
				resolver.Musl:          {"x.y.a.test @0", "x.y.b.test @0", "found x.y.b.test A @0 x.y.b.test AAAA @0"},
				resolver.MuslBefore124: {"x.y.a.test @0", "x.y.b.test @0", "found x.y.b.test A @0 x.y.b.test AAAA @0"},
			},
		},
		"SERVFAIL in the search list: glibc and Go ask again and go on, musl and c-ares ask more often and give up": {
			conf: with(one, "attempts:1"), name: "x.y", zone: outcomes{"x.y.a.test": servFail, "x.y": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y.a.test @0", "x.y.b.test @0", "x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Musl:          {"x.y.a.test @0", "x.y.a.test @0", "x.y.a.test @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y.a.test @0", "x.y.a.test @0", "x.y.a.test @0", "temporary_failure"},
				resolver.CAres:         {"x.y.a.test @0", "temporary_failure"},
			},
		},
		"a timeout in the search list: Go goes on, glibc skips to the name as it is, the others give up": {
			conf: with(one, "attempts:1"), name: "x.y", zone: outcomes{"x.y.a.test": timeout, "x.y": answer},
			want: map[resolver.Resolver][]string{
				resolver.Go:            {"x.y.a.test @0", "x.y.b.test @0", "x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Glibc:         {"x.y.a.test @0", "x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Musl:          {"x.y.a.test @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y.a.test @0", "temporary_failure"},
				resolver.CAres:         {"x.y.a.test @0", "temporary_failure"},
			},
		},
		"a timeout for the name as it is: glibc and Go go on to the search list": {
			conf: with(one, "attempts:1"), name: "x.y.z", zone: outcomes{"x.y.z": timeout, "x.y.z.a.test": answer},
			want: map[resolver.Resolver][]string{
				resolver.Go:            {"x.y.z @0", "x.y.z.a.test @0", "found x.y.z.a.test A @0 x.y.z.a.test AAAA @0"},
				resolver.Glibc:         {"x.y.z @0", "x.y.z.a.test @0", "found x.y.z.a.test A @0 x.y.z.a.test AAAA @0"},
				resolver.Musl:          {"x.y.z @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y.z @0", "temporary_failure"},
				resolver.CAres:         {"x.y.z @0", "temporary_failure"},
			},
		},
		"the reason is that of the name as it is": {
			conf: with(one, "attempts:1"), name: "x.y.z", zone: outcomes{"x.y.z": servFail},
			want: map[resolver.Resolver][]string{
				resolver.Go:            {"x.y.z @0", "x.y.z.a.test @0", "x.y.z.b.test @0", "temporary_failure"},
				resolver.Glibc:         {"x.y.z @0", "x.y.z.a.test @0", "x.y.z.b.test @0", "temporary_failure"},
				resolver.Musl:          {"x.y.z @0", "x.y.z @0", "x.y.z @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y.z @0", "x.y.z @0", "x.y.z @0", "temporary_failure"},
				resolver.CAres:         {"x.y.z @0", "temporary_failure"},
			},
		},
		"with two nameservers, musl asks both every time and the others only the first": {
			conf: local, name: "x.y.", zone: outcomes{"*": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Musl:          {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "found x.y A @0 x.y AAAA @0"},
				resolver.MuslBefore124: {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "found x.y A @0 x.y AAAA @0"},
			},
		},
		"a dead first nameserver: the second answers": {
			conf: local, name: "x.y.", zone: outcomes{"*": answer, "0": timeout, "0/x.y": timeout},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "x.y @1", "found x.y A @1 x.y AAAA @1"},
				resolver.Musl:          {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "found x.y A @1 x.y AAAA @1"},
				resolver.MuslBefore124: {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "found x.y A @1 x.y AAAA @1"},
			},
		},
		"c-ares remembers that a nameserver is dead, the others try it for every candidate": {
			conf: local, name: "x", zone: outcomes{"0/x.a.test": timeout, "0/x.b.test": timeout, "0/x": timeout, "x": answer},
			want: map[resolver.Resolver][]string{
				resolver.CAres: {"x.a.test @0", "x.a.test @1", "x.b.test @1", "x @1", "found x A @1 x AAAA @1"},
				resolver.Glibc: {"x.a.test @0", "x.a.test @1", "x.b.test @0", "x.b.test @1", "x @0", "x @1", "found x A @1 x AAAA @1"},
				resolver.Go:    {"x.a.test @0", "x.a.test @1", "x.b.test @0", "x.b.test @1", "x @0", "x @1", "found x A @1 x AAAA @1"},
			},
		},
		"NXDOMAIN of the first nameserver is final, on musl that of the fastest": {
			conf: local, name: "x.y.", zone: outcomes{"1/x.y": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "not_found"},
				resolver.Musl:          {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "not_found"},
				resolver.MuslBefore124: {"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "not_found"},
			},
		},
		"SERVFAIL of the first nameserver sends all to the second": {
			conf: local, name: "x.y.", zone: outcomes{"0/x.y": servFail, "1/x.y": answer},
			want: map[resolver.Resolver][]string{
				every: {"x.y @0", "x.y @1", "found x.y A @1 x.y AAAA @1"},
				// It repeats the question at once, although the second server has answered by then.
				resolver.Musl: {
					"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "x.y @0",
					"found x.y A @1 x.y AAAA @1",
				},
				resolver.MuslBefore124: {
					"x.y A @0", "x.y A @1", "x.y AAAA @0", "x.y AAAA @1", "x.y @0",
					"found x.y A @1 x.y AAAA @1",
				},
			},
		},
		"glibc does not notice that only AAAA fails": {
			conf: one, name: "x.y.", zone: outcomes{"x.y/A": answer, "x.y/AAAA": servFail},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.y @0", "found x.y A @0"},
				resolver.Go:    {"x.y @0", "x.y AAAA @0", "found x.y A @0"},
				resolver.CAres: {"x.y @0", "found x.y A @0"},
			},
		},
		"if only AAAA gets no answer, glibc asks for both three times, musl fails": {
			conf: with(one, "attempts:1"), name: "x.y.", zone: outcomes{"x.y/A": answer, "x.y/AAAA": timeout},
			want: map[resolver.Resolver][]string{
				resolver.Glibc:         {"x.y @0", "x.y @0", "x.y @0", "found x.y A @0"},
				resolver.Go:            {"x.y @0", "found x.y A @0"},
				resolver.CAres:         {"x.y @0", "found x.y A @0"},
				resolver.Musl:          {"x.y @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y @0", "temporary_failure"},
			},
		},
		"if only A gets no answer, glibc asks for it alone, and then goes on in order": {
			conf: with(one, "attempts:2"), name: "x.y.", zone: outcomes{"x.y/A": timeout, "x.y/AAAA": answer},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.y @0", "x.y A @0", "x.y A @0", "temporary_failure"},
				resolver.Go:    {"x.y @0", "x.y A @0", "found x.y AAAA @0"},
				resolver.CAres: {"x.y @0", "x.y A @0", "found x.y AAAA @0"},
				resolver.Musl:  {"x.y @0", "x.y A @0", "temporary_failure"},
			},
		},
		"single-request: glibc does not ask for AAAA if A fails, Go does": {
			conf: with(one, "attempts:1", "single-request"), name: "x.y.", zone: outcomes{"x.y/A": servFail, "x.y/AAAA": answer},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.y A @0", "temporary_failure"},
				resolver.Go:    {"x.y @0", "found x.y AAAA @0"},
				resolver.CAres: {"x.y @0", "found x.y AAAA @0"},
			},
		},
		"no-aaaa: only glibc knows it, so nobody else should be given it": {
			conf: with(one, "no-aaaa"), name: "x.y.", zone: outcomes{"x.y": answer},
			want: map[resolver.Resolver][]string{
				every:          {"x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Glibc: {"x.y A @0", "found x.y A @0"},
			},
		},
		"no-tld-query: glibc does not ask for a single label as it is": {
			conf: with(one, "no-tld-query"), name: "x", zone: outcomes{"x": answer},
			want: map[resolver.Resolver][]string{
				every:          {"x.a.test @0", "x.b.test @0", "x @0", "found x A @0 x AAAA @0"},
				resolver.Glibc: {"x.a.test @0", "x.b.test @0", "not_found"},
			},
		},
		"use-vc: SERVFAIL over TCP is an answer to glibc, and attempts do not count": {
			conf: with(local, "use-vc", "attempts:3"), name: "x.y.", zone: outcomes{"0/x.y": servFail, "1/x.y": answer},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.y @0", "temporary_failure"},
				resolver.Go:    {"x.y @0", "x.y @1", "found x.y A @1 x.y AAAA @1"},
			},
		},
		"rotate: glibc moves on with every candidate, Go with every question": {
			conf: with(local, "rotate"), rotation: 1, name: "x", zone: outcomes{"x": answer},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.a.test @1", "x.b.test @0", "x @1", "found x A @1 x AAAA @1"},
				resolver.Go: {
					"x.a.test A @1", "x.a.test AAAA @0", "x.b.test A @1", "x.b.test AAAA @0", "x A @1", "x AAAA @0",
					"found x A @1 x AAAA @0",
				},
			},
		},
		"a single dot in the search list is the name as it is to glibc, and ends the lookup on old musl": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{".", "a.test"}},
			name: "x",
			want: map[resolver.Resolver][]string{
				resolver.Glibc:         {"x @0", "x.a.test @0", "not_found"},
				resolver.CAres:         {"x @0", "x.a.test @0", "x @0", "not_found"},
				resolver.Go:            {"x.a.test @0", "x @0", "not_found"},
				resolver.Musl:          {"x.a.test @0", "x @0", "not_found"},
				resolver.MuslBefore124: {"temporary_failure"},
			},
		},
		"without search domains, all but musl search the domain of the hostname": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}}, hostname: "web-0.web.shop.svc.cluster.local",
			name: "x",
			want: map[resolver.Resolver][]string{
				every:                  {"x.web.shop.svc.cluster.local @0", "x @0", "not_found"},
				resolver.Musl:          {"x @0", "not_found"},
				resolver.MuslBefore124: {"x @0", "not_found"},
			},
		},
		"search . keeps glibc from the hostname's domain, but not Go": {
			conf:     resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{"."}},
			hostname: "web-0.web.shop.svc.cluster.local",
			name:     "x",
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x @0", "not_found"},
				resolver.CAres: {"x @0", "x @0", "not_found"},
				resolver.Go:    {"x.web.shop.svc.cluster.local @0", "x @0", "not_found"},
				resolver.Musl:  {"x @0", "not_found"},
			},
		},
		"a candidate that is too long: glibc leaves the search list, the others leave it out or fail": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1"},
				Searches:    []string{strings.Repeat("abcdefg.", 31) + "test", "b.test"},
			},
			name: "xx",
			want: map[resolver.Resolver][]string{
				resolver.Glibc:         {"xx @0", "not_found"},
				resolver.Go:            {"xx.b.test @0", "xx @0", "not_found"},
				resolver.Musl:          {"xx @0", "not_found"}, // the line has more than 255 bytes
				resolver.MuslBefore124: {"xx @0", "not_found"},
				resolver.CAres:         {"failure"},
			},
		},
		"a candidate of 253 bytes is asked for, one more is not": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{"ab", "abc"}},
			name: label63 + "." + label63 + "." + label63 + "." + label63[:58],
			want: map[resolver.Resolver][]string{
				resolver.Go: {
					label63 + "." + label63 + "." + label63 + "." + label63[:58] + " @0",
					label63 + "." + label63 + "." + label63 + "." + label63[:58] + ".ab @0", "not_found",
				},
				resolver.Glibc: {
					label63 + "." + label63 + "." + label63 + "." + label63[:58] + " @0",
					label63 + "." + label63 + "." + label63 + "." + label63[:58] + ".ab @0", "not_found",
				},
			},
		},
		"a search domain of 200 bytes behind short ones kills a process on glibc": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1"},
				// 56 bytes with their zero bytes, and then 200.
				Searches: []string{strings.Repeat("a", 27), strings.Repeat("b", 27), strings.Repeat("abcdefg.", 24) + "abcdefgh"},
			},
			name: "x.",
			want: map[resolver.Resolver][]string{
				every:          {"x @0", "not_found"},
				resolver.Glibc: {"crash"},
			},
		},
		"but not one of 199 bytes, which fits, nor behind longer ones": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1"},
				Searches: []string{
					strings.Repeat("a", 27), strings.Repeat("b", 27), strings.Repeat("abcdefg.", 24) + "abcdefg",
					strings.Repeat("abcdefg.", 24) + "abcdefgh",
				},
			},
			name: "x.",
			want: map[resolver.Resolver][]string{every: {"x @0", "not_found"}},
		},
		"a search line of 255 bytes and a newline is not there for musl": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1"},
				Searches:    []string{strings.Repeat("a", 60) + ".test", strings.Repeat("b", 60) + ".test", strings.Repeat("c", 60) + ".test", strings.Repeat("d", 45) + ".test"},
			},
			name: "x",
			want: map[resolver.Resolver][]string{
				resolver.Musl: {"x @0", "not_found"},
				resolver.Go: {
					"x." + strings.Repeat("a", 60) + ".test @0", "x." + strings.Repeat("b", 60) + ".test @0",
					"x." + strings.Repeat("c", 60) + ".test @0", "x." + strings.Repeat("d", 45) + ".test @0", "x @0", "not_found",
				},
			},
		},
		"a search line of 254 bytes and a newline is": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1"},
				Searches:    []string{strings.Repeat("a", 60) + ".test", strings.Repeat("b", 60) + ".test", strings.Repeat("c", 60) + ".test", strings.Repeat("d", 44) + ".test"},
			},
			name: "x",
			want: map[resolver.Resolver][]string{
				resolver.Musl: {
					"x." + strings.Repeat("a", 60) + ".test @0", "x." + strings.Repeat("b", 60) + ".test @0",
					"x." + strings.Repeat("c", 60) + ".test @0", "x." + strings.Repeat("d", 44) + ".test @0", "x @0", "not_found",
				},
			},
		},
		"attempts:0 kills a process on musl, keeps glibc from asking, and is ignored by the others": {
			conf: with(one, "attempts:0"), name: "x.y.", zone: outcomes{"x.y": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Glibc:         {"temporary_failure"},
				resolver.Musl:          {"crash"},
				resolver.MuslBefore124: {"crash"},
			},
		},
		"timeout:0 keeps musl from asking": {
			conf: with(one, "timeout:0"), name: "x.y.", zone: outcomes{"x.y": answer},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "found x.y A @0 x.y AAAA @0"},
				resolver.Musl:          {"temporary_failure"},
				resolver.MuslBefore124: {"temporary_failure"},
			},
		},
		"an ndots that is no number is 0, but on musl it is not there": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{"a.test"}, Options: []string{"ndots:banana"}},
			name: "x",
			want: map[resolver.Resolver][]string{
				every:                  {"x @0", "x.a.test @0", "not_found"},
				resolver.Musl:          {"x.a.test @0", "x @0", "not_found"},
				resolver.MuslBefore124: {"x.a.test @0", "x @0", "not_found"},
			},
		},
		"of an option that is there twice, musl takes the first": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{"a.test"}, Options: []string{"ndots:2", "ndots:1"}},
			name: "x.y",
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "x.y.a.test @0", "not_found"},
				resolver.Musl:          {"x.y.a.test @0", "x.y @0", "not_found"},
				resolver.MuslBefore124: {"x.y.a.test @0", "x.y @0", "not_found"},
			},
		},
		"ndots is at most 15, and has no limit in c-ares": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.1"}, Searches: []string{"a.test"}, Options: []string{"ndots:16"}},
			name: "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p",
			zone: outcomes{"*": answer},
			want: map[resolver.Resolver][]string{
				every:          {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p @0", "found a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p A @0 a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p AAAA @0"},
				resolver.CAres: {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.a.test @0", "found a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.a.test A @0 a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.a.test AAAA @0"},
			},
		},
		"only three nameservers count, but to c-ares": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1", "nonsense", "10.0.0.2", "10.0.0.3", "10.0.0.4"},
				Options:     []string{"attempts:1"},
			},
			name: "x.y.", zone: outcomes{"*": timeout, "x.y": timeout},
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {"x.y @0", "x.y @2", "x.y @3", "temporary_failure"},
				resolver.Go:    {"x.y @0", "x.y @2", "x.y @3", "temporary_failure"},
				resolver.CAres: {"x.y @0", "x.y @2", "x.y @3", "x.y @4", "temporary_failure"},
				resolver.Musl: {
					"x.y A @0", "x.y A @2", "x.y A @3", "x.y AAAA @0", "x.y AAAA @2", "x.y AAAA @3", "temporary_failure",
				},
			},
		},
		"without a nameserver, the local host is asked": {
			conf: resolver.ResolvConf{Options: []string{"attempts:1"}}, name: "x.y.", zone: outcomes{"x.y": timeout},
			want: map[resolver.Resolver][]string{
				every:                  {"x.y @0", "temporary_failure"},
				resolver.Go:            {"x.y @0", "x.y @1", "temporary_failure"},
				resolver.Musl:          {"x.y @0", "temporary_failure"},
				resolver.MuslBefore124: {"x.y @0", "temporary_failure"},
			},
		},
		"underscores are fine": {
			conf: one, name: "_http._tcp.x", zone: outcomes{"_http._tcp.x": answer},
			want: map[resolver.Resolver][]string{
				every: {"_http._tcp.x @0", "found _http._tcp.x A @0 _http._tcp.x AAAA @0"},
			},
		},
		"a leading hyphen is asked for by musl and c-ares": {
			conf: one, name: "-x.y.", zone: outcomes{"-x.y": answer},
			want: map[resolver.Resolver][]string{
				every:          {"-x.y @0", "found -x.y A @0 -x.y AAAA @0"},
				resolver.Glibc: {"not_found"},
				resolver.Go:    {"not_found"},
			},
		},
		"an asterisk is asked for by musl and c-ares": {
			conf: one, name: "*.x.y", zone: outcomes{"*.x.y": answer},
			want: map[resolver.Resolver][]string{
				every:          {"*.x.y @0", "found *.x.y A @0 *.x.y AAAA @0"},
				resolver.Glibc: {"not_found"},
				resolver.Go:    {"not_found"},
			},
		},
		"an empty label is never asked for": {
			conf: one, name: "x..y",
			want: map[resolver.Resolver][]string{
				every:          {"not_found"},
				resolver.CAres: {"failure"},
			},
		},
		"the empty name under the root as a search domain is the root, for glibc": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.10"}, Searches: []string{".", "c.test"}},
			name: "",
			want: map[resolver.Resolver][]string{
				resolver.Glibc: {". @0", "not_found"},
				resolver.Musl:  {"not_found"},
			},
		},
		"musl before 1.2.4 refuses a label that is too long before it overlooks a dot": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.0.0.10"}, Searches: []string{"."}, Options: []string{"ndots:4"}},
			name: strings.Repeat("l", 64),
			want: map[resolver.Resolver][]string{
				resolver.MuslBefore124: {"not_found"},
			},
		},
		"the empty name is never asked for": {
			conf: one, name: "",
			want: map[resolver.Resolver][]string{
				resolver.Glibc:         {"not_found"},
				resolver.Go:            {"not_found"},
				resolver.Musl:          {"not_found"},
				resolver.MuslBefore124: {"not_found"},
			},
		},
		"Go and c-ares ask nobody for onion names": {
			conf: one, name: "x.onion",
			want: map[resolver.Resolver][]string{
				resolver.Go:    {"x.onion.a.test @0", "x.onion.b.test @0", "not_found"},
				resolver.CAres: {"not_found"},
				resolver.Glibc: {"x.onion.a.test @0", "x.onion.b.test @0", "x.onion @0", "not_found"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(map[resolver.Resolver][]string)
			want := make(map[resolver.Resolver][]string)
			for _, r := range resolver.Resolvers() {
				lines, ok := test.want[r]
				if !ok {
					if lines, ok = test.want[every]; !ok {
						continue
					}
				}
				want[r] = lines
				client := resolver.Client{Resolver: r, ResolvConf: test.conf, Hostname: test.hostname, Rotation: test.rotation}
				got[r] = summary(client.Lookup(test.name, records(test.zone)))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
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

func TestAnUnknownResolverFails(t *testing.T) {
	t.Parallel()
	got := resolver.Resolver("windows").Lookup(cluster(), "x", names("x"))
	if diff := cmp.Diff(resolver.Lookup{Status: resolver.Failure}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
