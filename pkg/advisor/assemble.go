package advisor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// collected is a group with its counters.
type collected struct {
	group    *group
	shard    *shard
	tally    *groupTally
	counters []uint32
}

// groups lists the groups that asked for anything, by workload.
func (c *Collector) groups() []collected {
	var all []collected
	for _, s := range c.shards {
		lists := s.byGroup()
		for id, tally := range s.groups {
			all = append(all, collected{&c.clients.groups[id], s, tally, lists[id]})
		}
	}
	slices.SortFunc(all, func(a, b collected) int {
		return cmp.Or(a.group.workload.compare(b.group.workload), strings.Compare(a.group.key(), b.group.key()))
	})
	return all
}

// names are the queries of a group.
func (g *collected) names() map[string]*observed {
	names := make(map[string]*observed, len(g.counters))
	list := make([]observed, len(g.counters))
	for i, n := range g.counters {
		counter := &g.shard.counters[n/slabSize][n%slabSize]
		o := &list[i]
		for kind, count := range counter.counts {
			o.all[kind/querylog.Results][kind%querylog.Results] = int64(count)
		}
		o.left = o.all
		names[string(g.shard.text(&g.shard.names[counter.name]))] = o
	}
	return names
}

// nodeSearches finds the nodes' own search domains: what follows a name for which
// all of the cluster's search domains were asked in vain, about as often as the
// last of these, with a third of such names; with half of them if it is only one.
func nodeSearches(groups []collected, node resolver.Node) []string {
	type trace struct{ names, queries int64 }
	traces := make(map[string]*trace)
	chains := int64(0)
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		suffixes := dotted(conf.Searches)
		if groups[i].group.why != "" || len(suffixes) == 0 || groups[i].group.dns.Policy == "None" {
			continue
		}
		names := groups[i].names()
		sorted := make([]string, 0, len(names))
		for name := range names {
			sorted = append(sorted, name)
		}
		slices.Sort(sorted)
		for query := range names {
			name, ok := strings.CutSuffix(query, suffixes[0])
			if !ok {
				continue
			}
			if slices.ContainsFunc(suffixes, func(suffix string) bool {
				o := names[name+suffix]
				return o == nil || o.most(querylog.NXDomain) == 0
			}) {
				continue
			}
			chains++
			at, _ := slices.BinarySearch(sorted, name+".")
			for ; at < len(sorted) && strings.HasPrefix(sorted[at], name+"."); at++ {
				suffix := sorted[at][len(name):]
				inCluster := slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(suffix, s) })
				if inCluster || !strings.Contains(suffix[1:], ".") && suffix != ".internal" {
					continue
				}
				t := traces[suffix]
				if t == nil {
					t = &trace{}
					traces[suffix] = t
				}
				before := names[name+suffixes[len(suffixes)-1]].most(querylog.OK, querylog.NXDomain, querylog.Failed)
				queries := names[sorted[at]].most(querylog.OK, querylog.NXDomain, querylog.Failed)
				if 2*queries < before || queries > 2*before {
					continue
				}
				t.names++
				t.queries += queries
			}
		}
	}
	var found []string
	for suffix, t := range traces {
		if t.names >= 2 && 3*t.names >= chains || 2*t.names >= chains {
			found = append(found, suffix)
		}
	}
	// A domain is asked no more often than the one before it.
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(traces[b].queries, traces[a].queries), strings.Compare(a, b))
	})
	for i := range found {
		found[i] = found[i][1:]
	}
	return found
}

// assembly is a report that is being made.
type assembly struct {
	*Report
	settings Settings
	clients  *Clients
	node     resolver.Node
	// wildcards are the search domains that may answer for any name.
	wildcards map[string]bool
	waste     map[string]*NameWaste
	// searched are the names among them that a search domain has the answer for.
	searched map[string]bool
	// fromNodes is the queries of nodes and of pods with their addresses.
	// notFirstHop tells that these are most: there is a cache in between.
	fromNodes   int64
	notFirstHop bool
}

