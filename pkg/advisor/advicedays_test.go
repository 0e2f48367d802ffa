package advisor_test

import (
	"bytes"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

var (
	adviceDays     = flag.Int("advice-days", 60, "days of the simulated clusters with advice in force, at most 12 with -short")
	adviceClusters = flag.Int("advice-clusters", 1, "simulated clusters with advice in force")
)

// stretched moves a log to a day, and spreads its lines evenly over it from its start
// on. first says when each address is in it for the first time.
func stretched(t *testing.T, log []byte, start time.Time) (text []byte, first map[string]time.Time) {
	t.Helper()
	lines := bytes.SplitAfter(log, []byte("\n"))
	apart := 23 * time.Hour / time.Duration(len(lines))
	first = map[string]time.Time{}
	var b bytes.Buffer
	for i, line := range lines {
		_, rest, found := bytes.Cut(line, []byte(" "))
		if !found {
			continue // behind the last line
		}
		at := start.Add(apart * time.Duration(i))
		b.WriteString(at.Format("2006-01-02T15:04:05.000000000Z"))
		b.WriteByte(' ')
		b.Write(rest)
		if _, client, found := bytes.Cut(rest, []byte("[INFO] ")); found {
			address, _, _ := bytes.Cut(client, []byte(":"))
			if _, known := first[string(address)]; !known {
				first[string(address)] = at
			}
		}
	}
	return b.Bytes(), first
}

// simulatedWorkload is a workload of the simulation, with what is known of it.
type simulatedWorkload struct {
	all      []string // names of its life
	atStart  int      // one of all that is asked at a start only, -1 for none
	monthly  int      // one of all that is asked on one day in thirty only, -1 for none
	since    int      // the day from which it asks for the last of them
	newImage int      // the day of a new tag, with which it asks for the last of them
	rebased  int      // the day on which the same tag is of musl
	changed  int      // the day of another command, with which it asks for the last of them
	command  []string
	seen     map[string]bool
	known    map[string]bool // what was seen before the pod started, which keeps what it got then
	started  time.Time
	restarts int // every so many days
	memory   map[simulatedLookup]simulatedResult
}

// simulatedLookup is a lookup, and simulatedResult what it comes to.
type simulatedLookup struct {
	name  string
	with  resolver.Resolver
	ndots int
}

type simulatedResult struct {
	name    string
	found   bool
	queries int
}

func (o *simulatedWorkload) lookUp(cluster *loggen.Cluster, w *loggen.Workload, name string, ndots int) simulatedResult {
	key := simulatedLookup{name, w.Resolver, ndots}
	r, known := o.memory[key]
	if !known {
		as := *w
		as.Ndots = ndots
		l := w.Resolver.Lookup(cluster.ResolvConf(&as), name, cluster.Zone(w))
		r = simulatedResult{l.Name(), l.Status == resolver.Found, len(l.Queries)}
		o.memory[key] = r
	}
	return r
}

// TestAdviceInForceOverDays lets a cluster run for days under advice that is made of its own logs, merged day by day, as
// policy.Decide gives it to pods: rollouts, new tags, new commands, a base image that becomes musl under the same tag, new names, names that
// are asked at a start or once a month only, lost lines and days without a log. Whatever was seen before must be answered as
// under kubelet's ndots.
func TestAdviceInForceOverDays(t *testing.T) {
	t.Parallel()
	days := *adviceDays
	if testing.Short() {
		days = min(days, 12)
	}
	for n := range *adviceClusters {
		simulateAdvice(t, *seed+uint64(n), days)
	}
}

func newSimulatedWorkload(w *loggen.Workload, days int, random *rand.Rand) simulatedWorkload {
	o := simulatedWorkload{
		all: w.Names, atStart: -1, monthly: -1, since: random.IntN(days), newImage: -1, rebased: -1, changed: -1, restarts: 1 + random.IntN(14),
		seen: map[string]bool{}, memory: map[simulatedLookup]simulatedResult{},
	}
	most := func() int { // the name with most dots that needs a search domain
		index := -1
		for k, name := range o.all {
			if strings.HasSuffix(name, ".svc") && (index < 0 || strings.Count(name, ".") > strings.Count(o.all[index], ".")) {
				index = k
			}
		}
		return index
	}
	switch random.IntN(6) {
	case 0, 1:
		o.atStart = most()
	case 2:
		o.monthly = most()
	}
	switch random.IntN(4) {
	case 0:
		o.newImage = o.since
	case 1:
		if w.Resolver != resolver.Musl {
			o.rebased = random.IntN(days)
		}
	case 2:
		o.changed = o.since
	}
	return o
}

// begin is the day's beginning for a workload: whether it starts anew, with what, and what it asks for.
func (o *simulatedWorkload) begin(w *loggen.Workload, d int) (restart bool) {
	restart = d == 0 || d%o.restarts == 0
	if d == o.newImage {
		w.Image, restart = strings.TrimSuffix(w.Image, ":1")+":2", true
	}
	if d == o.changed {
		o.command, restart = []string{"/other"}, true
	}
	if d == o.rebased {
		w.Resolver, restart = resolver.Musl, true
	}
	w.Names = nil
	for k, name := range o.all {
		if k == o.atStart && !restart || k == o.monthly && d%30 != 3 || k == len(o.all)-1 && d < o.since && len(o.all) > 1 {
			continue
		}
		w.Names = append(w.Names, name)
	}
	if len(w.Names) == 0 {
		w.Names = o.all[:1]
	}
	return restart
}

// ndotsIn is that of a decision.
func ndotsIn(t *testing.T, d *policy.Decision) int {
	t.Helper()
	for _, option := range d.DNS.Options {
		if option.Name == "ndots" {
			n, err := strconv.Atoi(option.Value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no ndots: %+v", d.DNS)
	return 0
}

func simulateAdvice(t *testing.T, seed uint64, days int) {
	random := rand.New(rand.NewPCG(seed, 77))
	cluster := loggen.New(loggen.Options{Seed: seed, Workloads: 20, Lookups: 150, Timestamps: true})
	compiled := compiledFrom(t, "dns: {advice: Apply, minConfidence: medium}")
	own := make([]simulatedWorkload, len(cluster.Workloads))
	for i := range own {
		own[i] = newSimulatedWorkload(&cluster.Workloads[i], days, random)
		cluster.Workloads[i].Ndots = 0
	}
	const defaultNdots, kubelets = 4, 5
	var kept *policy.DNSAdvice
	var advice *policy.Advice
	var asked, advised, lines, broken, unseen, restarts, applied, writes int
	var defaultQueries, advisedQueries, oracleQueries int
	for d := range days {
		start := day(d)
		pods := cluster.Pods()
		for i := range own {
			o, w := &own[i], &cluster.Workloads[i]
			if !o.begin(w, d) {
				continue
			}
			o.started, o.known = time.Time{}, maps.Clone(o.seen) // its first query tells when
			restarts++
			pod := pods[i]
			pod.Spec.Containers = slices.Clone(pod.Spec.Containers)
			pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = w.Image, o.command
			decision := decided(t, compiled, advice, &pod)
			byAdvice := decision.Advice.Injects()
			if w.Ndots = ndotsIn(t, &decision); byAdvice {
				applied++
			}
			if needs := needsOf(kept, w); byAdvice && w.Ndots < needs {
				t.Errorf("seed %d, day %d: %s gets ndots %d, and %d is needed", seed, d, w.Name, w.Ndots, needs)
			}
		}
		var log bytes.Buffer
		made, err := cluster.Write(&log)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range made {
			o, w := &own[l.Workload], &cluster.Workloads[l.Workload]
			then, before := o.lookUp(cluster, w, l.Name, w.Ndots), o.lookUp(cluster, w, l.Name, kubelets)
			asked++
			if w.Ndots < defaultNdots {
				advised++
			}
			defaultQueries += o.lookUp(cluster, w, l.Name, defaultNdots).queries
			advisedQueries += then.queries
			least := before.queries
			for ndots := 1; ndots < kubelets; ndots++ {
				if r := o.lookUp(cluster, w, l.Name, ndots); r.name == before.name && r.found == before.found {
					least = min(least, r.queries)
				}
			}
			oracleQueries += least
			if before.found && (then.name != before.name || !then.found) {
				if o.known[l.Name] {
					broken++
					t.Errorf("seed %d, day %d: %s asks for %s under ndots %d, which was seen before: %s, not %s", seed, d, w.Name, l.Name, w.Ndots, then.name, before.name)
				} else {
					unseen++
				}
			}
		}
		if t.Failed() {
			return
		}
		text, first := stretched(t, log.Bytes(), start)
		for i := range own {
			if at := first[cluster.Workloads[i].Address]; own[i].started.IsZero() {
				if at.IsZero() {
					t.Fatalf("%s is not in the log", cluster.Workloads[i].Address)
				}
				own[i].started = at.Add(-30 * time.Second)
			}
		}
		lines += bytes.Count(text, []byte("\n"))
		if random.IntN(6) == 0 { // a day without evidence
			continue
		}
		lost := 0
		if random.IntN(4) == 0 {
			lost = 20
		}
		report := adviseDay(t, cluster, own, loggen.Disturb(text, seed+uint64(d), lost, 0))
		if lost == 0 {
			for _, l := range made {
				own[l.Workload].seen[l.Name] = true
			}
		}
		settings := advisor.AdviceOptions{
			Memory: 70 * 24 * time.Hour, MinConfidence: advisor.ConfidenceMedium, Floor: policy.DefaultAdviceFloor, At: start.Add(23 * time.Hour), Workloads: len(own),
		}
		var changed bool
		if kept, changed = advisor.Advise(kept, report, settings); !changed {
			continue
		}
		writes++
		if kept, err = policy.ParseAdvice([]byte(written(t, kept))); err != nil {
			t.Fatal(err)
		}
		if advice, err = policy.CompileAdvice(kept); err != nil {
			t.Fatal(err)
		}
		if _, again := advisor.Advise(kept, report, settings); again {
			t.Errorf("seed %d, day %d: the same report changes advice again", seed, d)
		}
	}
	saved := 100 * float64(defaultQueries-advisedQueries) / float64(max(1, defaultQueries-oracleQueries))
	t.Logf("seed %d, %d days: %d lines, %d lookups, %d below the default's ndots; %d starts, %d of them under advice; written on %d days; %d broken of what was seen, %d of what was not; saved %.1f %% of what the oracle saves over the default",
		seed, days, lines, asked, advised, restarts, applied, writes, broken, unseen, saved)
	if advised == 0 {
		t.Error("no lookup was made under advice below the default")
	}
}

// needsOf is what the document says that a workload needs, 0 for nothing.
func needsOf(document *policy.DNSAdvice, w *loggen.Workload) (needs int) {
	if document == nil {
		return 0
	}
	for i := range document.Spec.Workloads {
		if known := &document.Spec.Workloads[i]; known.Namespace == w.Namespace && known.Name == w.Name {
			for key := range known.Needed {
				if n, err := strconv.Atoi(key); err == nil {
					needs = max(needs, n)
				}
			}
		}
	}
	return needs
}

// adviseDay reads a day's log with the pods as they are.
func adviseDay(t *testing.T, cluster *loggen.Cluster, own []simulatedWorkload, log []byte) *advisor.Report {
	t.Helper()
	parser, err := querylog.New("")
	if err != nil {
		t.Fatal(err)
	}
	clients := advisor.NewClients(nil, nil) // which resolvers there are is not known: a tag may become another
	for i, pod := range cluster.Pods() {
		pod.Metadata.CreationTimestamp = own[i].started
		pod.Spec.Containers[0].Command = own[i].command
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(parser, clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	if err := collector.Read(bytes.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	return collector.Report(advisor.Settings{Names: -1, Observe: true})
}
