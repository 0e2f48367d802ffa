//go:build e2e

package resolver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/testfile"
)

// What the outside says to a name that it does not have.
const (
	upstreamDenies  = "NXDOMAIN"
	upstreamEmpty   = "NODATA"
	upstreamFails   = "SERVFAIL"
	upstreamRefuses = "REFUSED"
	upstreamSilent  = "silence"
	upstreamLies    = "an address"
)

var upstreams = []string{upstreamDenies, upstreamEmpty, upstreamFails, upstreamRefuses, upstreamSilent, upstreamLies}

// clusterZone is the DNS of a cluster: its own names, names below example.com, and an
// upstream for the rest.
type clusterZone struct {
	Upstream string
	// Template answers svc. in the cluster, as the block does that doctor prints.
	Template bool
}

// clusterHas are the names that exist.
var clusterHas = []string{
	"web.shop.svc.cluster.local", "web-0.web.shop.svc.cluster.local",
	"example.com", "api.example.com", "a.api.example.com", "a.b.api.example.com", "a.b.c.api.example.com",
}

func (z *clusterZone) outcome(name string) resolver.Outcome {
	below := func(zone string) bool { return name == zone || strings.HasSuffix(name, "."+zone) }
	switch {
	case slices.Contains(clusterHas, name):
		return resolver.Answer
	case below("cluster.local"), below("example.com"), z.Template && below("svc"):
		return resolver.NXDomain
	}
	switch z.Upstream {
	case upstreamEmpty:
		return resolver.NoData
	case upstreamFails, upstreamRefuses:
		return resolver.ServFail
	case upstreamSilent:
		return resolver.Timeout
	case upstreamLies:
		return resolver.Answer
	}
	return resolver.NXDomain
}

// clientNames have 0 to 5 dots, inside, outside and nowhere.
var clientNames = []string{
	"web", "web.shop", "web.shop.svc", "web-0.web.shop.svc", "web.shop.svc.cluster.local", "web-0.web.shop.svc.cluster.local",
	"example.com", "api.example.com", "a.api.example.com", "a.b.api.example.com", "a.b.c.api.example.com",
	"none", "none.shop", "none.shop.svc", "none.web.shop.svc", "none.shop.svc.cluster.local", "none.web.shop.svc.cluster.local",
	"none.invalid", "a.none.invalid", "a.b.none.invalid", "a.b.c.none.invalid", "a.b.c.d.none.invalid",
}

// carrier is what brings a lower ndots to a container (see dns.fallthrough in the policy).
type carrier int

const (
	carrierNone     carrier = iota // dns.ndots and no more
	carrierVariable                // RES_OPTIONS
	carrierFile                    // resolv.conf
)

const loweredNdots = 2

// realClient is a program that looks names up.
type realClient struct {
	name string
	// carrier is what its container gets.
	carrier carrier
	// model is whose queries it must send; empty: no model is held to it.
	model resolver.Resolver
	// build makes it, in a folder, and returns the command.
	build func(t *testing.T, dir string) []string
	// serves is of request.
	serves bool
}

func realClients() []*realClient {
	compiled := func(env []string, command ...string) func(*testing.T, string) []string {
		return func(t *testing.T, dir string) []string {
			t.Helper()
			program := filepath.Join(dir, "lookup")
			for i := range command {
				command[i] = strings.ReplaceAll(command[i], "PROGRAM", program)
			}
			runOutside(t, env, command...)
			return []string{program}
		}
	}
	script := func(interpreter, file string) func(*testing.T, string) []string {
		return func(t *testing.T, _ string) []string {
			t.Helper()
			path, err := filepath.Abs(filepath.Join("testdata", "clients", file))
			if err != nil {
				t.Fatal(err)
			}
			return []string{interpreter, path}
		}
	}
	java := func(class string, jars ...string) func(*testing.T, string) []string {
		return func(t *testing.T, dir string) []string {
			t.Helper()
			classes := strings.Join(append([]string{dir}, jars...), ":")
			runOutside(t, nil, "javac", "-cp", classes, "-d", dir, "testdata/clients/"+class+".java")
			return []string{
				"/usr/bin/java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m",
				"-cp", classes, class,
			}
		}
	}
	netty := []string{}
	for _, jar := range []string{"buffer", "codec", "codec-dns", "common", "handler", "resolver", "resolver-dns", "transport", "transport-native-unix-common"} {
		netty = append(netty, "/usr/share/java/netty-"+jar+".jar")
	}
	return []*realClient{
		{"C, glibc", carrierVariable, resolver.Glibc, compiled(nil, "gcc", "-O2", "-o", "PROGRAM", "testdata/getaddrinfo.c"), false},
		{"C, musl", carrierNone, resolver.MuslBefore124, compiled(nil, options.muslCC, "-static", "-O2", "-o", "PROGRAM", "testdata/getaddrinfo.c"), false},
		{"Go, static", carrierFile, resolver.Go, compiled([]string{"CGO_ENABLED=0"}, "go", "build", "-o", "PROGRAM", "./testdata/lookup"), false},
		{"Go with cgo", carrierNone, resolver.Go, compiled([]string{"CGO_ENABLED=1"}, "go", "build", "-o", "PROGRAM", "./testdata/lookup"), false},
		{"Python", carrierVariable, resolver.Glibc, script("/usr/bin/python3", "lookup.py"), false},
		{"Node", carrierVariable, resolver.Glibc, script("/usr/bin/node", "lookup.js"), false},
		{"Java", carrierVariable, resolver.Glibc, java("Lookup"), true},
		{"Perl", carrierVariable, resolver.Glibc, script("/usr/bin/perl", "lookup.pl"), false},
		{"Ruby", carrierVariable, resolver.Glibc, script("/usr/bin/ruby", "lookup.rb"), false},
		{"PHP", carrierVariable, "", script("/usr/bin/php", "lookup.php"), false},
		{"c-ares", carrierVariable, "", compiled(nil, "gcc", "-O2", "-Wno-deprecated-declarations", "-o", "PROGRAM", "testdata/ares.c", "-lcares"), false},
		{"Netty", carrierVariable, "", java("NettyLookup", netty...), true},
	}
}

