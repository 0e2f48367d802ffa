package advisor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// collected is a group with its counters.
type collected struct {
	id       int32
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
			if tally == nil {
				continue
			}
			all = append(all, collected{int32(id), &c.clients.groups[id], s, tally, lists[int32(id)]})
		}
	}
	slices.SortFunc(all, func(a, b collected) int {
		if c := a.group.workload.compare(b.group.workload); c != 0 {
			return c
		}
		return strings.Compare(a.group.key(), b.group.key())
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
		o.noData = counter.noData && !counter.answered
		names[string(g.shard.text(&g.shard.names[counter.name]))] = o
	}
	return names
}

// assembly is a report that is being made.
type assembly struct {
	*Report
	settings Settings
	excluded *policy.Excluded
	clients  *Clients
	node     resolver.Node
	world    world
	domains  searchDomains
	logs     coverage
	// likeTheInternet are namespaces with Services that are called like its domains.
	likeTheInternet []string
	waste           map[string]*NameWaste
	hints           map[*group]*resolverhint.Evidence
	// verdicts are what judges have found, by what a judge goes by.
	verdicts map[string]map[string]verdict
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
	captured, floor := false, 1
	for i := range groups {
		e := a.evidence(&groups[i])
		w.add(e)
		if w.Reason == "" {
			w.Reason = e.why
		}
		captured = captured || e.group.captured && e.why == ""
		evidences = append(evidences, e)
	}
	if captured && !slices.ContainsFunc(evidences, func(e *evidence) bool { return !onlyOutside(e.lookups, a.Cluster.Domain) }) {
		floor = captureFloor
	}
	if floor < roomFloor && a.room(w.WorkloadKey) != "" {
		floor = roomFloor
	}
	slices.Sort(w.Ndots)
	slices.Sort(w.Resolvers)
	w.Resolver = a.resolverOf(&w, groups)
	if d := a.clients.decided[w.WorkloadKey]; d != nil {
		for _, rule := range d.rules {
			if rule != policy.DefaultRule {
				w.Rules = append(w.Rules, rule)
			}
		}
		slices.Sort(w.Rules)
		w.RulesDiffer = d.unsure || len(d.rules) > 1
	}
	ndots, queries, ok := best(evidences, floor)
	if w.Reason == "" && !ok {
		w.Reason = ReasonNoSafeNdots
	}
	switch w.Reason {
	case "":
		w.Recommendation = a.recommendation(&w, evidences, ndots, queries)
		a.names(&w, evidences, ndots)
		w.Completeness = a.completeness(evidences)
		w.Recommendation.Confidence, w.Recommendation.Because = a.confidence(&w, evidences, false)
		a.workloadRisks(&w)
		w.Reason = a.reasonNotToApply(&w, evidences, floor == captureFloor)
		w.Recommendation.Apply = w.Reason == ""
		w.Observation = a.observe(&w, evidences, floor, false)
	case ReasonNoSafeNdots:
		a.names(&w, evidences, 0)
		w.Observation = a.observe(&w, evidences, floor, true)
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

// evidence is what the queries of a group say.
func (a *assembly) evidence(g *collected) *evidence {
	names := a.domains.names(g)
	file, _ := a.node.ResolvConf(g.group.dns)
	conf, own := inForce(file, g.group, names)
	e := &evidence{group: g.group, id: g.id, conf: conf, ownNdots: own || g.group.usersNdots, tally: *g.tally, why: g.group.why}
	if a.Cluster.DomainFound && e.tally.overflow > 0 {
		e.tally.floor = maxNdots // they were looked at with another domain
	}
	e.foreign = claimForeign(conf, names)
	r := reconstruct(conf, names, a.world)
	e.lookups, e.expected, e.missing = r.lookups, r.expected, r.missing
	switch {
	case e.why != "":
	case byAutopath(e.lookups):
		e.why = ReasonAutopath
	case e.foreign > 0 && len(e.lookups) == 0:
		e.why = ReasonReusedAddress
	}
	var j *judge
	j, e.contradiction = a.hintedJudge(conf, g.group)
	judgeGroup(e, j, &a.clients.names)
	return e
}

// add adds up what is known of a group.
func (w *Workload) add(e *evidence) {
	w.Pods += e.group.pods
	w.Queries += e.tally.queries - e.foreign
	w.Retries += e.tally.retries
	w.Overflow += e.tally.overflow
	if ndots := ndotsOf(e.conf); !slices.Contains(w.Ndots, ndots) {
		w.Ndots = append(w.Ndots, ndots)
	}
	for _, r := range e.group.resolvers {
		if !slices.Contains(w.Resolvers, r) {
			w.Resolvers = append(w.Resolvers, r)
		}
	}
	for i := range e.lookups {
		w.Lookups += e.lookups[i].lookups()
	}
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
	// Whether it may be applied, reasonNotToApply says.
	r.Apply = (r.Saved > 0 || broken) && !usersNdots(evidences) || drop
	return r
}

func usersNdots(evidences []*evidence) bool {
	return slices.ContainsFunc(evidences, func(e *evidence) bool { return e.ownNdots })
}

// reasonNotToApply is "" where there is something to apply.
func (a *assembly) reasonNotToApply(w *Workload, evidences []*evidence, captured bool) Reason {
	switch useful := w.Recommendation.Apply; {
	case captured:
		return ReasonDNSCapture
	case useful && !a.excluded.Has(w.Namespace):
		if w.Recommendation.Confidence.below(a.settings.MinConfidence) {
			return ReasonLowConfidence
		}
		return ""
	case a.excluded.Has(w.Namespace):
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
		if judges, known := resolversOf(e.group); e.group.injected == 0 || !known || !allMusl(judges) {
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
	return len(resolvers) > 0 && !slices.ContainsFunc(resolvers, func(r resolver.Resolver) bool { return !isMusl(r) })
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
