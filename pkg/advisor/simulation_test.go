package advisor_test

import (
	"bytes"
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

var (
	seed      = flag.Uint64("seed", 1, "seed of the simulated clusters")
	workloads = flag.Int("workloads", 500, "simulated workloads of the safety test; a tenth under -short")
)

// advise reads a log and makes a report with all names.
func advise(t testing.TB, cluster *loggen.Cluster, log []byte, resolverOf func(string) resolver.Resolver) *advisor.Report {
	t.Helper()
	parser, err := querylog.New("")
	if err != nil {
		t.Fatal(err)
	}
	clients := advisor.NewClients(resolverOf, nil)
	for _, pod := range cluster.Pods() {
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(parser, clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	if err := collector.Read(bytes.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	return collector.Report(advisor.Settings{Names: -1})
}

func simulate(t testing.TB, o loggen.Options) (*loggen.Cluster, []byte, []loggen.Lookup) {
	t.Helper()
	var log bytes.Buffer
	cluster := loggen.New(o)
	made, err := cluster.Write(&log)
	if err != nil {
		t.Fatal(err)
	}
	return cluster, log.Bytes(), made
}

func ndotsInForce(w *loggen.Workload) int {
	if w.Ndots > 0 {
		return w.Ndots
	}
	return 5
}

// score is how many lookups were made, found, and both.
type score struct{ made, found, both int64 }

// compare counts by workload and name, up to names that a log cannot tell apart.
func compare(t testing.TB, cluster *loggen.Cluster, made []loggen.Lookup, report *advisor.Report) score {
	t.Helper()
	type key struct{ workload, name string }
	truth, found := make(map[key]int64), make(map[key]int64)
	for _, l := range made {
		w := &cluster.Workloads[l.Workload]
		name := loggen.Canonical(cluster.ResolvConf(w), w.Resolver, cluster.Zone(w), ndotsInForce(w), l.Name)
		truth[key{w.Name, name}]++
	}
	for i := range report.Workloads {
		for _, u := range report.Workloads[i].Names {
			found[key{report.Workloads[i].Name, u.Name}] += u.Lookups
		}
	}
	var s score
	for k, n := range truth {
		s.made += n
		s.both += min(n, found[k])
		if found[k] < n*98/100 || found[k] > n*102/100+1 {
			t.Logf("%s %s: %d lookups, found %d", k.workload, k.name, n, found[k])
		}
	}
	for k, n := range found {
		s.found += n
		if truth[k] == 0 {
			t.Logf("%s %s: no lookups, found %d", k.workload, k.name, n)
		}
	}
	return s
}

func (s score) check(t *testing.T) {
	t.Helper()
	precision, recall := float64(s.both)/float64(s.found), float64(s.both)/float64(s.made)
	t.Logf("%d lookups: precision %.4f, recall %.4f", s.made, precision, recall)
	if precision < 0.995 || recall < 0.995 {
		t.Errorf("precision %.4f and recall %.4f, want 0.995 of both", precision, recall)
	}
}

func TestLookupsAreFoundAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options     loggen.Options
		lost, moved int
	}{
		"nothing lost":                            {options: loggen.Options{}},
		"retries":                                 {options: loggen.Options{Loss: 5}},
		"a wildcard search domain":                {options: loggen.Options{Wildcard: true}},
		"1 % of lines lost, 30 % out of order":    {options: loggen.Options{Timestamps: true}, lost: 10, moved: 30},
		"the same, a wildcard and retries":        {options: loggen.Options{Timestamps: true, Wildcard: true, Loss: 5}, lost: 10, moved: 30},
		"the same, without timestamps to go by":   {options: loggen.Options{Loss: 5}, lost: 10},
		"few lookups of each, and lines are lost": {options: loggen.Options{Workloads: 400, Lookups: 10}, lost: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			o.Seed = *seed
			cluster, log, made := simulate(t, o)
			if test.lost+test.moved > 0 {
				log = loggen.Disturb(log, *seed, test.lost, test.moved)
			}
			compare(t, cluster, made, advise(t, cluster, log, loggen.ResolverOf)).check(t)
		})
	}
}

// Of the log behind the caches of nodes, nothing is made.
func TestTheLogBehindACacheSaysNothing(t *testing.T) {
	t.Parallel()
	o := loggen.Options{Seed: *seed, Timestamps: true, Lookups: 2000}
	_, all, _ := simulate(t, o)
	o.Upstream = true
	cluster, log, _ := simulate(t, o)
	t.Logf("%d lines at the caches, %d behind them", bytes.Count(all, []byte("\n")), bytes.Count(log, []byte("\n")))
	if 2*len(log) > len(all) {
		t.Errorf("the caches have kept little: %d of %d bytes are behind them", len(log), len(all))
	}
	report := advise(t, cluster, log, loggen.ResolverOf)
	if len(report.Workloads) > 0 || len(report.Unattributed) != 1 || report.Unattributed[0].Reason != advisor.ReasonHostNetwork {
		t.Errorf("%d workloads, unattributed %+v", len(report.Workloads), report.Unattributed)
	}
	if !slices.ContainsFunc(report.Risks, func(r advisor.Risk) bool { return r.Code == advisor.RiskNotFirstHop }) {
		t.Errorf("risks %v do not say that this is not the first hop", report.Risks)
	}
}

// No recommendation changes the answer to a name that was looked up, whether the
// resolver is known or not, and whichever it is.
func TestNoRecommendationChangesAnAnswer(t *testing.T) {
	t.Parallel()
	drawn := *workloads
	if testing.Short() {
		drawn = (drawn + 9) / 10
	}
	for name, test := range map[string]struct {
		wildcard, known bool
		lost            int
	}{
		"known resolvers":                     {known: true},
		"unknown resolvers":                   {},
		"unknown, and lines are lost":         {lost: 10},
		"known, with a wildcard":              {known: true, wildcard: true},
		"unknown, with a wildcard and losses": {wildcard: true, lost: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, log, _ := simulate(t, loggen.Options{Seed: *seed + 7, Workloads: drawn, Lookups: 40, Wildcard: test.wildcard, Timestamps: true})
			log = loggen.Disturb(log, *seed, test.lost, 0)
			resolverOf := loggen.ResolverOf
			if !test.known {
				resolverOf = nil
			}
			report := advise(t, cluster, log, resolverOf)
			if len(report.Workloads) != drawn {
				t.Fatalf("%d workloads in the report, want %d", len(report.Workloads), drawn)
			}
			byName := make(map[string]*advisor.Workload)
			lookedUp := make(map[string]map[string]bool)
			for i := range report.Workloads {
				w := &report.Workloads[i]
				byName[w.Name] = w
				lookedUp[w.Name] = make(map[string]bool)
				for _, u := range w.Names {
					lookedUp[w.Name][u.Name] = true
				}
			}
			lowered, checked := 0, 0
			for i := range cluster.Workloads {
				w := &cluster.Workloads[i]
				r := byName[w.Name].Recommendation
				if r == nil {
					continue
				}
				if r.Ndots < ndotsInForce(w) {
					lowered++
				}
				conf := cluster.ResolvConf(w)
				then := conf
				then.Options = []string{"ndots:" + string(rune('0'+r.Ndots))}
				resolvers := []resolver.Resolver{w.Resolver}
				if !test.known {
					resolvers = resolver.Resolvers()
				}
				for _, name := range w.Names {
					canonical := loggen.Canonical(conf, w.Resolver, cluster.Zone(w), ndotsInForce(w), name)
					if !lookedUp[w.Name][canonical] {
						continue
					}
					for _, r := range resolvers {
						before, after := r.Lookup(conf, name, cluster.Zone(w)), r.Lookup(then, name, cluster.Zone(w))
						checked++
						if r != w.Resolver && before.Name() != w.Resolver.Lookup(conf, name, cluster.Zone(w)).Name() {
							continue // that one does not work today
						}
						if before.Status != resolver.Found && byName[w.Name].Recommendation.Ndots > ndotsInForce(w) {
							continue // what a too low ndots hid is found again, or its AAAA is NODATA
						}
						if before.Name() != after.Name() || before.Status != after.Status {
							t.Errorf("%s: %s with %s: %s %q with ndots %d, %s %q with %s", w.Name, name, r, before.Status, before.Name(), ndotsInForce(w), after.Status, after.Name(), then.Options[0])
						}
					}
					if strings.HasSuffix(name, ".svc") && w.Resolver == resolver.Musl && r.Ndots <= strings.Count(name, ".") {
						t.Errorf("%s: musl looks up %s and gets ndots %d", w.Name, name, r.Ndots)
					}
				}
			}
			t.Logf("%d workloads, %d with lower ndots, %d lookups compared", len(cluster.Workloads), lowered, checked)
			if lowered == 0 || checked == 0 {
				t.Error("nothing was compared")
			}
			if !slices.ContainsFunc(report.Risks, func(r advisor.Risk) bool {
				return r.Code == advisor.RiskNamespacePublicSuffix && slices.Contains(r.Names, "dev")
			}) {
				t.Errorf("namespace dev is not flagged: %v", report.Risks)
			}
		})
	}
}
