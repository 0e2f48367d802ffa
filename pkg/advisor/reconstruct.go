package advisor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// How lookups are rebuilt from the counts of queries of pods with one resolv.conf.
// The order of lines is not used: A and AAAA and neighbouring steps are interleaved
// even where nothing was shuffled.
//
// A lookup of a name with fewer dots than ndots asks for the name with each search
// domain in turn and then as it is; with as many or more, as it is first. Each
// query may be a step of several chains:
//
//	web.shop.svc.cluster.local   web with the first domain, web.shop with the second
//	                             (of pods in shop), web.shop.svc with the third, or
//	                             the name as it is
//
// So candidates are taken from the longest on: those queries of a candidate that no
// longer one has claimed can only be its own. Each takes as many queries off every
// step as it has lookups there.
//
//	at a step                      what it means
//	NXDOMAIN                       the chain goes on
//	NOERROR, and the chain ends    that was the answer, a wildcard's too
//	NOERROR without an address,    NODATA, if the chain goes on
//	where the source tells
//	NOERROR, and it goes on        NODATA, if nine tenths go on and the search domain is
//	                               none that answers for whatever name
//	the last step                  whatever it says
//
//	what remains                   what it was
//	first domain, answered         a short name, pod.service, or a name with a dot at
//	                               its end: the short name, which needs more dots
//	first domain, not answered     the same
//	no search domain, dots < ndots a name with a dot at its end
//	no search domain, dots >= ndots the name
//
// Lines that were lost leave a little over or lack a little: of several counts of
// the same lookups the highest is right, and up to a fiftieth that remains is not
// taken for lookups of its own.

// maxDotsCounted is where the number of dots no longer matters.
const maxDotsCounted = 15

// lookup is lookups of a name that went the same way.
type lookup struct {
	// name has no dot at its end unless it was looked up with one.
	name string
	// steps are what a lookup can ask for, in the order of the resolv.conf in
	// force, with what is known of them.
	steps []step
	// end is the step with the answer, -1 without one.
	end int
	// alone tells that the only query was for the name as it is.
	alone bool
	// unfinished tells that it has no end in the log: it went through the search
	// domains, and what came then is not there.
	unfinished bool
	// asked is how often, by type. An application that asks for A and AAAA is in
	// both.
	asked [querylog.Types]int64
}

// step is one query of a chain.
type step struct {
	name    string
	outcome stepOutcome
}

type stepOutcome uint8

const (
	unknownStep stepOutcome = iota // nobody asked
	answered
	noData
	nxDomain
	failed
)

// lookups is how many lookups these are: A, AAAA and what is asked beside them
// together are one.
func (l *lookup) lookups() int64 {
	return slices.Max(l.asked[:])
}

// rooted tells whether the name was written with a dot at its end.
func (l *lookup) rooted() bool { return strings.HasSuffix(l.name, ".") && l.name != "." }

// dots is how many dots the name has.
func (l *lookup) dots() int { return strings.Count(l.name, ".") }

// reconstruction rebuilds the lookups of a group.
type reconstruction struct {
	ndots    int
	suffixes []string // search domains, each with a dot in front
	names    map[string]*observed
	lookups  []lookup
	world
	// expected is how many queries the lookups must have made, and missing how many of
	// these the log does not have.
	expected, missing int64
}

// world is what is known of all names beyond a group's own queries.
type world struct {
	// wildcards are the search domains, with a dot in front, that may answer for any
	// name.
	wildcards map[string]bool
	// answers says what a name gives others: it is the same for the whole cluster.
	// nil knows nothing.
	answers func(name string) stepOutcome
}

// outcome is what a name gives, from a group's own queries, else from others'.
func (r *reconstruction) outcome(name string) stepOutcome {
	if known := r.names[name].outcome(); known != unknownStep || r.answers == nil {
		return known
	}
	return r.answers(name)
}

// ndotsOf is the ndots of a resolv.conf, as all resolvers read it.
func ndotsOf(conf resolver.ResolvConf) int {
	ndots := 1
	for _, option := range conf.Options {
		if value, ok := strings.CutPrefix(option, "ndots:"); ok {
			number := 0
			for i := 0; i < len(value) && value[i] >= '0' && value[i] <= '9' && number <= maxDotsCounted; i++ {
				number = number*10 + int(value[i]-'0')
			}
			ndots = min(number, maxDotsCounted)
		}
	}
	return ndots
}

