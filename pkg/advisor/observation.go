package advisor

import (
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Observation is what a run says of a workload for a document of advice. Unlike a
// recommendation it does not go by the resolver that the workload has, which another
// build may change:
//
//	Ndots         the lowest under which every name keeps its answer with every resolver
//	              that is modelled, musl among them
//	Fallthrough   the same for resolvers that fall through, for which the gate holds:
//	              a name that ends in .svc does not exist outside
type Observation struct {
	Ndots       int
	Fallthrough int
	// Queries under each ndots of a resolver that falls through, from 1.
	Queries [maxNdots]int64
	// Confidence, apart from how long the logs are and whether they have a start: that
	// adds up over many runs.
	Confidence Confidence
	// Why Ndots is needed, in words; empty where nothing needs more than 1.
	Why string
	// From and To are the first and last query, and Covered the time between them that
	// the logs cover. All are zero without timestamps.
	From, To time.Time
	Covered  time.Duration
	// Started are the images and commands of pods a whole start of which was seen.
	Started []policy.AdviceReference
}

// observe is asked for a workload that has evidence. noSafe tells that no ndots is
// safe for all of its pods: then what they have now is needed, and room for each name
// that is found in the search list, or may be a Service's and has no answer.
func (a *assembly) observe(w *Workload, evidences []*evidence, floor int, noSafe bool) *Observation {
	named := policy.Workload{Kind: w.Kind, Name: w.Name}
	if !a.settings.Observe || a.excluded.Has(w.Namespace) || !named.IsValid() {
		return nil
	}
	o := &Observation{Ndots: maxNdots, Fallthrough: maxNdots, Confidence: ConfidenceLow}
	judged := make([]*evidence, len(evidences))
	for i, e := range evidences {
		again := *e
		again.queries = [maxNdots]int64{}
		judgeGroup(&again, a.judge(e.conf, nil, true), &a.clients.names)
		judged[i] = &again
	}
	if o.Ndots = lowest(floor, func(n int) bool {
		return !slices.ContainsFunc(judged, func(e *evidence) bool { return !e.safe[n] })
	}); o.Ndots == 0 || noSafe {
		o.Ndots = min(max(slices.Max(w.Ndots), floor, 1, a.roomIn(judged)), maxNdots)
	}
	through := a.fallsThrough(evidences)
	o.Queries = through.queries
	if o.Fallthrough = lowest(floor, func(n int) bool { return through.safe[n] }); o.Fallthrough == 0 {
		o.Fallthrough = maxNdots
	}
	if name, what := decisive(judged, o.Ndots, &a.clients.names); name != "" {
		o.Why = printable.Line(name + ": " + what)
	}
	c := w.Completeness
	if c == nil {
		c = a.completeness(evidences)
	}
	o.From, o.To, o.Covered = c.From, c.To, time.Duration(c.CoveredSeconds)*time.Second
	if !noSafe {
		// How long this run is does not count, nor that it has no start: the rest may be in
		// other runs.
		long, asked := *c, *w
		long.CoveredSeconds = max(long.CoveredSeconds, int64(longWindow/time.Second))
		asked.Completeness, asked.Recommendation = &long, &Recommendation{Ndots: o.Ndots}
		o.Confidence, _ = a.confidence(&asked, judged, true)
	}
	for _, e := range evidences {
		for _, t := range a.logs.tenures[e.id] {
			if a.logs.started(t) {
				o.Started = append(o.Started, a.clients.references[t.reference]...)
			}
		}
	}
	slices.SortFunc(o.Started, compareReferences)
	o.Started = slices.Compact(o.Started)
	return o
}

// roomIn is the ndots under which all names that may be of the cluster are searched for,
// those that have their answer in the search list, which musl must not miss, and those
// in the settings of containers.
func (a *assembly) roomIn(evidences []*evidence) int {
	ndots := 0
	for _, e := range evidences {
		ndots = max(ndots, e.tally.floor, e.floor)
		for i := range e.lookups {
			l := &e.lookups[i]
			if searched := l.end >= 0 && !l.rooted() && l.steps[l.end].name != l.name; searched || e.needsRoom(l, &a.clients.names) {
				ndots = max(ndots, l.dots()+1)
			}
		}
	}
	return ndots
}

// lowest is the lowest ndots from a floor on that is safe, 0 if none is.
func lowest(floor int, safe func(index int) bool) int {
	for n := floor; n <= maxNdots; n++ {
		if safe(n - 1) {
			return n
		}
	}
	return 0
}

// fallsThrough judges by glibc and Go, under the gate.
func (a *assembly) fallsThrough(evidences []*evidence) (sum evidence) {
	for i := range sum.safe {
		sum.safe[i] = true
	}
	for _, e := range evidences {
		floor := e.tally.floor
		if !inService(e.floorBy) {
			floor = max(floor, e.floor)
		}
		judge := a.judge(e.conf, []resolver.Resolver{resolver.Glibc, resolver.Go}, false)
		for i := range e.lookups {
			l := e.lookups[i]
			l.steps = underGate(&l)
			v := judge.lookup(&l)
			room := e.needsRoom(&e.lookups[i], &a.clients.names) && !inService(l.name)
			var asked int64
			for _, n := range l.asked {
				asked += n
			}
			for n := range sum.safe {
				safe := v.safe[n]
				if room {
					safe = n+1 > l.dots()
				}
				sum.safe[n] = sum.safe[n] && safe
				sum.queries[n] += asked * int64(v.steps[n])
			}
		}
		for n := range sum.safe {
			sum.safe[n] = sum.safe[n] && n+1 >= floor
		}
	}
	return sum
}

// inService tells of a name that the gate answers for.
func inService(name string) bool { return strings.HasSuffix(name, ".svc") }

// underGate are the steps of a lookup, with what the gate says of the name as it is.
func underGate(l *lookup) []step {
	if !inService(l.name) {
		return l.steps
	}
	steps := slices.Clone(l.steps)
	for i := range steps {
		if steps[i].name == l.name {
			if steps[i].outcome == unknownStep {
				steps[i].outcome = nxDomain
			}
			return steps
		}
	}
	return append(steps, step{l.name, nxDomain})
}

// reference is the index of a pod's images and commands.
func (c *Clients) reference(p *Pod) int32 {
	var list []policy.AdviceReference
	var key strings.Builder
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		r := policy.AdviceReference{
			Image:   container.Image,
			Command: policy.CommandLine(policy.DigestOf(container.Command), policy.DigestOf(container.Args)),
		}
		if !policy.IsImage(r.Image) { // such a pod has none that holds for it
			list = nil
			break
		}
		list = append(list, r)
		key.WriteString(r.Image + " " + r.Command + "\n")
	}
	if i, known := c.referenceOf[key.String()]; known && list != nil {
		return i
	}
	if c.referenceOf == nil {
		c.referenceOf = make(map[string]int32)
	}
	c.references = append(c.references, list)
	index := int32(len(c.references) - 1)
	if list != nil {
		c.referenceOf[key.String()] = index
	}
	return index
}
