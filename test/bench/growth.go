package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/shorthop/shorthop/test/measured"
)

// queries are the figures of docs/results/queries.json that are used here.
type queries struct {
	Cells []struct {
		Name, Resolver, Setting  string
		Queries, RepeatedReached int
	}
}

func readQueries(file string) (*queries, error) {
	var q queries
	return &q, readJSON(file, &q)
}

// of returns what a glibc pod sends for an external name with two dots, and what of that reaches the cluster DNS when the
// name is looked up again.
func (q *queries) of(setting string) (sent, reached int) {
	for _, c := range q.Cells {
		if c.Name == "api.example.com" && c.Resolver == "glibc" && c.Setting == setting {
			return c.Queries, c.RepeatedReached
		}
	}
	return 0, 0
}

// The cluster of docs/growth.md.
const (
	grownNodes     = 15000
	grownPods      = 500000
	grownCreations = 1000 // pods per second
	// grownLookups is an assumption: a lookup of an external name per pod every ten seconds.
	grownLookups = grownPods / 10
	// headroom is the share of a core that a replica may use, so that bursts find room.
	headroom = 0.5
	// fewestReplicas is one per zone.
	fewestReplicas = 3
	// How the detector reads pods: internal/detector and internal/audit.
	detectorPage       = 500
	detectorPause      = 0.5 // s
	detectorIntervalMn = 10
)

// growthPage is docs/growth.md: arithmetic on what `make bench` and `make e2e` have measured.
func growthPage(r *results, q *queries) string {
	s := settings[len(settings)-1].name
	ours, none := r.create(s, nameShorthop), r.create(s, variantNone)
	var most, alone float64 // reviews a second of one core, and the share of it that this load takes
	for _, row := range r.Serving {
		switch {
		case row.Server != nameShorthop:
		case row.Rate == 0:
			most = row.PerSecond
		case row.Rate == grownCreations:
			alone = row.CPU / 1e6 * grownCreations
		}
	}
	cores := ours.CPU / 10000 * grownCreations
	replicas := max(fewestReplicas, int(math.Ceil(cores/headroom)))
	apiServerAlone, apiServerMore := none.APIServerCPU/10000*grownCreations, (ours.APIServerCPU-none.APIServerCPU)/10000*grownCreations
	scan := grownPods / detectorPage * detectorPause

	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("# Growth\n\n" +
		"What Shorthop costs and saves in a cluster at the upper end, computed from measured figures: [benchmarks](results/bench.md) (pods\n" +
		"with a service host and NodeLocal DNS) and [queries per lookup](results/queries.md). Written by `make bench`.\n\n")
	p("%s nodes, %s pods, %s pod creations a second (all pods replaced in %.0f minutes), 10,000 namespaces, a policy of 1,000 rules.\n",
		measured.Thousands(grownNodes), measured.Thousands(grownPods), measured.Thousands(grownCreations), float64(grownPods)/grownCreations/60)

	p("\n## What it costs\n\n")
	t := measured.NewTable("what", "figure", "from")
	t.Row("CPU of all replicas", fmt.Sprintf("%.2f cores", cores), fmt.Sprintf("%.2f ms a pod × %s/s", ours.CPU/10, measured.Thousands(grownCreations)))
	t.Row("replicas", fmt.Sprint(replicas), fmt.Sprintf("at most %.0f %% of a core each, and one for each of %d zones", headroom*100, fewestReplicas))
	t.Row("memory of a replica (RssAnon)", fmt.Sprintf("%.0f MiB", r.Large.Loaded.Anonymous), "measured with 10,000 namespaces and 1,000 rules, under load")
	t.Row("memory of all replicas", fmt.Sprintf("%.0f MiB", r.Large.Loaded.Anonymous*float64(replicas)), "")
	t.Row("latency added to a pod's creation", fmt.Sprintf("%.1f ms", r.added(s, nameShorthop)), "the median, of the measured machine")
	t.Row("reviews under way", fmt.Sprintf("%.0f", math.Ceil(grownCreations*r.added(s, nameShorthop)/1000)), fmt.Sprintf("%.1f ms × %s/s", r.added(s, nameShorthop), measured.Thousands(grownCreations)))
	t.Row("API servers: CPU of creating pods", fmt.Sprintf("%.1f cores", apiServerAlone), fmt.Sprintf("%.1f ms a pod without Shorthop, nothing stored", none.APIServerCPU/10))
	t.Row("API servers: CPU for calling Shorthop", fmt.Sprintf("%.1f cores more", apiServerMore), fmt.Sprintf("%.1f ms a pod", (ours.APIServerCPU-none.APIServerCPU)/10))
	t.Row("API servers: watches", fmt.Sprint(2*replicas), "namespaces (metadata) and the cache's DaemonSet, per replica")
	t.Row("API servers: pods read by the detector", fmt.Sprintf("%.0f/s", grownPods/scan), fmt.Sprintf("one replica, pages of %d, a pause of %.1f s after each", detectorPage, detectorPause))
	t.Write(&b)

	p("\n## What it saves\n\nWith an external name of two dots looked up by each pod every ten seconds, which is an assumption: %s lookups a second, by\nglibc. Figures are queries a second.\n\n", measured.Thousands(grownLookups))
	t = measured.NewTable("setting", "sent by pods", "saved", "reaching the cluster DNS", "saved")
	defaultSent, defaultReached := q.of("default")
	for _, setting := range []string{"default", "Options ndots:2", "NodeLocal ndots:2"} {
		sent, reached := q.of(setting)
		t.Row(setting, measured.Thousands(sent*grownLookups), measured.Thousands((defaultSent-sent)*grownLookups),
			measured.Thousands(reached*grownLookups), measured.Thousands((defaultReached-reached)*grownLookups))
	}
	t.Write(&b)
	p("\nThe default ndots of 4 saves nothing here: it saves where names have four dots or more, as full names of Services have. `kubectl\n" +
		"shorthop advise` finds the workloads that can go lower. The cache's row is of names that it has already; what it asks upstream depends on their TTLs.\n")

	p("\n## Where the first limit is\n\n")
	p("- **One connection, one replica.** An API server keeps one HTTP/2 connection to a webhook, so its reviews go to one replica, and\n"+
		"  the connections of all API servers may end at the same one. A replica must be able to take all of the load. At %s\n"+
		"  creations a second that is %.0f %% of a core beside an API server on the same cores, as above, and %.0f %% of a core that it has to\n"+
		"  itself; the busier it is, the less a review costs, and one core answers up to %s a second. Set no CPU limit below one core.\n",
		measured.Thousands(grownCreations), cores*100, alone*100, measured.Thousands(int(math.Round(most/100))*100))
	p("- **API servers come first.** Creating the pods and calling Shorthop for them, without storing them, takes %.0f times the CPU that\n"+
		"  all replicas use.\n", (apiServerAlone+apiServerMore)/cores)
	p("- **The detector's scan** takes %.0f s of pauses alone for %s pods, and begins every %d minutes: above %s pods it\n"+
		"  never rests, and `shorthop_` figures of missed pods are older than the interval. Raise `--detect-interval` there.\n",
		scan, measured.Thousands(grownPods), detectorIntervalMn, measured.Thousands(detectorIntervalMn*60/detectorPause*detectorPage))
	p("- **Nodes do not count.** Nothing that Shorthop does grows with their number but the status of one DaemonSet.\n")
	return b.String()
}
