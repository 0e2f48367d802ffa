package advisor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/printable"
)

// Thresholds of confidence.
const (
	fewLookups   = 100
	manyLookups  = 1000
	shortWindow  = 10 * time.Minute
	longWindow   = time.Hour
	percentTotal = 100
)

// bound is the most that a confidence can be, and why.
type bound struct {
	most Confidence
	why  string
}

// confidence says how far to trust, from how much there was to see. The worst of
// these decides:
//
//	low     a gap of the logs that allows no more (gap.go); fewer than 100 lookups, or
//	        less than ten minutes covered; names beyond the limits; a log that is
//	        mostly of nodes; one lookup in five for a name that was seen only once: by
//	        Good and Turing, as likely is the next one for a name never seen; one query
//	        in ten of the lookups missing (in fifty below 4 with musl), or one lookup in ten without an end; one query
//	        in a hundred of other pods; below 4, no start of a pod seen, and a
//	        resolver that is musl or not known: names that are asked for once, at the
//	        start, would not be found
//	medium  a gap that allows no more; fewer than 1,000 lookups; less than an hour
//	        covered, or no timestamps; one lookup in a hundred for a name seen once; one
//	        query in fifty missing; some queries of other pods; no start seen; a
//	        resolver that is not known
//	high    otherwise
//
// Starts do not bound a run of many: advice asks for one of each image and command by
// itself.
func (a *assembly) confidence(w *Workload, evidences []*evidence, ofMany bool) (c Confidence, because []string) {
	because = []string{}
	ndots := w.Recommendation.Ndots
	if name, what := decisive(evidences, ndots, &a.clients.names); name != "" {
		because = append(because, fmt.Sprintf("%s needs ndots %d: %s", name, ndots, what))
	} else if ndots == 1 {
		because = append(because, "no name needs more")
	} else if namespace := a.room(w.WorkloadKey); namespace != "" && ndots == roomFloor {
		because = append(because, "no name needs more than 1; Services in namespace "+namespace+" keep room, since the Internet has a domain of that name and no start was seen")
	}
	c = ConfidenceHigh
	bounds := slices.Concat(a.byAmount(w), a.byCompleteness(w, evidences), a.byGaps(evidences, ndots))
	if b, found := a.byStarts(w, evidences); found && !ofMany {
		bounds = append(bounds, b)
	}
	for _, b := range bounds {
		if c == ConfidenceHigh || b.most == ConfidenceLow {
			c = b.most
		}
		because = append(because, b.why)
	}
	for _, e := range evidences {
		if e.contradiction != "" && !slices.Contains(because, e.contradiction) {
			because = append(because, e.contradiction)
		}
	}
	return c, because
}

