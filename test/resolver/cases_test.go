//go:build e2e

package resolver_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// testCase is one lookup of one resolver.
type testCase struct {
	Resolver resolver.Resolver
	Conf     resolver.ResolvConf
	Hostname string
	// ResOptions and LocalDomain are RES_OPTIONS and LOCALDOMAIN; empty: not set.
	ResOptions, LocalDomain string
	Name                    string
	Zone                    randomZone
}

// randomZone gives every question an outcome of its own.
type randomZone struct {
	// Exist, if there are any, are the only names that have answers, and nothing
	// is random.
	Exist []string `json:",omitempty"`
	// Cluster, if not nil, is a cluster's DNS instead, and nothing is random either.
	Cluster *clusterZone `json:",omitempty"`
	Seed    uint64
	// Weights are how often the outcomes occur, by their number.
	Weights [5]int
	// PerServer zones differ from server to server.
	PerServer bool
	// Alike is how many of ten names have the same outcome for A and AAAA.
	Alike int
}

func (z randomZone) outcome(server int, name string, t resolver.RRType) resolver.Outcome {
	if z.Cluster != nil {
		return z.Cluster.outcome(name)
	}
	if len(z.Exist) > 0 {
		if slices.Contains(z.Exist, name) {
			return resolver.Answer
		}
		return resolver.NXDomain
	}
	if !z.PerServer {
		server = 0
	}
	if int(hash("alike", z.Seed, server, name)%10) < z.Alike {
		t = resolver.A
	}
	total := 0
	for _, weight := range z.Weights {
		total += weight
	}
	draw := int(hash(z.Seed, server, name, t) % uint64(total))
	for outcome, weight := range z.Weights {
		if draw -= weight; draw < 0 {
			return resolver.Outcome(outcome)
		}
	}
	panic("unreachable")
}

// address tells by itself which answer it comes from.
func (z randomZone) address(server int, name string, t resolver.RRType) netip.Addr {
	if !z.PerServer {
		server = 0
	}
	h := hash("address", server, name)
	if t == resolver.A {
		return netip.AddrFrom4([4]byte{10, byte(h >> 16), byte(h >> 8), byte(h)})
	}
	b := [16]byte{0xfd}
	binary.BigEndian.PutUint64(b[8:], h)
	return netip.AddrFrom16(b)
}

// serverAddresses are where the nameservers of the case listen, by index. Without
// nameservers, the resolvers' own defaults are used.
func (c testCase) serverAddresses() map[netip.Addr]int {
	addresses := make(map[netip.Addr]int)
	for i, text := range c.Conf.Nameservers {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses[address] = i
		}
	}
	if len(addresses) == 0 {
		addresses[netip.MustParseAddr("127.0.0.1")] = 0
		addresses[netip.MustParseAddr("::1")] = 1
	}
	return addresses
}

// has is of resolv.conf and, where it is read, RES_OPTIONS.
func (c testCase) has(option string) bool {
	return slices.Contains(c.Conf.Options, option) ||
		(c.Resolver == resolver.Glibc || c.Resolver == resolver.CAres) && slices.Contains(strings.Fields(c.ResOptions), option)
}

func (c testCase) client(rotation int) resolver.Client {
	return resolver.Client{
		Resolver: c.Resolver, ResolvConf: c.Conf, Hostname: c.Hostname, Rotation: rotation, ResOptions: c.ResOptions, LocalDomain: c.LocalDomain,
	}
}

func (c testCase) String() string {
	return fmt.Sprintf("%s looks up %q, hostname %q, RES_OPTIONS %q, LOCALDOMAIN %q, zone %+v, resolv.conf:\n%s",
		c.Resolver, c.Name, c.Hostname, c.ResOptions, c.LocalDomain, c.Zone, c.Conf)
}

// generator draws cases.
type generator struct{ *rand.Rand }

func (g generator) percent(p int) bool { return g.IntN(100) < p }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// newCase draws the case with this number.
func newCase(r resolver.Resolver, seed uint64, number int) testCase {
	g := generator{rand.New(rand.NewPCG(seed, uint64(number)))}
	for {
		if c := g.draw(r); c.cheap() {
			return c
		}
	}
}