// workload adds a workload of one or more groups.
func (a *assembly) workload(groups []collected) {
	w := Workload{WorkloadKey: groups[0].group.workload, Ndots: []int{}, Names: []NameUse{}, Risks: []Risk{}}
	var evidences []*evidence
	for i := range groups {
		g := &groups[i]
		conf, _ := a.node.ResolvConf(g.group.dns)
		e := &evidence{group: g.group, conf: conf, tally: *g.tally, why: g.group.why}
		w.Pods += g.group.pods
		w.Queries += g.tally.queries
		w.Retries += g.tally.retries
		w.Overflow += g.tally.overflow
		if ndots := ndotsOf(conf); !slices.Contains(w.Ndots, ndots) {
			w.Ndots = append(w.Ndots, ndots)
		}
		if rule := g.group.rule; rule != "" && !slices.Contains(w.Rules, rule) {
			w.Rules = append(w.Rules, rule)
		}
		for _, r := range g.group.resolvers {
			if !slices.Contains(w.Resolvers, r) {
				w.Resolvers = append(w.Resolvers, r)
			}
		}
		e.lookups = reconstruct(conf, g.names(), a.wildcards)
		if e.why == "" && byAutopath(e.lookups) {
			e.why = ReasonAutopath
		}
		judgeGroup(e, a.clients.namespaces)
		for j := range e.lookups {
			w.Lookups += e.lookups[j].lookups()
		}
		if w.Reason == "" {
			w.Reason = e.why
		}
		evidences = append(evidences, e)
	}
	slices.Sort(w.Ndots)
	slices.Sort(w.Resolvers)
	slices.Sort(w.Rules)
	ndots, queries, ok := best(evidences)
	if w.Reason == "" && !ok {
		w.Reason = ReasonNoSafeNdots
	}
	switch w.Reason {
	case "":
		w.Recommendation = a.recommendation(&w, evidences, ndots, queries)
		a.names(&w, evidences, ndots)
		w.Recommendation.Confidence, w.Recommendation.Because = a.confidence(&w, evidences)
		a.workloadRisks(&w)
		w.Reason = a.reasonNotToApply(&w, evidences)
	case ReasonNoSafeNdots:
		a.names(&w, evidences, 0)
	default:
		// What was looked up is not known either.
		w.Lookups = 0
	}
	w.ReasonText = w.Reason.Sentence()
	if limit := a.settings.Names; limit >= 0 && len(w.Names) > limit {
		w.Names = w.Names[:limit]
	}
	a.Workloads = append(a.Workloads, w)
	a.Totals.Workloads++
	a.Totals.Lookups += w.Lookups
	a.Totals.Queries += w.Queries
	a.Totals.Predicted += w.Queries
	if w.Recommendation != nil && w.Recommendation.Apply {
		a.Totals.Predicted -= w.Recommendation.Saved
	}
	a.Source.Retries += w.Retries
}

// recommendation is all but the confidence.
func (a *assembly) recommendation(w *Workload, evidences []*evidence, ndots int, queries int64) *Recommendation {
	r := &Recommendation{Ndots: ndots, Queries: queries, Saved: w.Queries - queries}
	if w.Queries > 0 {
		r.SavedPercent = float64(int64(1000*float64(r.Saved)/float64(w.Queries)+0.5)) / 10
	}
	broken := slices.ContainsFunc(evidences, func(e *evidence) bool {
		current := ndotsOf(e.conf)
		return current >= 1 && current <= maxNdots && current != ndots && !e.safe[current-1]
	})
	r.Fallback = a.fallback(evidences, ndots)
	drop := r.Fallback != nil && r.Fallback.Drop
	r.Apply = ((r.Saved > 0 || broken) && !usersNdots(evidences) || drop) && !slices.Contains(a.settings.ExcludedNamespaces, w.Namespace)
	return r
}

func usersNdots(evidences []*evidence) bool {
	return slices.ContainsFunc(evidences, func(e *evidence) bool { return e.group.usersNdots })
}

// reasonNotToApply is "" where there is something to apply.
func (a *assembly) reasonNotToApply(w *Workload, evidences []*evidence) Reason {
	switch {
	case w.Recommendation.Apply:
		return ""
	case slices.Contains(a.settings.ExcludedNamespaces, w.Namespace):
		return ReasonExcludedNamespace
	case usersNdots(evidences):
		return ReasonUsersNdots
	}
	return ReasonNothingSaved
}