func runOutside(t *testing.T, env []string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
	}
}

// lookup is one, under kubelet's default or under what Shorthop sets.
func (c *realClient) lookup(name string, zone clusterZone, shorthop bool) testCase {
	ndots, variable := kubeletNdots, ""
	if shorthop {
		ndots = policy.DefaultNdots
		switch c.carrier {
		case carrierNone:
		case carrierVariable:
			variable = fmt.Sprintf("ndots:%d", loweredNdots)
		case carrierFile:
			ndots = loweredNdots
		}
	}
	return testCase{
		Resolver: c.model, Name: name, Hostname: "pod", ResOptions: variable, Zone: randomZone{Cluster: &zone},
		Conf: resolver.ResolvConf{
			Nameservers: []string{"127.0.1.1"}, Searches: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
			Options: []string{fmt.Sprintf("ndots:%d", ndots), "timeout:1", "attempts:2"},
		},
	}
}

// TestRealClientsKeepTheirAnswers looks names up with what people's programs use: with
// the cluster answering svc. itself, every one of them has the answer that it had under
// kubelet's default, whatever the outside says. Without that, those that have a model do
// what it says.
func TestRealClientsKeepTheirAnswers(t *testing.T) {
	if !options.clients {
		t.Skip("needs interpreters of many languages: make test-clients installs them")
	}
	clients := realClients()
	rows := make([]clientRow, len(clients))
	for i, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			rows[i] = client.run(t)
		})
	}
	if t.Failed() || slices.ContainsFunc(rows, func(r clientRow) bool { return r.client == nil }) {
		return // -run has chosen some of them
	}
	page := clientsPage(rows)
	t.Log("\n" + page)
	if options.writeResults {
		testfile.Write(t, "../../docs/results/clients.md", page)
	}
}

