package advisor_test

import (
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

var (
	worlds = flag.Int("worlds", 30, "random worlds whose logs are damaged; a tenth under -short")
	leave  = flag.Uint64("first-world", 0, "how many of a seed's worlds are left out, to see a later one alone")
	only   = flag.String("damage", "", "the kinds of damage that are done, as a part of their names; all if empty")
)

// damaged is what is left of a world's log.
type damaged struct {
	what string
	logs []string
	pods []advisor.Pod
}

// TestDamagedLogsNeverBreakAName: whatever of a log is cut off, filtered out, read
// twice, mixed with others' or attributed to pods that had other addresses, no
// recommendation that is to be applied changes the answer to a name that the world
// has: one that is looked up all the time, at the start of a pod only, or that is not
// ready yet.
func TestDamagedLogsNeverBreakAName(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var runs, given, withheld, cases int
	kinds := make(map[string][2]int)
	drawn := *worlds
	if testing.Short() {
		drawn = (drawn + 9) / 10
	}
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i := range drawn {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			seed := *seed*1000 + *leave + uint64(i)
			world := loggen.NewWorld(seed)
			for _, d := range damages(world, loggen.NewWorld(seed+1_000_000), seed) {
				report := adviseDamaged(t, world, &d)
				mu.Lock()
				cases++
				counts := kinds[d.what]
				for k := range report.Workloads {
					r := report.Workloads[k].Recommendation
					if r == nil {
						continue
					}
					runs++
					switch {
					case r.Apply:
						given++
						counts[0]++
					case report.Workloads[k].Reason == advisor.ReasonLowConfidence:
						withheld++
						counts[1]++
					}
				}
				kinds[d.what] = counts
				mu.Unlock()
				if d.what != "another cluster's" {
					checkDamaged(t, seed, world, &d, report)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d worlds, %d logs, %d recommendations: %d to be applied, %d withheld for low confidence, %d that save nothing or must not be",
		drawn, cases, runs, given, withheld, runs-given-withheld)
	for _, what := range slices.Sorted(func(yield func(string) bool) {
		for what := range kinds {
			if !yield(what) {
				return
			}
		}
	}) {
		t.Logf("  %-40s %5d applied, %5d withheld", what, kinds[what][0], kinds[what][1])
	}
	if whole := kinds["whole"]; whole[0] == 0 && *only == "" {
		t.Error("nothing is recommended of whole logs: the test shows nothing")
	}
}

func adviseDamaged(t *testing.T, world *loggen.World, d *damaged) *advisor.Report {
	clients := advisor.NewClients(loggen.KnownResolverOf, nil)
	for i := range d.pods {
		clients.Add(&d.pods[i])
	}
	for _, namespace := range world.Namespaces {
		n := advisor.Pod{Kind: "Namespace"}
		n.Metadata.Name = namespace
		clients.Add(&n)
	}
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	for n, log := range d.logs {
		if err := collector.ReadLog(fmt.Sprint(n), strings.NewReader(log), nil); err != nil {
			t.Error(err)
		}
	}
	return collector.Report(advisor.Settings{Names: -1, DomainAssumed: true})
}

// checkDamaged looks up all names of the workloads that a rule would change.
func checkDamaged(t *testing.T, seed uint64, world *loggen.World, d *damaged, report *advisor.Report) {
	for i := range report.Workloads {
		w := &report.Workloads[i]
		r := w.Recommendation
		if r == nil || !r.Apply {
			continue
		}
		if r.Confidence == advisor.ConfidenceLow {
			t.Errorf("world %d, %s: %s is to be applied with low confidence", seed, d.what, w.Name)
		}
		at := slices.IndexFunc(world.Workloads, func(l loggen.WorldWorkload) bool { return l.Name == w.Name && l.Namespace == w.Namespace })
		if at < 0 {
			continue // of the other world
		}
		load := world.Workloads[at]
		if strings.HasPrefix(d.what, "addresses moved in the middle") {
			load.Once = nil // the pods that were made then did not ask for what a start asks
		}
		for _, name := range slices.Concat(load.Always, load.Once) {
			for n := range load.Pods {
				conf := world.ResolvConf(&load, load.Pods[n].Node)
				then := conf
				then.Options = []string{fmt.Sprintf("ndots:%d", r.Ndots)}
				for _, ready := range []bool{false, true} {
					zone := world.Outcome(ready)
					before, after := load.Resolver.Lookup(conf, name, zone), load.Resolver.Lookup(then, name, zone)
					if before.Name() != after.Name() || (before.Status == resolver.Found) != (after.Status == resolver.Found) {
						if before.Status != resolver.Found && r.Ndots > load.Ndots {
							continue // found at last
						}
						t.Errorf("world %d, %s: %s/%s with %s (known %t, captured %t) looks up %s (once %t, ready %t): %q with ndots %d, %q with %d, confidence %s because %q",
							seed, d.what, w.Namespace, w.Name, load.Resolver, load.Known, load.Captured, name, slices.Contains(load.Once, name), ready, before.Name(), load.Ndots, after.Name(), r.Ndots, r.Confidence, r.Because)
						return
					}
				}
			}
		}
	}
}

// text is lines as a log. A line without a time is one of zero.
func text(lines []loggen.Line) string {
	var b strings.Builder
	for i := range lines {
		if !lines[i].At.IsZero() {
			b.WriteString(lines[i].At.Format(time.RFC3339))
			b.WriteByte(' ')
		}
		b.WriteString(lines[i].Text)
		b.WriteByte('\n')
	}
	return b.String()
}

// damages is everything that is done to a log.
func damages(world, other *loggen.World, seed uint64) (list []damaged) {
	random := rand.New(rand.NewPCG(seed, 4))
	pods := world.Pods()
	var all []damaged
	add := func(what string, logs ...string) { all = append(all, damaged{what, logs, pods}) }
	defer func() {
		list = slices.DeleteFunc(list, func(d damaged) bool { return !strings.Contains(d.what, *only) })
	}()
	lines := world.Lines
	keep := func(keep func(i int, l *loggen.Line) bool) (kept []loggen.Line) {
		for i := range lines {
			if keep(i, &lines[i]) {
				kept = append(kept, lines[i])
			}
		}
		return kept
	}
	untimed := func(from []loggen.Line) []loggen.Line {
		from = slices.Clone(from)
		for i := range from {
			from[i].At = time.Time{}
		}
		return from
	}
	tenth := func(n int) int { return n * len(lines) / 10 }

	add("whole", text(lines))
	for n := 1; n < 10; n++ {
		add("the end cut off", text(lines[:tenth(n)]))
		add("the beginning cut off", text(lines[tenth(n):]))
		add("a tenth in the middle lost", text(lines[:tenth(n)])+text(lines[tenth(n+1):]))
	}
	whole := text(lines)
	add("cut in a line", whole[:len(whole)/2+7])
	for what, codes := range map[string][]string{"class denial": {"NXDOMAIN"}, "class success": {"NOERROR"}, "class error": {"SERVFAIL"}} {
		add(what, text(keep(func(_ int, l *loggen.Line) bool { return slices.Contains(codes, l.Code) })))
	}
	add("class denial, with NODATA", text(keep(func(_ int, l *loggen.Line) bool {
		return l.Code == "NXDOMAIN" || len(l.Name)%2 == 0 && strings.Contains(l.Text, `"AAAA `)
	})))
	add("block of the cluster", text(keep(func(_ int, l *loggen.Line) bool { return l.InCluster })))
	add("block of the outside", text(keep(func(_ int, l *loggen.Line) bool { return !l.InCluster })))
	ofNodes := func(l *loggen.Line) bool {
		return strings.HasSuffix(l.Name, "."+loggen.NodeSearch) || strings.HasSuffix(l.Name, ".internal") || strings.HasSuffix(l.Name, ".eu.example.net")
	}
	add("without the block of the nodes' domain", text(keep(func(_ int, l *loggen.Line) bool { return !ofNodes(l) })))
	add("the cluster's block with class denial", text(keep(func(_ int, l *loggen.Line) bool { return !l.InCluster || l.Code == "NXDOMAIN" })))
	add("the cluster's block with class success", text(keep(func(_ int, l *loggen.Line) bool { return !l.InCluster || l.Code == "NOERROR" })))
	add("the outside's block with class denial", text(keep(func(_ int, l *loggen.Line) bool { return l.InCluster || l.Code == "NXDOMAIN" })))
	add("grep of a name", text(keep(func(_ int, l *loggen.Line) bool { return strings.Contains(l.Name, "example.") })))
	for i := range pods {
		if i < 3 {
			address := pods[i].Status.PodIP
			add("one client", text(keep(func(_ int, l *loggen.Line) bool { return l.Client == address })))
			add("without a client", text(keep(func(_ int, l *loggen.Line) bool { return l.Client != address })))
		}
	}
	add("one type", text(keep(func(_ int, l *loggen.Line) bool { return strings.Contains(l.Text, `"A IN`) })))
	add("a half of each hour", text(keep(func(_ int, l *loggen.Line) bool { return l.At.Minute() < 30 })))
	for _, seconds := range []int{5, 20, 50} {
		add(fmt.Sprintf("%d seconds of each minute", seconds), text(keep(func(_ int, l *loggen.Line) bool { return l.At.Second() < seconds })))
	}
	add("20 seconds of each minute, over its end", text(keep(func(_ int, l *loggen.Line) bool { return l.At.Second() < 10 || l.At.Second() >= 50 })))
	for what, without := range withoutNamespaces(world) {
		add(what, text(keep(func(_ int, l *loggen.Line) bool { return !without(l) })))
	}
	add("without the starts", text(keep(func(_ int, l *loggen.Line) bool {
		return !slices.ContainsFunc(pods, func(p advisor.Pod) bool {
			return p.Status.PodIP == l.Client && l.At.Sub(p.Metadata.CreationTimestamp) < 2*time.Minute && !l.At.Before(p.Metadata.CreationTimestamp)
		})
	})))
	for _, share := range []int{2, 10, 30} {
		add(fmt.Sprintf("%d %% lost", share), text(keep(func(int, *loggen.Line) bool { return random.IntN(100) >= share })))
	}
	if world.Servers() > 1 {
		of := func(server int) []loggen.Line {
			return keep(func(_ int, l *loggen.Line) bool { return l.Server == server })
		}
		add("two servers", text(of(0)), text(of(1)))
		add("two servers in one file", text(of(0))+text(of(1)))
		add("one of two servers", text(of(0)))
		second := of(1)
		add("the end of the second server", text(of(0)), text(second[len(second)*9/10:]))
		add("the end of the second server in one file", text(of(0))+text(second[len(second)*9/10:]))
		add("the second server without answers", text(of(0)), text(slices.DeleteFunc(second, func(l loggen.Line) bool { return l.Code == "NOERROR" })))
	}
	add("twice", whole, whole)
	add("twice in one file", whole+whole)
	add("an overlap", text(lines[:tenth(6)]), text(lines[tenth(4):]))
	add("two halves", text(lines[:tenth(5)]), text(lines[tenth(5):]))
	add("without timestamps", text(untimed(lines)))
	add("the end, without timestamps", text(untimed(lines[tenth(6):])))
	add("half without timestamps", text(untimed(lines[:tenth(5)]))+text(lines[tenth(5):]))
	shuffled := slices.Clone(lines)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	add("in no order", text(shuffled))
	reversed := slices.Clone(lines)
	slices.Reverse(reversed)
	add("the newest first", text(reversed))
	add("mixed with another cluster's", whole, text(other.Lines))
	mixed := slices.Concat(lines, other.Lines)
	slices.SortStableFunc(mixed, func(a, b loggen.Line) int { return a.At.Compare(b.At) })
	add("mixed with another cluster's in one file", text(mixed))
	add("another cluster's", text(other.Lines))

	end, middle := world.Begin.Add(world.Length), world.Begin.Add(world.Length/2)
	since := moved(world, random, end, func(_, _ int) bool { return true })
	all = append(all,
		damaged{"addresses moved since", []string{whole}, since},
		damaged{"addresses moved since, without times", []string{text(untimed(lines))}, since})
	// All pods were replaced in the middle, and the new ones have others' addresses.
	later := moved(world, random, middle, func(_, _ int) bool { return true })
	addresses := make(map[string]string)
	for i := range pods {
		addresses[pods[i].Status.PodIP] = later[i].Status.PodIP
	}
	replaced := slices.Clone(lines)
	for i := range replaced {
		if l := &replaced[i]; !l.At.Before(middle) {
			l.Text = strings.Replace(l.Text, l.Client+":", addresses[l.Client]+":", 1)
		}
	}
	all = append(all,
		damaged{"addresses moved in the middle", []string{text(replaced)}, later},
		damaged{"addresses moved in the middle, without times", []string{text(untimed(replaced))}, later})
	// A list that is wrong: only other namespaces' queries tell.
	swapped := moved(world, random, time.Time{}, func(i, k int) bool { return pods[i].Metadata.Namespace != pods[k].Metadata.Namespace })
	return append(all, damaged{"addresses of other namespaces' pods", []string{whole}, swapped})
}

// withoutNamespaces yields what grep -v of a namespace takes out, where that leaves a trace:
// its names, and the lines of its pods where lines have the namespaces of clients.
func withoutNamespaces(world *loggen.World) iter.Seq2[string, func(*loggen.Line) bool] {
	return func(yield func(string, func(*loggen.Line) bool) bool) {
		for _, namespace := range world.Namespaces {
			clients := make(map[string]bool)
			for i := range world.Workloads {
				for _, pod := range world.Workloads[i].Pods {
					clients[pod.Address] = world.Workloads[i].Namespace == namespace
				}
			}
			named := func(l *loggen.Line) bool { return strings.Contains(l.Name, "."+namespace+".") }
			silent := leavesSilence(world, namespace)
			if (silent || walks(world, namespace)) && !yield("without a namespace", named) {
				return
			}
			if silent && !yield("without a namespace and its pods", func(l *loggen.Line) bool { return named(l) || clients[l.Client] }) {
				return
			}
		}
	}
}

// leavesSilence tells whether somebody misses the pods of a namespace: three or more of
// several workloads, which were there for half of the log, on nodes with others.
func leavesSilence(world *loggen.World, namespace string) bool {
	pods, workloads := 0, 0
	others := make(map[int]bool)
	for i := range world.Workloads {
		if w := &world.Workloads[i]; w.Namespace != namespace {
			for n := range w.Pods {
				others[w.Pods[n].Node] = true
			}
		}
	}
	for i := range world.Workloads {
		w := &world.Workloads[i]
		there := 0
		for n := range w.Pods {
			if w.Namespace == namespace && others[w.Pods[n].Node] && w.Pods[n].Created.Before(world.Begin.Add(world.Length/2-10*time.Minute)) {
				there++
			}
		}
		if pods += there; there > 0 {
			workloads++
		}
	}
	return pods >= 3 && workloads >= 2
}

// walks tells whether pods of a namespace go through search lists all the time.
func walks(world *loggen.World, namespace string) bool {
	return slices.ContainsFunc(world.Workloads, func(w loggen.WorldWorkload) bool {
		return w.Namespace == namespace && slices.ContainsFunc(w.Always, func(name string) bool {
			conf := world.ResolvConf(&w, 0)
			found := w.Resolver.Lookup(conf, name, world.Outcome(false))
			return found.Status == resolver.Found && found.Name() == name && len(found.Queries) > 6
		})
	})
}

// moved are a world's pods with each other's addresses, created at that time if it is
// one.
func moved(world *loggen.World, random *rand.Rand, created time.Time, may func(i, k int) bool) []advisor.Pod {
	pods := world.Pods()
	for i := range pods {
		k := random.IntN(len(pods))
		if may(i, k) {
			pods[i].Status.PodIP, pods[k].Status.PodIP = pods[k].Status.PodIP, pods[i].Status.PodIP
		}
		if !created.IsZero() {
			pods[i].Metadata.CreationTimestamp = created
		}
	}
	return pods
}