// fallback counts what the nameservers behind the node's own are asked by pods all
// of whose containers are known to have musl: only those ask all at once, so that
// the others would lose the fallback and save nothing.
func (a *assembly) fallback(evidences []*evidence, ndots int) *Fallback {
	f := &Fallback{Drop: a.settings.DropFallback}
	for _, e := range evidences {
		if e.group.injected == 0 || !allMusl(e.group.resolvers) {
			continue
		}
		servers := int64(0)
		for _, server := range e.conf.Nameservers[:min(e.group.injected, len(e.conf.Nameservers))] {
			if slices.Contains(a.settings.LocalServers, server) {
				continue
			}
			servers++
			if !slices.Contains(f.Servers, server) {
				f.Servers = append(f.Servers, server)
			}
		}
		f.Queries += servers * e.tally.queries
		f.Then += servers * e.queries[ndots-1]
	}
	if len(f.Servers) == 0 {
		return nil
	}
	return f
}

func allMusl(resolvers []resolver.Resolver) bool {
	return len(resolvers) > 0 && !slices.ContainsFunc(resolvers, func(r resolver.Resolver) bool {
		return r != resolver.Musl && r != resolver.MuslBefore124
	})
}

// names lists the names of a workload, the dearest first, and adds up their waste.
func (a *assembly) names(w *Workload, evidences []*evidence, ndots int) {
	uses := make(map[string]*NameUse)
	for _, e := range evidences {
		current := ndotsOf(e.conf)
		for i := range e.lookups {
			l, v := &e.lookups[i], e.verdicts[i]
			u := uses[l.name]
			if u == nil {
				u = &NameUse{Name: l.name}
				uses[l.name] = u
			}
			var asked int64
			for _, n := range l.asked {
				asked += n
			}
			u.Lookups += l.lookups()
			u.Queries += asked * int64(l.stepsToday(v, current))
			if ndots > 0 {
				u.Then += asked * int64(v.steps[ndots-1])
			} else {
				u.Then = u.Queries
			}
			if l.end >= 0 {
				u.Answer = l.steps[l.end].name
			}
			if wasted := asked * int64(l.stepsToday(v, current)-1); wasted > 0 && l.end >= 0 {
				total := a.waste[l.name]
				if total == nil {
					total = &NameWaste{Name: l.name}
					a.waste[l.name] = total
				}
				a.searched[l.name] = a.searched[l.name] || l.steps[l.end].name != l.name
				total.Lookups += l.lookups()
				total.Queries += asked * int64(l.stepsToday(v, current))
				total.Wasted += wasted
				total.Workloads++
			}
		}
	}
	w.DistinctNames = len(uses)
	for _, u := range uses {
		w.Names = append(w.Names, *u)
	}
	slices.SortFunc(w.Names, func(x, y NameUse) int {
		return cmp.Or(cmp.Compare(y.Queries, x.Queries), strings.Compare(x.Name, y.Name))
	})
}

// Thresholds of confidence.
const (
	fewLookups   = 100
	manyLookups  = 1000
	shortWindow  = 10 * time.Minute
	longWindow   = time.Hour
	percentTotal = 100
)

