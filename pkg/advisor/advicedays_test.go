package advisor_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
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
	adviceDays     = flag.Int("advice-days", 16, "days of the simulated clusters with advice in force; 60 take some minutes")
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
	since    int      // the day from which it asks for the last of them
	seen     map[string]bool
	started  time.Time
	restarts int // every so many days
}

// TestAdviceInForceOverDays lets a cluster run for days under advice that is made of
// its own logs, merged day by day: rollouts, new names, names that are asked at a
// start only, lost lines and days without a log. Whatever was seen before must be
// answered as under kubelet's ndots.
func TestAdviceInForceOverDays(t *testing.T) {
	t.Parallel()
	for n := range *adviceClusters {
		simulateAdvice(t, *seed+uint64(n), *adviceDays)
	}
}

func simulateAdvice(t *testing.T, seed uint64, days int) {
	random := rand.New(rand.NewPCG(seed, 77))
	cluster := loggen.New(loggen.Options{Seed: seed, Workloads: 20, Lookups: 150, Timestamps: true})
	own := make([]simulatedWorkload, len(cluster.Workloads))
	for i := range own {
		w := &own[i]
		*w = simulatedWorkload{all: cluster.Workloads[i].Names, atStart: -1, since: random.IntN(days), seen: map[string]bool{}, restarts: 1 + random.IntN(14)}
		cluster.Workloads[i].Ndots = 0
		if random.IntN(3) == 0 { // the name with most dots that needs a search domain
			for k, name := range w.all {
				if strings.HasSuffix(name, ".svc") && (w.atStart < 0 || strings.Count(name, ".") > strings.Count(w.all[w.atStart], ".")) {
					w.atStart = k
				}
			}
		}
	}
	const defaultNdots = 4
	var document *policy.DNSAdvice
	var asked, advised, lines, broken, unseen int
	var defaultQueries, advisedQueries, oracleQueries int
	for d := range days {
		start := day(d)
		advice := map[string]int{}
		if document != nil {
			for i := range document.Spec.Workloads {
				w := &document.Spec.Workloads[i]
				advice[w.Name] = defaultNdots
				if _, raised := w.Needed["5"]; raised {
					advice[w.Name] = 5
				}
				if w.Ndots != nil {
					advice[w.Name] = max(int(*w.Ndots), policy.DefaultAdviceFloor)
				}
			}
		}
		for i := range own {
			o, w := &own[i], &cluster.Workloads[i]
			restart := d == 0 || d%o.restarts == 0
			if restart {
				o.started = time.Time{} // its first query tells
				if w.Ndots = advice[w.Name]; w.Ndots == 0 {
					w.Ndots = defaultNdots
				}
			}
			w.Names = nil
			for k, name := range o.all {
				if k == o.atStart && !restart || k == len(o.all)-1 && d < o.since && len(o.all) > 1 {
					continue
				}
				w.Names = append(w.Names, name)
			}
			if len(w.Names) == 0 {
				w.Names = o.all[:1]
			}
		}
		var log bytes.Buffer
		made, err := cluster.Write(&log)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range made {
			o, w := &own[l.Workload], &cluster.Workloads[l.Workload]
			zone := cluster.Zone(w)
			kubelets := *w
			kubelets.Ndots = 5
			then := w.Resolver.Lookup(cluster.ResolvConf(w), l.Name, zone)
			before := w.Resolver.Lookup(cluster.ResolvConf(&kubelets), l.Name, zone)
			asked++
			if w.Ndots < defaultNdots {
				advised++
			}
			ours := *w
			ours.Ndots = defaultNdots
			defaultQueries += len(w.Resolver.Lookup(cluster.ResolvConf(&ours), l.Name, zone).Queries)
			advisedQueries += len(then.Queries)
			least := len(before.Queries)
			for ndots := 1; ndots < 5; ndots++ {
				kubelets.Ndots = ndots
				if r := w.Resolver.Lookup(cluster.ResolvConf(&kubelets), l.Name, zone); r.Name() == before.Name() && r.Status == before.Status {
					least = min(least, len(r.Queries))
				}
			}
			oracleQueries += least
			if before.Status == resolver.Found && (then.Name() != before.Name() || then.Status != before.Status) {
				if o.seen[l.Name] {
					broken++
					t.Errorf("seed %d, day %d: %s asks for %s under ndots %d, which was seen before: %s, not %s", seed, d, w.Name, l.Name, w.Ndots, then.Name(), before.Name())
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
		document, _ = advisor.Advise(document, report, advisor.AdviceOptions{
			Memory: 70 * 24 * time.Hour, MinConfidence: advisor.ConfidenceMedium, At: start.Add(23 * time.Hour), Workloads: len(own),
		})
		written(t, document)
	}
	saved := 100 * float64(defaultQueries-advisedQueries) / float64(max(1, defaultQueries-oracleQueries))
	t.Logf("seed %d, %d days: %d lines, %d lookups, %d below the default's ndots; %d broken of what was seen, %d of what was not; saved %.1f %% of what the oracle saves over the default",
		seed, days, lines, asked, advised, broken, unseen, saved)
	if advised == 0 {
		t.Error("no lookup was made under advice below the default")
	}
}

// adviseDay reads a day's log with the pods as they are.
func adviseDay(t *testing.T, cluster *loggen.Cluster, own []simulatedWorkload, log []byte) *advisor.Report {
	t.Helper()
	parser, err := querylog.New("")
	if err != nil {
		t.Fatal(err)
	}
	clients := advisor.NewClients(loggen.ResolverOf, nil)
	for i, pod := range cluster.Pods() {
		pod.Metadata.CreationTimestamp = own[i].started
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(parser, clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	if err := collector.Read(bytes.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	return collector.Report(advisor.Settings{Names: -1, Observe: true})
}