func (g generator) draw(r resolver.Resolver) testCase {
	c := testCase{Resolver: r, Name: g.name(), Hostname: "pod"}
	if g.percent(15) {
		c.Hostname = pick(g, "web-0.web.ns.svc.cluster.test", "node.ec2.test", "pod.")
	}
	c.Zone = randomZone{
		Seed: g.Uint64(),
		// Timeout, Answer, NoData, NXDomain, ServFail
		Weights: pick(g,
			[5]int{0, 2, 1, 7, 0}, [5]int{0, 1, 0, 9, 0}, [5]int{0, 1, 1, 1, 0}, [5]int{0, 0, 1, 9, 0}, [5]int{0, 1, 8, 1, 0},
		),
		PerServer: g.percent(50),
		Alike:     pick(g, 0, 8, 10),
	}
	// What makes a resolver wait is rare.
	slow := g.percent(20)
	if slow {
		c.Zone.Weights[resolver.Timeout] = pick(g, 1, 2, 5, 20)
	}
	if costly := r == resolver.Musl || r == resolver.MuslBefore124; g.percent(40) && !costly || g.percent(20) {
		c.Zone.Weights[resolver.ServFail] = pick(g, 1, 2, 8)
		slow = slow || costly
	}
	c.Conf.Nameservers = g.nameservers()
	c.Conf.Searches = g.searches()
	slow = slow || r == resolver.MuslBefore124 && slices.Contains(c.Conf.Searches, ".")
	c.Conf.Options = g.options(r, slow)
	if g.percent(options.variable) {
		c.ResOptions = g.variable()
		if g.percent(20) {
			c.LocalDomain = pick(g, "local.test", "a.test b.test", "cluster.test", " ", " a.test")
		}
	}
	if r == resolver.Glibc && c.has("use-vc") && g.percent(50) { // no wait over TCP
		c.Zone.Weights[resolver.Timeout] = pick(g, 5, 20)
	}
	if r == resolver.CAres && len(c.Conf.Nameservers) > 1 && c.Zone.Weights[resolver.Timeout]+c.Zone.Weights[resolver.ServFail] > 0 {
		// Which nameserver a question goes to after failures is a race.
		c.Zone.PerServer = false
	}
	if r == resolver.Go && c.has("rotate") {
		// Whether A or AAAA gets the next server is a race: it must not matter,
		// and candidate names must be told apart.
		c.Zone.PerServer = false
		slices.Sort(c.Conf.Searches)
		c.Conf.Searches = slices.CompactFunc(c.Conf.Searches, func(a, b string) bool {
			return strings.TrimSuffix(a, ".") == strings.TrimSuffix(b, ".")
		})
	}
	return c
}

func (g generator) nameservers() []string {
	var servers []string
	for i := range pick(g, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4) {
		servers = append(servers, fmt.Sprintf("127.0.1.%d", i+1))
	}
	if len(servers) > 1 && g.percent(5) {
		servers[g.IntN(len(servers))] = "nonsense"
	}
	return servers
}

func (g generator) searches() []string {
	cluster := []string{"ns.svc.cluster.test", "svc.cluster.test", "cluster.test"}
	switch g.IntN(10) {
	case 0:
		return nil
	case 1, 2:
		return cluster
	case 3:
		return append(cluster, "corp.example.test")
	case 4: // the longest lists, around the limit of musl and that of c-ares
		var searches []string
		total := pick(g, 240, 246, 247, 248, 249, 250, 256, 300, 503, 511, 512, 2048)
		for left := total; left > 2; {
			n := min(left, 30+g.IntN(30))
			searches = append(searches, strings.Repeat("s", n-2)+pick(g, ".a", ".b"))
			left -= n + 1
		}
		return searches
	}
	var searches []string
	for range g.IntN(5) {
		searches = append(searches, pick(g, "a.test", "b.test", "c.test.", "test", "test.", "A.test", "sub.a.test", "x.onion", ".", "svc.cluster.test"))
	}
	if g.percent(3) { // the assertion in glibc
		searches = append(searches, strings.Repeat("abcdefg.", 23)+strings.Repeat("x", 8+g.IntN(50)))
	}
	if g.percent(4) {
		searches = append(searches, pick(g, strings.Repeat("l", 64)+".test", strings.Repeat("abcdefg.", 30)+"test", "_tcp.test", "-dash.test"))
		g.Shuffle(len(searches), func(i, j int) { searches[i], searches[j] = searches[j], searches[i] })
	}
	return searches
}