// byAmount bounds the confidence by how much there is.
func (a *assembly) byAmount(w *Workload) (bounds []bound) {
	lower := func(to Confidence, format string, args ...any) {
		bounds = append(bounds, bound{to, fmt.Sprintf(format, args...)})
	}
	switch {
	case w.Lookups < fewLookups:
		lower(ConfidenceLow, "only %s", amount(w.Lookups, "lookup"))
	case w.Lookups < manyLookups:
		lower(ConfidenceMedium, "%d lookups", w.Lookups)
	}
	covered := time.Duration(w.Completeness.CoveredSeconds) * time.Second
	switch {
	case w.Completeness.From.IsZero():
		lower(ConfidenceMedium, "the log has no timestamps")
	case covered < shortWindow:
		lower(ConfidenceLow, "the log covers %s of it", covered)
	case covered < longWindow:
		lower(ConfidenceMedium, "the log covers %s of it", covered)
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
	return bounds
}

// byCompleteness bounds the confidence by what is missing.
func (a *assembly) byCompleteness(w *Workload, evidences []*evidence) (bounds []bound) {
	lower := func(to Confidence, format string, args ...any) {
		bounds = append(bounds, bound{to, fmt.Sprintf(format, args...)})
	}
	c := w.Completeness
	switch {
	case c.Unfinished*lowShare >= max(w.Lookups, 1):
		lower(ConfidenceLow, "%d of %s have no end in the log: is log in every server block, and without a class?", c.Unfinished, amount(w.Lookups, "lookup"))
	case c.MissingPercent >= 10, c.MissingPercent >= 2 && w.Recommendation.Ndots < captureFloor && slices.ContainsFunc(evidences, (*evidence).stops):
		lower(ConfidenceLow, "%.1f %% of the queries of its lookups are missing", c.MissingPercent)
	case c.MissingPercent >= 2:
		lower(ConfidenceMedium, "%.1f %% of the queries of its lookups are missing", c.MissingPercent)
	}
	switch all := w.Queries + c.Foreign; {
	case c.Foreign*mediumShare >= all && c.Foreign > 0:
		lower(ConfidenceLow, "%d of %d queries from its addresses are of pods of another namespace", c.Foreign, all)
	case c.Foreign > 0:
		lower(ConfidenceMedium, "%d of %d queries from its addresses are of pods of another namespace", c.Foreign, all)
	}
	if slices.ContainsFunc(evidences, func(e *evidence) bool { _, known := resolversOf(e.group); return !known }) {
		lower(ConfidenceMedium, ResolverUnknown)
	}
	if a.Source.Logs > 1 && a.Source.From.IsZero() && slices.ContainsFunc(evidences, func(e *evidence) bool { return len(e.conf.Nameservers) > 1 }) {
		lower(ConfidenceLow, "logs of several servers without timestamps: copies of a query may count twice")
	}
	return bounds
}

// byStarts bounds the confidence where pods of the workload may look up names at a start
// that no log has: with musl, which stops at ndots, any name of the cluster may be among
// them that less than 4 would break.
func (a *assembly) byStarts(w *Workload, evidences []*evidence) (b bound, found bool) {
	ndots := w.Recommendation.Ndots
	unseen := a.logs.unseen(w.WorkloadKey)
	if len(unseen) == 0 || !slices.ContainsFunc(evidences, func(e *evidence) bool { return ndots < ndotsOf(e.conf) }) {
		return b, false
	}
	of := ""
	if w.Completeness.Starts > 0 {
		of = " of pods with " + printable.Line(strings.TrimSpace(unseen[0].images))
	}
	stops := slices.ContainsFunc(unseen, func(p program) bool { return stopsAtNdots(p.group) }) ||
		slices.ContainsFunc(evidences, func(e *evidence) bool { return e.contradiction != "" })
	if ndots < captureFloor && stops {
		return bound{ConfidenceLow, "no start seen" + of + ": what is looked up once, at the start of a pod, may not be found with less than 4"}, true
	}
	return bound{ConfidenceMedium, "no start seen" + of + ": what is looked up once, at the start of a pod, is not in the log"}, true
}

// byGaps bounds the confidence by what the logs lack as a whole: for all workloads,
// and for some no more than low.
func (a *assembly) byGaps(evidences []*evidence, ndots int) (bounds []bound) {
	for i := range a.Source.Gaps {
		g := &a.Source.Gaps[i]
		most := g.Confidence
		if a.mayBeHidden(g, evidences, ndots) {
			most = ConfidenceLow
		}
		bounds = append(bounds, bound{most, g.Text})
	}
	return bounds
}

// mayBeHidden tells whether a name that would break under an ndots may be among what a
// gap hides.
//
//	gap                                   hides what would break
//	a log that breaks off                 of those whose queries it has
//	lines that cannot be read             below 4 with musl: where lines are cut off, those with long
//	                                      names are, of which some are asked for once
//	no Service, nothing of a namespace    below 4 with musl, if that is less than now
//	nothing of a namespace called like    below 3: pod.service.namespace would be asked of the Internet
//	a domain of the Internet
//	no Service, a workload is silent, and at 1: service.namespace would be asked of the Internet
//	a namespace is called like that
func (a *assembly) mayBeHidden(g *Gap, evidences []*evidence, ndots int) bool {
	lowers := func(e *evidence) bool { return ndots < ndotsOf(e.conf) }
	stops := func(e *evidence) bool { return lowers(e) && e.stops() }
	switch g.Code {
	case GapBreaksOff:
		return slices.ContainsFunc(evidences, a.inBrokenLog)
	case GapNoServices:
		return ndots < captureFloor && slices.ContainsFunc(evidences, stops) ||
			ndots < 2 && likeTheInternet(g.namespaces) && slices.ContainsFunc(evidences, lowers)
	case GapNamespaceMissing:
		return ndots < captureFloor && slices.ContainsFunc(evidences, stops) ||
			ndots < captureFloor-1 && likeTheInternet(g.namespaces) && slices.ContainsFunc(evidences, lowers)
	case GapUnreadLines:
		return ndots < captureFloor && slices.ContainsFunc(evidences, stops)
	case GapUnreadLog, GapNoAnswers, GapNoNXDomain, GapNoClusterNames, GapReadTwice, GapUntimed, GapPeriodic, GapSourceLacks, GapClusterDomain:
		// They mean the same for all.
	}
	return false
}

// stops tells whether a group may have musl, by what is known or by its queries.
func (e *evidence) stops() bool { return e.contradiction != "" || stopsAtNdots(e.group) }

// inBrokenLog tells whether a group has queries in a log that breaks off.
func (a *assembly) inBrokenLog(e *evidence) bool {
	return slices.ContainsFunc(a.logs.tenures[e.id], func(t seenTenure) bool {
		return slices.ContainsFunc(t.segments[:t.n], func(segment uint16) bool {
			return a.Source.Files[a.logs.logs[segment]].BreaksOff != ""
		})
	})
}

// decisive finds a name for which less than this ndots would not do, the one that
// was looked up most, and says why.
func decisive(evidences []*evidence, ndots int, names *clusterNames) (name, what string) {
	if ndots < 2 {
		return "", ""
	}
	var most int64
	for _, e := range evidences {
		if e.tally.floor == ndots && name == "" {
			name, what = "a name beyond the limits", "its answer came from a search domain"
		}
		if e.floor == ndots && name == "" {
			name, what = e.floorBy, "it is in the settings of the containers"
		}
		for i := range e.lookups {
			l := &e.lookups[i]
			v := e.verdicts[i]
			room := e.needsRoom(l, names) && l.dots() >= ndots-1
			if n := l.lookups(); n > most && (!v.safe[ndots-2] || room) {
				most, name = n, l.name
				switch {
				case room && l.end >= 0 && l.steps[l.end].name == l.name:
					what = "a Service may have that name, though the Internet answers now"
				case room && l.end >= 0:
					what = "its answer is " + l.steps[l.end].name + ", and the Internet has such names too"
				case l.end >= 0:
					what = "its answer is " + l.steps[l.end].name
				case room && l.unfinished:
					what = "the log does not have what it came to"
				case room:
					what = "it has no answer now, and may be a Service's or its pod's"
				default:
					what = "what it would be answered otherwise is not known"
				}
			}
		}
	}
	return name, what
}
