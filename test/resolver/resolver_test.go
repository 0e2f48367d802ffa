//go:build e2e

package resolver_test

import (
	"cmp"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
)

type settings struct {
	cases     int
	one       int
	seed      uint64
	workers   int
	resolvers string
	muslCC    string
	cares     string
	variable  int
	// clients and writeResults are for TestRealClientsKeepTheirAnswers.
	clients, writeResults bool
}

func (s *settings) register() {
	flag.IntVar(&s.cases, "cases", 200, "random cases for each resolver")
	flag.IntVar(&s.variable, "variable", 40, "percent of the cases in which RES_OPTIONS is set")
	flag.BoolVar(&s.clients, "clients", false, "look up with the clients of many languages as well, which must be installed")
	flag.BoolVar(&s.writeResults, "write-results", false, "write docs/results/clients.md")
	flag.IntVar(&s.one, "case", -1, "run only the case with this number, and print it")
	flag.Uint64Var(&s.seed, "seed", 0, "seed of the cases (0: a random one, which is printed)")
	flag.IntVar(&s.workers, "workers", 8*runtime.NumCPU(), "lookups at the same time, most of which wait")
	flag.StringVar(&s.resolvers, "resolvers", "glibc,musl,go", "the resolvers that take part, of glibc, musl, go and c-ares")
	flag.StringVar(&s.muslCC, "musl-cc", "musl-gcc", "compiler for musl")
	flag.StringVar(&s.cares, "cares", "", "prefix of an installed c-ares (default: the system's)")
}

var options settings