// reconstruct rebuilds lookups from the queries for each name.
func reconstruct(conf resolver.ResolvConf, names map[string]*observed, w world) *reconstruction {
	r := &reconstruction{ndots: ndotsOf(conf), suffixes: dotted(conf.Searches), names: names, world: w}
	for _, candidate := range r.candidates() {
		r.chain(candidate)
	}
	r.remaining()
	slices.SortFunc(r.lookups, func(a, b lookup) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.end, b.end), slices.Compare(a.asked[:], b.asked[:]))
	})
	return r
}

// findWildcards looks for search domains outside the cluster that end chains of
// names with a dot.
func findWildcards(conf resolver.ResolvConf, names map[string]*observed, found map[string]bool) {
	suffixes := dotted(conf.Searches)
	if len(suffixes) == 0 {
		return
	}
	_, cluster, _ := strings.Cut(suffixes[0], ".svc.")
	for i, suffix := range suffixes {
		if found[suffix] || cluster != "" && (suffix == "."+cluster || strings.HasSuffix(suffix, "."+cluster)) {
			continue
		}
		for query, o := range names {
			name, ok := strings.CutSuffix(query, suffix)
			if !ok || o.most(querylog.OK) == 0 || !strings.Contains(name, ".") {
				continue
			}
			next := name
			if i+1 < len(suffixes) {
				next += suffixes[i+1]
			}
			if names[next] == nil {
				found[suffix] = true
				break
			}
		}
	}
}