// confidence says how far to trust, from how much there was to see:
//
//	low     fewer than 100 lookups, less than ten minutes, names beyond the limits,
//	        a log that is mostly of nodes, or one lookup in five is for a name that was seen only once: by
//	        Good and Turing, as likely is the next one for a name never seen
//	medium  fewer than 1,000 lookups, less than an hour or no timestamps, one
//	        lookup in a hundred for a name seen once, or a resolver that is not known
//	high    otherwise
func (a *assembly) confidence(w *Workload, evidences []*evidence) (c Confidence, because []string) {
	c = ConfidenceHigh
	lower := func(to Confidence, format string, args ...any) {
		if c == ConfidenceHigh || to == ConfidenceLow {
			c = to
		}
		because = append(because, fmt.Sprintf(format, args...))
	}
	ndots := w.Recommendation.Ndots
	if name, what := decisive(evidences, ndots, a.clients.namespaces); name != "" {
		because = append(because, fmt.Sprintf("%s needs ndots %d: %s", name, ndots, what))
	} else if ndots == 1 {
		because = append(because, "no name needs more")
	}
	window := a.Source.To.Sub(a.Source.From)
	switch {
	case w.Lookups < fewLookups:
		lower(ConfidenceLow, "only %s", amount(w.Lookups, "lookup"))
	case w.Lookups < manyLookups:
		lower(ConfidenceMedium, "%d lookups", w.Lookups)
	}
	switch {
	case a.Source.From.IsZero():
		lower(ConfidenceMedium, "the log has no timestamps")
	case window < shortWindow:
		lower(ConfidenceLow, "the log covers %s", window)
	case window < longWindow:
		lower(ConfidenceMedium, "the log covers %s", window)
	}
	var once int64
	for i := range w.Names {
		if w.Names[i].Lookups == 1 {
			once++
		}
	}
	if w.Lookups > 0 {
		switch share := percentTotal * once / w.Lookups; {
		case share >= 20:
			lower(ConfidenceLow, "%d of %s for a name seen only once", once, amount(w.Lookups, "lookup"))
		case share >= 1:
			lower(ConfidenceMedium, "%d of %s for a name seen only once", once, amount(w.Lookups, "lookup"))
		}
	}
	if a.notFirstHop {
		lower(ConfidenceLow, "most of this log comes from nodes: a cache may know what else the workload asks")
	}
	if w.Overflow > 0 {
		lower(ConfidenceLow, "%d queries were for more names than are kept", w.Overflow)
	}
	if len(w.Resolvers) == 0 {
		lower(ConfidenceMedium, "the resolver is not known: safe for all of them")
	}
	if a.Source.Logs > 1 && a.Source.From.IsZero() && slices.ContainsFunc(evidences, func(e *evidence) bool { return len(e.conf.Nameservers) > 1 }) {
		lower(ConfidenceLow, "logs of several servers without timestamps: copies of a query may count twice")
	}
	return c, because
}

// decisive finds a name for which less than this ndots would not do, the one that
// was looked up most, and says why.
func decisive(evidences []*evidence, ndots int, namespaces map[string]bool) (name, what string) {
	if ndots < 2 {
		return "", ""
	}
	var most int64
	for _, e := range evidences {
		if e.tally.floor == ndots && name == "" {
			name, what = "a name beyond the limits", "its answer came from a search domain"
		}
		for i := range e.lookups {
			l := &e.lookups[i]
			v := e.verdicts[i]
			unresolved := l.inCluster(namespaces) && l.dots() >= ndots-1
			if n := l.lookups(); n > most && (!v.safe[ndots-2] || unresolved) {
				most, name = n, l.name
				switch {
				case l.end >= 0:
					what = "its answer is " + l.steps[l.end].name
				case unresolved:
					what = "it has no answer now, and looks like a Service"
				default:
					what = "what it would be answered otherwise is not known"
				}
			}
		}
	}
	return name, what
}

// finish adds what needs all workloads.
func (a *assembly) finish(t *tally) {
	slices.SortStableFunc(a.Workloads, func(x, y Workload) int { return cmp.Compare(saved(&y), saved(&x)) })
	for _, w := range a.waste {
		a.Waste = append(a.Waste, *w)
	}
	slices.SortFunc(a.Waste, func(x, y NameWaste) int {
		return cmp.Or(cmp.Compare(y.Wasted, x.Wasted), strings.Compare(x.Name, y.Name))
	})
	a.clusterRisks(t)
	const shown = 50
	a.Waste = a.Waste[:min(len(a.Waste), shown)]
	byReason := make(map[Reason][]ClientUse)
	for address, u := range t.unknown {
		byReason[u.why] = append(byReason[u.why], ClientUse{address, u.queries})
	}
	for why, n := range t.unattributed {
		clients := byReason[why]
		slices.SortFunc(clients, func(x, y ClientUse) int {
			return cmp.Or(cmp.Compare(y.Queries, x.Queries), strings.Compare(x.Address, y.Address))
		})
		a.Unattributed = append(a.Unattributed, Unattributed{why, why.Sentence(), n, append([]ClientUse{}, clients[:min(len(clients), 10)]...)})
	}
	slices.SortFunc(a.Unattributed, func(x, y Unattributed) int {
		return cmp.Or(cmp.Compare(y.Queries, x.Queries), strings.Compare(string(x.Reason), string(y.Reason)))
	})
}

func saved(w *Workload) int64 {
	if w.Recommendation == nil {
		return -1 << 62
	}
	if !w.Recommendation.Apply {
		return w.Recommendation.Saved - 1<<61
	}
	return w.Recommendation.Saved
}
