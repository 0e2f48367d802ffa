//go:build e2e

package advisor_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

var (
	seed      = flag.Uint64("seed", 1, "seed of the workloads and their lookups")
	workloads = flag.Int("workloads", 48, "workloads")
	lookups   = flag.Int("lookups", 100, "lookups of each workload")
	coredns   = flag.String("coredns", os.Getenv("E2E_COREDNS"), "CoreDNS binary")
)

func TestMain(m *testing.M) {
	if address := os.Getenv(proxyEnv); address != "" {
		fmt.Fprintln(os.Stderr, runProxy(address))
		os.Exit(1)
	}
	if dir := os.Getenv(sandboxEnv); dir != "" {
		if err := runSandbox(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// TestLookupsAreFoundAgainAndRecommendationsHold is the whole loop with the real
// resolvers: look up, advise, apply, look up again.
func TestLookupsAreFoundAgainAndRecommendationsHold(t *testing.T) {
	if *coredns == "" {
		t.Fatal("name CoreDNS with -coredns or E2E_COREDNS")
	}
	programs := build(t)
	cluster := loggen.New(loggen.Options{Seed: *seed, Workloads: *workloads})
	random := rand.New(rand.NewPCG(*seed, 3))
	r := request{CoreDNS: *coredns, Zone: zone(cluster)}
	var made []loggen.Lookup
	for i := range cluster.Workloads {
		w := &cluster.Workloads[i]
		c := client{Address: w.Address, Conf: withoutServers(cluster.ResolvConf(w)), Program: programs[w.Resolver], Command: commands[w.Only]}
		for range *lookups {
			// Popular names more often.
			name := w.Names[random.IntN(1+random.IntN(len(w.Names)))]
			c.Names = append(c.Names, name)
			made = append(made, loggen.Lookup{Workload: i, Name: name})
		}
		r.Clients = append(r.Clients, c)
	}
	before := run(t, r)
	t.Logf("%d workloads, %d lookups, %d lines", len(r.Clients), len(made), bytes.Count(before.Log, []byte("\n")))

	report := advise(t, cluster, before.Log)
	t.Run("lookups as logged", func(t *testing.T) { compare(t, cluster, made, report) })
	t.Run("30 % of lines moved within a second and 1 % lost", func(t *testing.T) {
		compare(t, cluster, made, advise(t, cluster, loggen.Disturb(before.Log, *seed, 10, 30)))
	})

	t.Run("in every form", func(t *testing.T) { compareForms(t, cluster, before.Log) })

	t.Run("resolvers by their queries", func(t *testing.T) { compareResolvers(t, cluster, before.Log) })

	byName := make(map[string]*advisor.Workload)
	for i := range report.Workloads {
		byName[report.Workloads[i].Name] = &report.Workloads[i]
	}
	again := request{CoreDNS: r.CoreDNS, Zone: r.Zone}
	for i := range cluster.Workloads {
		w, c := &cluster.Workloads[i], r.Clients[i]
		recommendation := byName[w.Name].Recommendation
		if recommendation == nil { // nothing to apply
			if why := byName[w.Name].Reason; why != advisor.ReasonNoSafeNdots {
				t.Fatalf("%s has no recommendation: %s", w.Name, why)
			}
			again.Clients = append(again.Clients, c)
			continue
		}
		conf := cluster.ResolvConf(w)
		conf.Options = []string{fmt.Sprintf("ndots:%d", recommendation.Ndots)}
		c.Conf = withoutServers(conf)
		again.Clients = append(again.Clients, c)
	}
	after := run(t, again)
	measured := count(t, after.Log)
	var sum struct{ before, predicted, measured int64 }
	var lines []string
	for i := range cluster.Workloads {
		w := &cluster.Workloads[i]
		found := byName[w.Name]
		advised := found.Recommendation
		if advised == nil {
			continue
		}
		actual := measured[w.Address]
		ndots := w.Ndots
		if ndots == 0 {
			ndots = 5
		}
		lines = append(lines, fmt.Sprintf("%-8s %-6s ndots %d -> %d %6d %6d %6d", w.Name, w.Resolver, ndots, advised.Ndots, found.Queries, advised.Queries, actual))
		sum.before += found.Queries
		sum.predicted += advised.Queries
		sum.measured += actual
		if raised := advised.Ndots > ndots; !raised && !within(actual, advised.Queries) {
			t.Errorf("%s: %d queries predicted, %d measured: more than 1 %% apart", w.Name, advised.Queries, actual)
		}
		for j := range before.Answers[i] {
			was, is := before.Answers[i][j], after.Answers[i][j]
			slices.Sort(was.Addresses)
			slices.Sort(is.Addresses)
			if advised.Ndots > ndots && len(was.Addresses) == 0 {
				continue // hidden by a too low ndots
			}
			if diff := cmp.Diff(was, is); diff != "" {
				t.Errorf("%s with ndots %d instead of %d: %s has another answer (-before +after):\n%s", w.Name, advised.Ndots, ndots, was.Name, diff)
			}
		}
	}
	t.Logf("workload resolver ndots     before predicted measured\n%s", strings.Join(lines, "\n"))
	t.Logf("all: %d before, %d predicted, %d measured", sum.before, sum.predicted, sum.measured)
	if !within(sum.measured, sum.predicted) {
		t.Errorf("%d queries predicted, %d measured: more than 1 %% apart", sum.predicted, sum.measured)
	}
}

// commands of the programs, by the one type that they ask for.
var commands = map[resolver.RRType]string{0: "lookup", resolver.A: "lookup4", resolver.AAAA: "lookup6"}

// within tells whether a measured number is within 1 % of the predicted one.
func within(measured, predicted int64) bool {
	difference := max(measured, predicted) - min(measured, predicted)
	return 100*difference <= predicted
}

// build makes the programs of test/e2e for each resolver.
func build(t *testing.T) map[resolver.Resolver]string {
	t.Helper()
	dir := t.TempDir()
	programs := make(map[resolver.Resolver]string)
	for r, command := range map[resolver.Resolver][]string{
		resolver.Glibc: {"gcc", "-O2", "-o", "PROGRAM", "../e2e/probe/c/probe.c"},
		resolver.Musl:  {"musl-gcc", "-static", "-O2", "-o", "PROGRAM", "../e2e/probe/c/probe.c"},
		resolver.Go:    {"go", "-C", "../e2e", "build", "-o", "PROGRAM", "./probe/golang"},
	} {
		programs[r] = filepath.Join(dir, string(r))
		command[slices.Index(command, "PROGRAM")] = programs[r]
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
		}
	}
	return programs
}

// zone is what CoreDNS serves: every name that exists, with addresses of its own.
func zone(cluster *loggen.Cluster) string {
	var b strings.Builder
	b.WriteString("$TTL 5\n@ IN SOA ns. admin. 1 3600 600 86400 5\n@ IN NS ns.\nns. IN A 192.0.2.1\nready.test. IN A 192.0.2.2\n")
	for i, name := range cluster.Names() {
		fmt.Fprintf(&b, "%s. IN A 10.200.%d.%d\n", name, i>>8, i&255)
		if cluster.Outcome(0, name, resolver.AAAA) == resolver.Answer {
			fmt.Fprintf(&b, "%s. IN AAAA fd00::%x\n", name, i+1)
		}
	}
	return b.String()
}

func withoutServers(conf resolver.ResolvConf) string {
	conf.Nameservers = nil
	return conf.String()
}

func run(t *testing.T, r request) reply {
	t.Helper()
	result, err := inSandbox(t.Context(), t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func advise(t *testing.T, cluster *loggen.Cluster, log []byte) *advisor.Report {
	t.Helper()
	clients := advisor.NewClients(loggen.ResolverOf, nil)
	for _, pod := range cluster.Pods() {
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{
		ClusterDomain: loggen.ClusterDomain, Host: resolver.ResolvConf{Searches: []string{loggen.NodeSearch}},
	})
	if err := collector.Read(bytes.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	return collector.Report(advisor.Settings{Names: -1})
}

// count counts a log's queries by client, in a way of its own.
func count(t *testing.T, log []byte) map[string]int64 {
	t.Helper()
	counts := make(map[string]int64)
	for line := range strings.Lines(string(log)) {
		_, rest, found := strings.Cut(line, "[INFO] ")
		client, _, isQuery := strings.Cut(rest, ":")
		if found && isQuery && strings.Contains(line, " IN ") {
			counts[client]++
		}
	}
	return counts
}

// compare prints precision and recall by workload and name, up to names that a log
// cannot tell apart.
func compare(t *testing.T, cluster *loggen.Cluster, made []loggen.Lookup, report *advisor.Report) {
	t.Helper()
	type key struct{ workload, name string }
	truth, found := make(map[key]int64), make(map[key]int64)
	for _, l := range made {
		w := &cluster.Workloads[l.Workload]
		ndots := w.Ndots
		if ndots == 0 {
			ndots = 5
		}
		truth[key{w.Name, loggen.Canonical(cluster.ResolvConf(w), w.Resolver, cluster.Zone(w), ndots, l.Name)}]++
	}
	for i := range report.Workloads {
		for _, u := range report.Workloads[i].Names {
			found[key{report.Workloads[i].Name, u.Name}] += u.Lookups
		}
	}
	var all, rebuilt, both int64
	for k, n := range truth {
		all += n
		both += min(n, found[k])
		if found[k] != n {
			t.Logf("%s %s: %d lookups, found %d", k.workload, k.name, n, found[k])
		}
	}
	for k, n := range found {
		rebuilt += n
		if truth[k] == 0 {
			t.Logf("%s %s: no lookups, found %d", k.workload, k.name, n)
		}
	}
	precision, recall := float64(both)/float64(rebuilt), float64(both)/float64(all)
	t.Logf("%d lookups of %d names: precision %.4f, recall %.4f", all, len(truth), precision, recall)
	if precision < 0.995 || recall < 0.995 {
		t.Errorf("precision %.4f, recall %.4f: want 0.995 of both", precision, recall)
	}
}