// candidates are all names that may have been looked up with a search domain, the
// longest first.
func (r *reconstruction) candidates() []string {
	set := make(map[string]bool)
	for query := range r.names {
		for _, suffix := range r.suffixes {
			if name, ok := strings.CutSuffix(query, suffix); ok && name != "" && !strings.HasSuffix(name, ".") {
				set[name] = true
			}
		}
	}
	candidates := make([]string, 0, len(set))
	for name := range set {
		candidates = append(candidates, name)
	}
	slices.SortFunc(candidates, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return candidates
}

// steps are the queries of a lookup in their order.
func (r *reconstruction) steps(name string) []step {
	var steps []step
	if bare, rooted := strings.CutSuffix(name, "."); rooted {
		if bare == "" {
			bare = "."
		}
		return []step{{name: bare}}
	}
	first := strings.Count(name, ".") >= r.ndots
	if first {
		steps = append(steps, step{name: name})
	}
	for _, suffix := range r.suffixes {
		steps = append(steps, step{name: name + suffix})
	}
	if !first {
		steps = append(steps, step{name: name})
	}
	return steps
}

// goingOn is how many queries for a step may be of this chain: those that are left,
// less what shorter names that are looked up ask there.
func (r *reconstruction) goingOn(name, query string) int64 {
	o := r.names[query]
	if o == nil {
		return 0
	}
	n := o.most(querylog.OK, querylog.NXDomain, querylog.Failed)
	for i, suffix := range r.suffixes {
		short, ok := strings.CutSuffix(query, suffix)
		if !ok || short == name || short == "" {
			continue
		}
		if i == 0 {
			return 0 // its first step: all of them may be
		}
		if head := r.names[short+r.suffixes[0]]; head.any() {
			n -= head.most(querylog.OK, querylog.NXDomain, querylog.Failed)
		}
	}
	return max(n, 0)
}

// plausible tells whether a chain left its traces: its first step, or, where that
// may have been lost, two of those after it.
func (r *reconstruction) plausible(search []step) bool {
	if r.names[search[0].name].any() {
		return true
	}
	traces := 0
	for _, s := range search[1:] {
		if o := r.names[s.name]; o.any() && o.most(querylog.NXDomain) > 0 && !strings.HasSuffix(s.name, r.suffixes[0]) {
			traces++
		}
	}
	return traces >= 2
}

// add notes lookups that went one way. flags are about the search domains.
func (r *reconstruction) add(name string, steps []step, flags []stepOutcome, end int, asked [querylog.Types]int64) {
	l := lookup{name: name, steps: slices.Clone(steps), end: end, asked: asked}
	absoluteFirst := len(flags) > 0 && steps[0].name == name
	lastSeen := end
	if end < 0 {
		for i := range steps {
			if r.names[steps[i].name] != nil {
				lastSeen = i
			}
		}
	}
	for i := range l.steps {
		s := &l.steps[i]
		o := r.names[s.name]
		searched := i
		if absoluteFirst {
			searched--
		}
		switch {
		case i == end:
			s.outcome = answered
		case i <= lastSeen || end < 0 && o != nil:
			// It was asked, and the chain went on.
			s.outcome = nxDomain
			switch {
			case searched >= 0 && searched < len(flags):
				if flags[searched] != answered {
					s.outcome = flags[searched]
				}
			case o.outcome() == failed:
				s.outcome = failed
			case o.outcome() == answered, o.outcome() == noData:
				s.outcome = noData
			}
		default:
			s.outcome = r.outcome(s.name)
		}
	}
	// Without the line for the name as it is, what the lookup came to is not known,
	// unless others have asked.
	if last := len(l.steps) - 1; end < 0 && l.steps[last].name == name && r.names[name] == nil {
		l.unfinished = true
		if l.steps[last].outcome == answered {
			l.end = last
		}
	}
	r.lookups = append(r.lookups, l)
}

// remaining takes what no chain has claimed for lookups of the names as they are.
// Types other than A and AAAA are mostly asked for without a search list
// (res_query): what nobody searched has a dot at its end. HTTPS and the like, asked
// beside A and AAAA, belong to the same lookup.
func (r *reconstruction) remaining() {
	ends := make(map[string]int)
	for i := range r.lookups {
		if l := &r.lookups[i]; l.end >= 0 {
			ends[l.steps[l.end].name] = i
		}
	}
	queries := make([]string, 0, len(r.names))
	for query, o := range r.names {
		if o.any() {
			queries = append(queries, query)
		}
	}
	slices.Sort(queries)
	for _, query := range queries {
		o := r.names[query]
		var addresses, others [2][querylog.Types]int64 // with an answer, and without
		for t := range o.left {
			into := &addresses
			if querylog.Type(t) == querylog.OtherType {
				into = &others
			}
			into[0][t] = o.left[t][querylog.OK]
			into[1][t] = o.left[t][querylog.NXDomain] + o.left[t][querylog.Failed]
			if o.noData {
				into[0][t], into[1][t] = 0, into[1][t]+into[0][t]
			}
		}
		name := query
		if strings.Count(query, ".") < r.ndots && query != "." {
			name += "."
		}
		r.asItIs(name, o, addresses)
		none := [querylog.Types]int64{}
		switch at, found := ends[query]; {
		case found || addresses[0] != none || addresses[1] != none:
			if !found {
				at = len(r.lookups) - 1
			}
			r.lookups[at].asked[querylog.OtherType] += others[0][querylog.OtherType] + others[1][querylog.OtherType]
		case query == ".":
			r.asItIs(query, o, others)
		default:
			r.asItIs(query+".", o, others)
		}
	}
}

// asItIs adds lookups of a name that asked for nothing else, with an answer and
// without.
func (r *reconstruction) asItIs(name string, o *observed, asked [2][querylog.Types]int64) {
	for i, n := range asked {
		if n == ([querylog.Types]int64{}) {
			continue
		}
		l := lookup{name: name, steps: slices.Clone(r.steps(name)), asked: n, alone: true}
		switch {
		case i == 0:
			l.steps[0].outcome = answered
		case o.noData:
			l.end, l.steps[0].outcome = -1, noData
		case o.most(querylog.NXDomain) > 0:
			l.end, l.steps[0].outcome = -1, nxDomain
		default:
			l.end, l.steps[0].outcome = -1, failed
		}
		for k := 1; k < len(l.steps); k++ {
			l.steps[k].outcome = r.outcome(l.steps[k].name)
		}
		r.lookups = append(r.lookups, l)
	}
}