func (c *realClient) run(t *testing.T) clientRow {
	t.Helper()
	command := c.build(t, t.TempDir())
	type lookup struct {
		name string
		zone clusterZone
	}
	lookups := make(chan lookup)
	go func() {
		defer close(lookups)
		for _, upstream := range upstreams {
			for _, name := range clientNames {
				for _, template := range []bool{true, false} {
					lookups <- lookup{name, clusterZone{Upstream: upstream, Template: template}}
				}
			}
		}
	}()
	row := clientRow{client: c, lost: make(map[string]int)}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		count int
	)
	for range 4 * runtime.NumCPU() {
		group.Go(func() {
			s, err := newSandbox(t.Context(), etcFor(t))
			if err != nil {
				t.Error(err)
				for range lookups { // let the sender end
				}
				return
			}
			for l := range lookups {
				before, after := c.ask(t, s, command, c.lookup(l.name, l.zone, false)), c.ask(t, s, command, c.lookup(l.name, l.zone, true))
				same := before.Status == after.Status && slices.Equal(before.Addresses, after.Addresses)
				if l.zone.Template && !same {
					t.Errorf("%s, where the cluster answers svc. and the outside says %s: %s %v, and was %s %v",
						l.name, l.zone.Upstream, after.Status, after.Addresses, before.Status, before.Addresses)
				}
				mu.Lock()
				count += 2
				if !l.zone.Template && !same {
					row.lost[l.zone.Upstream]++
				}
				mu.Unlock()
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s, err := newSandbox(t.Context(), etcFor(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pageNames {
		zone := clusterZone{Upstream: upstreamDenies}
		row.queries = append(row.queries, [2]int{
			len(c.ask(t, s, command, c.lookup(name, zone, false)).Queries), len(c.ask(t, s, command, c.lookup(name, zone, true)).Queries),
		})
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lookups", count)
	return row
}

// ask runs one lookup, and holds it to the model.
func (c *realClient) ask(t *testing.T, s *sandbox, command []string, l testCase) observation {
	t.Helper()
	o, err := s.observe(request{Case: l, Probe: command[0], Args: command[1:], Serves: c.serves})
	if err != nil {
		t.Errorf("%s: %v", l.Name, err)
		return o
	}
	if c.model == "" || l.Zone.Cluster.Upstream == upstreamRefuses && c.model == resolver.MuslBefore124 {
		return o // musl asks again after SERVFAIL only, and the model has one word for both
	}
	held := o
	if want := expected(l, 0).Status; want != resolver.Found && o.Status != resolver.Found {
		held.Status = want // languages have fewer words for it than libc
	}
	held.Addresses = slices.Compact(slices.Clone(o.Addresses))
	if difference := differs(l, held); difference != "" {
		// A late answer on a busy machine is seen once.
		if o, err = s.observe(request{Case: l, Probe: command[0], Args: command[1:], Serves: c.serves}); err != nil {
			t.Errorf("%s: %v", l.Name, err)
			return o
		}
		held.Queries, held.Addresses = o.Queries, o.Addresses
		if difference = differs(l, held); difference != "" {
			t.Errorf("%s, %+v: not what the model says (-model +observed):\n%s", l.Name, *l.Zone.Cluster, difference)
		}
	}
	return o
}

// etcFor makes a folder to put in the place of /etc, with what interpreters need there.
func etcFor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	java, err := filepath.Glob("/etc/java-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range append(java, "/etc/alternatives", "/etc/php", "/etc/ssl") {
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		if err := os.CopyFS(filepath.Join(dir, filepath.Base(folder)), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pageNames are the names on the page, each with a dot more.
var pageNames = []string{"web.shop", "web.shop.svc", "web-0.web.shop.svc", "example.com", "api.example.com", "a.b.api.example.com"}

// clientRow is what the page says of a client.
type clientRow struct {
	client *realClient
	// queries are for each of pageNames, under kubelet's default and after.
	queries [][2]int
	// lost counts by what the outside says: names with another answer, where the
	// cluster does not answer svc. itself.
	lost map[string]int
}

func clientsPage(rows []clientRow) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Queries of real clients

Written by %s: programs of Debian's packages, and of this repository's compilers, look names up at a DNS
server that counts. Each gets what Shorthop gives it where its image is known and %s is %d: the variable
%s, a lower ndots in resolv.conf, or %s %d and no more.

Queries for one lookup, under kubelet's ndots %d and after:

| client | gets |`, "`make test-clients`", "`fallthrough.ndots`", loweredNdots, "`RES_OPTIONS`", "`dns.ndots`", policy.DefaultNdots, kubeletNdots)
	for _, name := range pageNames {
		fmt.Fprintf(&b, " `%s` |", name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(pageNames)) + "\n")
	for _, row := range rows {
		gets := []string{fmt.Sprintf("ndots %d", policy.DefaultNdots), "`RES_OPTIONS`", fmt.Sprintf("resolv.conf with ndots %d", loweredNdots)}[row.client.carrier]
		fmt.Fprintf(&b, "| %s | %s |", row.client.name, gets)
		for _, q := range row.queries {
			fmt.Fprintf(&b, " %d -> %d |", q[0], q[1])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, `
With the template block that doctor prints, which has the cluster's DNS answer %s, all of them have for all of %d names
(0 to 5 dots; inside, outside, nowhere) the answer that they had, whatever the outside says to names that it does not have: %s.
Without the block, names with another answer than before, of %d:

| client |`, "`svc.`", len(clientNames), strings.Join(upstreams, ", "), len(clientNames))
	for _, upstream := range upstreams {
		fmt.Fprintf(&b, " %s |", upstream)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(upstreams)) + "\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |", row.client.name)
		for _, upstream := range upstreams {
			fmt.Fprintf(&b, " %d |", row.lost[upstream])
		}
		b.WriteString("\n")
	}
	b.WriteString("\nThat is why `fallthrough` waits for the gate `upstream`.\n")
	return b.String()
}