func (g generator) options(r resolver.Resolver, slow bool) []string {
	var options []string
	maybe := func(p int, values ...string) {
		if g.percent(p) {
			options = append(options, pick(g, values...))
		}
	}
	maybe(80, "ndots:0", "ndots:1", "ndots:2", "ndots:3", "ndots:4", "ndots:5", "ndots:5", "ndots:15", "ndots:16", "ndots:banana", "ndots", "ndots:-1", "ndots:2x", "ndots: 2")
	switch {
	case slow:
		// The timeout is divisible by the attempts, as musl wants it.
		options = append(options, "timeout:2", pick(g, "attempts:1", "attempts:2"))
	case g.percent(3):
		options = append(options, "timeout:30", pick(g, "attempts:0", "attempts:5", "attempts:6", "attempts:12", "attempts:x", "attempts:-1"))
	default:
		options = append(options, "timeout:30")
		maybe(50, "attempts:1", "attempts:2", "attempts:3")
	}
	if r == resolver.CAres {
		// It picks nameservers at random, and takes -1 attempts for four billion.
		options = slices.DeleteFunc(options, func(option string) bool { return option == "attempts:-1" })
	} else {
		maybe(12, "rotate")
	}
	maybe(12, "use-vc")
	maybe(12, "single-request", "single-request-reopen")
	maybe(10, "no-aaaa")
	maybe(12, "no-tld-query", "no_tld_query")
	maybe(12, "edns0")
	maybe(8, "trust-ad")
	maybe(8, "no-reload")
	maybe(5, "unknown", "x-ndots:3", "timeoutx:1")
	g.Shuffle(len(options), func(i, j int) { options[i], options[j] = options[j], options[i] })
	return options
}

// variable draws RES_OPTIONS: what is injected, and what images have.
func (g generator) variable() string {
	return pick(g, "ndots:2", "ndots:2", "ndots:2", "ndots:3", "ndots:0", "ndots:1", "ndots:4", "ndots:15", "ndots:99", "ndots:x", "ndots:2 single-request",
		"no-aaaa", " ndots:2\tedns0", "use-vc ndots:3", "ndots:4 ndots:2", "unknown ndots:2", "ndots", "ndots: 2", "attempts: 1 ndots:\t3")
}

func (g generator) name() string {
	labels := []string{"api", "web", "www", "example", "com", "svc", "ns", "cluster", "test", "_http", "_tcp", "x-1", "UPPER", "n0"}
	var name []string
	for range 1 + pick(g, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6) {
		name = append(name, pick(g, labels...))
	}
	if g.percent(4) {
		name[g.IntN(len(name))] = pick(g, strings.Repeat("l", 63), strings.Repeat("l", 64), "-lead", "trail-", "*", "a b", "a/b", "a_b", "")
	}
	text := strings.Join(name, ".")
	switch g.IntN(50) {
	case 0:
		return text + ".onion"
	case 1:
		return text + ".."
	case 2:
		return "."
	case 3: // close to the limits
		labels := pick(g, strings.Repeat("abcdefg.", 40), strings.Repeat(strings.Repeat("l", 63)+".", 5))
		return labels[:pick(g, 240, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255, 256)-1] + pick(g, "x", "x", ".")
	case 4, 5, 6, 7, 8:
		return text + "."
	}
	return text
}

// cheap tells whether the lookup waits for few enough timeouts.
func (c testCase) cheap() bool {
	if c.Resolver == resolver.CAres && slices.ContainsFunc(append([]string{""}, c.Conf.Searches...), func(domain string) bool {
		return len(c.Name)+1+len(domain) > 253
	}) {
		return false // it sends names that are too long, which no server can read
	}
	waits := 0
	if c.Resolver == resolver.Glibc && c.has("use-vc") {
		return true
	}
	for _, q := range c.client(0).Lookup(c.Name, c.Zone.outcome).Queries {
		if c.Zone.outcome(q.Server, q.Name, q.Type) == resolver.Timeout {
			waits++
		}
	}
	return waits <= 10
}