func TestMain(m *testing.M) {
	if dir := os.Getenv(sandboxEnv); dir != "" {
		if err := runSandbox(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	options.register()
	flag.Parse()
	if options.seed == 0 {
		options.seed = rand.Uint64()
	}
	os.Exit(m.Run())
}

// TestModelsEqualRealResolvers compares, for every case, the queries in their
// order (name, type, nameserver) and the outcome with its addresses.
func TestModelsEqualRealResolvers(t *testing.T) {
	for _, name := range strings.Split(options.resolvers, ",") {
		t.Run(name, func(t *testing.T) {
			r, probe := build(t, name)
			compare(t, r, probe)
		})
	}
}

// build makes the program that looks up, and tells which model it is held to.
func build(t *testing.T, name string) (resolver.Resolver, string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	run := func(env []string, command ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Env = append(os.Environ(), env...)
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
		}
		return strings.TrimSpace(string(output))
	}
	switch name {
	case "glibc":
		run(nil, "gcc", "-O2", "-Wall", "-o", probe, "testdata/getaddrinfo.c")
		t.Log(strings.SplitN(run(nil, "ldd", "--version"), "\n", 2)[0])
		return resolver.Glibc, probe
	case "musl":
		run(nil, options.muslCC, "-static", "-O2", "-Wall", "-o", probe, "testdata/getaddrinfo.c")
		run(nil, options.muslCC, "-o", probe+"-dynamic", "testdata/getaddrinfo.c")
		version := muslVersion(t, probe+"-dynamic")
		t.Logf("musl %s", version)
		if before(version, "1.2.4") {
			return resolver.MuslBefore124, probe
		}
		return resolver.Musl, probe
	case "go":
		run([]string{"CGO_ENABLED=0"}, "go", "build", "-o", probe, "./testdata/lookup")
		t.Log(run(nil, "go", "version"))
		return resolver.Go, probe
	case "c-ares":
		args := []string{"gcc", "-O2", "-Wall", "-Wno-deprecated-declarations", "-o", probe, "testdata/ares.c"}
		if options.cares != "" {
			lib := filepath.Join(options.cares, "lib")
			args = append(args, "-I"+filepath.Join(options.cares, "include"), "-L"+lib, "-Wl,-rpath,"+lib)
		}
		run(nil, append(args, "-lcares")...)
		version := run(nil, probe)
		t.Logf("c-ares %s", version)
		if before(version, "1.34.0") {
			t.Fatalf("the model follows c-ares 1.34, this is %s: point -cares to another", version)
		}
		return resolver.CAres, probe
	}
	t.Fatalf("no resolver %q", name)
	return "", ""
}

// muslVersion asks the dynamic linker that the compiler's programs name: run by
// itself, it says what it is.
func muslVersion(t *testing.T, dynamic string) string {
	t.Helper()
	file, err := elf.Open(dynamic)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	linker, err := file.Section(".interp").Data()
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), strings.TrimRight(string(linker), "\x00")).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // it ends with 1
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^Version (\S+)`).FindSubmatch(output)
	if found == nil {
		t.Fatalf("no version in %q", output)
	}
	return string(found[1])
}

// before compares versions of three numbers.
func before(version, other string) bool {
	numbers := func(text string) (n [3]int) {
		fmt.Sscanf(text, "%d.%d.%d", &n[0], &n[1], &n[2])
		return n
	}
	a, b := numbers(version), numbers(other)
	return slices.Compare(a[:], b[:]) < 0
}

// compare runs the cases in parallel sandboxes.
func compare(t *testing.T, r resolver.Resolver, probe string) {
	numbers := make(chan int)
	go func() {
		defer close(numbers)
		if options.one >= 0 {
			numbers <- options.one
			return
		}
		for number := range options.cases {
			numbers <- number
		}
	}()
	var (
		mu    sync.Mutex
		tally = make(map[string]int)
		again []int
	)
	work := func() error {
		s, err := newSandbox(t.Context(), t.TempDir())
		if err != nil {
			return err
		}
		for number := range numbers {
			c := newCase(r, options.seed, number)
			o, err := s.observe(request{Case: c, Probe: probe})
			if err != nil {
				return fmt.Errorf("case %d: %w\n%s", number, err, c)
			}
			difference := differs(c, o)
			if options.one >= 0 {
				t.Logf("case %d: %s\nobserved: %+v\nmodel: %+v", number, c, o, c.client(0).Lookup(c.Name, c.Zone.outcome))
			}
			mu.Lock()
			count(tally, c, o)
			if difference != "" {
				again = append(again, number)
				t.Logf("case %d will be run again: %s(-model +observed):\n%s", number, c, difference)
			}
			mu.Unlock()
		}
		return s.stop()
	}
	var group sync.WaitGroup
	failures := make([]error, options.workers)
	for i := range failures {
		group.Go(func() { failures[i] = work() })
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		for range numbers { // let the sender end
		}
		t.Fatal(err)
	}
	// On a busy machine an answer can come after a timeout. What differs is
	// looked at again with nothing beside it.
	disagreements := 0
	if len(again) > 0 {
		s, err := newSandbox(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(again)
		for _, number := range again {
			c := newCase(r, options.seed, number)
			o, err := s.observe(request{Case: c, Probe: probe})
			if err != nil {
				t.Fatalf("case %d: %v", number, err)
			}
			if difference := differs(c, o); difference != "" {
				disagreements++
				t.Errorf("case %d of seed %d: %s(-model +observed):\n%s", number, options.seed, c, difference)
			}
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for what, n := range tally {
		lines = append(lines, fmt.Sprintf("%6d %s", n, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(b, a) })
	t.Logf("%s: seed %d, %d disagreements, %d cases run again\n%s", r, options.seed, disagreements, len(again), strings.Join(lines, "\n"))
}

// count says what the cases cover.
func count(tally map[string]int, c testCase, o observation) {
	tally["cases"]++
	tally["queries"] += len(o.Queries)
	tally["status "+string(o.Status)]++
	seen := make(map[string]bool)
	names := make(map[string]bool)
	for _, q := range o.Queries {
		names[q.Name] = true
		seen["with "+c.Zone.outcome(q.Server, q.Name, q.Type).String()] = true
		seen[fmt.Sprintf("that reach nameserver %d", q.Server)] = true
	}
	if len(names) > 1 {
		seen["with several candidate names"] = true
	}
	for _, option := range c.Conf.Options {
		name, _, _ := strings.Cut(option, ":")
		seen["with option "+name] = true
	}
	for what := range seen {
		tally[what]++
	}
}

// expected is the model's side of an observation.
func expected(c testCase, rotation int) observation {
	lookup := c.client(rotation).Lookup(c.Name, c.Zone.outcome)
	o := observation{Status: lookup.Status}
	for _, q := range lookup.Queries {
		o.Queries = append(o.Queries, question{Name: q.Name, Type: q.Type, Server: q.Server})
	}
	for _, q := range lookup.Answers {
		o.Addresses = append(o.Addresses, c.Zone.address(q.Server, q.Name, q.Type).String())
	}
	slices.Sort(o.Addresses)
	return o
}

// differs compares the model with what was seen, but for what the model leaves
// open, and says so in its documentation:
//
//   - glibc starts to rotate at a random nameserver;
//   - Go sends A and AAAA from two goroutines: either may be first, also in taking
//     the next nameserver, and in failing if they fail after the same number of
//     timeouts;
//   - c-ares has A and AAAA under way independently, and after a failure it is a
//     race which nameserver it prefers.
func differs(c testCase, o observation) string {
	if c.Resolver == resolver.Glibc && c.has("rotate") {
		var difference string
		for rotation := range max(len(c.Conf.Nameservers), 1) {
			if difference = diff(expected(c, rotation), o); difference == "" {
				return ""
			}
		}
		return difference
	}
	want := expected(c, 0)
	if c.Resolver == resolver.Go || c.Resolver == resolver.CAres {
		single := c.has("single-request") || c.has("single-request-reopen")
		if c.Resolver == resolver.Go && c.has("rotate") && !single {
			want.Queries, o.Queries = startingServers(c, want.Queries), startingServers(c, o.Queries)
		}
		if c.Resolver == resolver.CAres && !c.Zone.PerServer {
			want.Queries, o.Queries = anyServer(want.Queries), anyServer(o.Queries)
		}
		want.Queries, o.Queries = byType(want.Queries), byType(o.Queries)
		failures := []resolver.Status{resolver.NotFound, resolver.TemporaryFailure}
		if slices.Contains(failures, want.Status) && slices.Contains(failures, o.Status) && !single && raceOfFailures(c, want.Queries) {
			o.Status = want.Status
		}
	}
	return diff(want, o)
}

// diff compares with queries and addresses on one line each.
func diff(want, got observation) string {
	lines := func(o observation) []string {
		var lines []string
		for _, q := range o.Queries {
			lines = append(lines, q.String())
		}
		return append(append(lines, string(o.Status)), o.Addresses...)
	}
	return gocmp.Diff(lines(want), lines(got))
}

// byType puts A before AAAA for each candidate name, and leaves the order of each.
func byType(queries []question) []question {
	var sorted []question
	for _, group := range byName(queries) {
		slices.SortStableFunc(group, func(a, b question) int { return cmp.Compare(a.Type, b.Type) })
		sorted = append(sorted, group...)
	}
	return sorted
}

// byName groups neighbours with the same name.
func byName(queries []question) [][]question {
	var groups [][]question
	for _, q := range queries {
		if n := len(groups); n > 0 && groups[n-1][0].Name == q.Name {
			groups[n-1] = append(groups[n-1], q)
		} else {
			groups = append(groups, []question{q})
		}
	}
	return groups
}

// anyServer forgets which nameserver was asked.
func anyServer(queries []question) []question {
	queries = slices.Clone(queries)
	for i := range queries {
		queries[i].Server = 0
	}
	return queries
}

// startingServers takes the nameservers out of Go's rotation: instead of its
// nameserver, every query gets the distance from that of the first of its type
// and name, and an entry of its own says which two nameservers A and AAAA of the
// name started with.
func startingServers(c testCase, queries []question) []question {
	var valid []int
	for i, text := range c.Conf.Nameservers {
		if _, err := netip.ParseAddr(text); err == nil && len(valid) < 3 {
			valid = append(valid, i)
		}
	}
	if len(valid) == 0 {
		valid = []int{0, 1} // Go's own default
	}
	var result []question
	for _, group := range byName(queries) {
		first := make(map[resolver.RRType]int)
		for _, q := range slices.Backward(group) {
			first[q.Type] = slices.Index(valid, q.Server)
		}
		result = append(result, question{
			Name:   "nameservers at the start",
			Server: 10*min(first[resolver.A], first[resolver.AAAA]) + max(first[resolver.A], first[resolver.AAAA]),
		})
		for _, q := range group {
			q.Server = (slices.Index(valid, q.Server) - first[q.Type] + len(valid)) % len(valid)
			result = append(result, q)
		}
	}
	return result
}

// raceOfFailures tells whether A and AAAA of the name as it is fail for different
// reasons after the same number of timeouts.
func raceOfFailures(c testCase, queries []question) bool {
	type lane struct {
		timeouts int
		last     resolver.Outcome
	}
	lanes := make(map[resolver.RRType]lane)
	for _, q := range queries {
		if q.Name != c.Name && q.Name+"." != c.Name {
			continue
		}
		l := lanes[q.Type]
		l.last = c.Zone.outcome(q.Server, q.Name, q.Type)
		if l.last == resolver.Timeout {
			l.timeouts++
		}
		lanes[q.Type] = l
	}
	a, aaaa := lanes[resolver.A], lanes[resolver.AAAA]
	return a.timeouts == aaaa.timeouts && a.last != aaaa.last
}
