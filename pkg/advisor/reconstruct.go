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

// lookups is how many lookups these are: A and AAAA together are one.
func (l *lookup) lookups() int64 {
	return max(l.asked[querylog.A], l.asked[querylog.AAAA]) + l.asked[querylog.OtherType]
}

// rooted tells whether the name was written with a dot at its end.
func (l *lookup) rooted() bool { return strings.HasSuffix(l.name, ".") && l.name != "." }

// dots is how many dots the name has.
func (l *lookup) dots() int { return strings.Count(l.name, ".") }

// observed is the queries for a name: all, and those that no lookup has claimed.
type observed struct {
	all, left [querylog.Types][querylog.Results]int64
}

func (o *observed) leftOf(t querylog.Type) int64 {
	return o.left[t][querylog.OK] + o.left[t][querylog.NXDomain] + o.left[t][querylog.Failed]
}

// most is the largest count of a result over A, AAAA and others.
func (o *observed) most(results ...querylog.Result) int64 {
	var most int64
	for t := range o.left {
		var sum int64
		for _, r := range results {
			sum += o.left[t][r]
		}
		most = max(most, sum)
	}
	return most
}

func (o *observed) any() bool {
	return o != nil && o.most(querylog.OK, querylog.NXDomain, querylog.Failed) > 0
}

// outcome is what a name gives, as far as all queries agree.
func (o *observed) outcome() stepOutcome {
	if o == nil {
		return unknownStep
	}
	var sums [querylog.Results]int64
	for t := range o.all {
		for r, n := range o.all[t] {
			sums[r] += n
		}
	}
	switch {
	case sums[querylog.OK] > 0 && sums[querylog.NXDomain]+sums[querylog.Failed] == 0:
		return answered
	case sums[querylog.OK] > 0:
		return unknownStep
	case sums[querylog.NXDomain] > 0:
		return nxDomain
	}
	return failed
}

// take claims n queries of a type. preferred results go first; a small rest goes
// with them.
func (o *observed) take(t querylog.Type, n int64, preferred ...querylog.Result) {
	claimed := n
	for _, r := range preferred {
		part := min(n, o.left[t][r])
		o.left[t][r] -= part
		n -= part
	}
	if rest := o.leftOf(t); rest > 0 && rest <= claimed/lossShare {
		o.left[t] = [querylog.Results]int64{}
	}
}

// lossShare is the share of the queries that may be left over because others of
// the same lookups were lost.
const lossShare = 50

// reconstruction rebuilds the lookups of a group.
type reconstruction struct {
	ndots     int
	suffixes  []string // search domains, each with a dot in front
	names     map[string]*observed
	lookups   []lookup
	wildcards map[string]bool
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

// reconstruct rebuilds lookups from the queries for each name. wildcards are the
// search domains, with a dot in front, that may answer for any name.
func reconstruct(conf resolver.ResolvConf, names map[string]*observed, wildcards map[string]bool) []lookup {
	r := reconstruction{ndots: ndotsOf(conf), suffixes: dotted(conf.Searches), names: names, wildcards: wildcards}
	for _, candidate := range r.candidates() {
		r.chain(candidate)
	}
	r.remaining()
	slices.SortFunc(r.lookups, func(a, b lookup) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.end, b.end), slices.Compare(a.asked[:], b.asked[:]))
	})
	return r.lookups
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

// chain claims the queries of the lookups of one name that used the search list.
func (r *reconstruction) chain(name string) {
	absoluteFirst := strings.Count(name, ".") >= r.ndots
	steps := r.steps(name)
	search := steps[:len(steps)-1]
	if absoluteFirst {
		search = steps[1:]
	}
	if !r.plausible(search) || absoluteFirst && r.names[name] == nil {
		return
	}

	// How far the chain goes. ends[i] is how many lookups have their answer at the
	// i-th search domain.
	var (
		ends  = make([][querylog.Types]int64, len(search))
		flags = make([]stepOutcome, len(search))
		reach = 0 // number of search domains that are asked
	)
	for i := range search {
		o := r.names[search[i].name]
		reach = i + 1
		flags[i] = nxDomain
		if o == nil {
			continue // lost, or never asked: decided below
		}
		ok, bad := o.most(querylog.OK), o.most(querylog.NXDomain, querylog.Failed)
		if ok == 0 {
			if o.most(querylog.NXDomain) == 0 && bad > 0 {
				flags[i] = failed
			}
			continue
		}
		var next int64
		if i+1 < len(steps) && (i+1 < len(search) || !absoluteFirst) {
			next = r.goingOn(name, steps[len(steps)-1].name)
			if i+1 < len(search) {
				next = r.goingOn(name, search[i+1].name)
			}
		}
		if goesOn := 10*(next-bad) >= 9*ok && 20*ok >= bad; goesOn && !r.wildcards[r.suffixes[i]] {
			flags[i] = noData
			continue
		}
		for t := range ends[i] {
			ends[i][t] = o.left[t][querylog.OK]
		}
		flags[i] = answered
		// On a rest that comes back with NXDOMAIN the chain goes on, if it does.
		if bad == 0 || 2*next < bad {
			break
		}
	}
	last := reach - 1
	for ; last > 0; last-- { // nobody asked for what comes after
		if r.names[search[last].name].any() {
			break
		}
	}

	// How many lookups there are: of what only this chain can have asked, the most.
	var asked [querylog.Types]int64
	for t := range asked {
		t := querylog.Type(t)
		var before int64
		for i := 0; i <= last; i++ {
			if o := r.names[search[i].name]; o != nil && (i == 0 || !strings.HasSuffix(search[i].name, r.suffixes[0])) {
				asked[t] = max(asked[t], o.leftOf(t)+before)
			}
			before += ends[i][t]
		}
	}
	if a, aaaa := asked[querylog.A], asked[querylog.AAAA]; max(a, aaaa)-min(a, aaaa) <= max(a, aaaa)/lossShare {
		asked[querylog.A], asked[querylog.AAAA] = max(a, aaaa), max(a, aaaa)
	}

	// Claim them, step by step.
	going := asked
	if absoluteFirst { // came first, and failed
		if o := r.names[name]; o != nil {
			for t, n := range going {
				o.take(querylog.Type(t), n, querylog.NXDomain, querylog.Failed, querylog.OK)
			}
		}
	}
	for i := 0; i <= last; i++ {
		o := r.names[search[i].name]
		if o == nil {
			continue
		}
		var ended [querylog.Types]int64
		for t := range going {
			t := querylog.Type(t)
			if flags[i] == answered {
				ended[t] = min(ends[i][t], going[t])
				if lost := going[t] - o.leftOf(t); lost > 0 && o.left[t][querylog.NXDomain]+o.left[t][querylog.Failed] == 0 {
					ended[t] = going[t] // lines of the answer that were lost
				}
				o.take(t, ended[t], querylog.OK)
				o.take(t, going[t]-ended[t], querylog.NXDomain, querylog.Failed)
			} else {
				o.take(t, going[t], querylog.NXDomain, querylog.Failed, querylog.OK)
			}
			going[t] -= ended[t]
		}
		if flags[i] == answered && ended != ([querylog.Types]int64{}) {
			at := i
			if absoluteFirst {
				at++
			}
			r.add(name, steps, flags, at, ended)
		}
	}
	if going == ([querylog.Types]int64{}) {
		return
	}
	if absoluteFirst {
		r.add(name, steps, flags, -1, going)
		return
	}
	// What the name as it is says.
	end := -1
	if o := r.names[name]; last == len(search)-1 && o != nil {
		var ended [querylog.Types]int64
		ok, bad := o.most(querylog.OK), o.most(querylog.NXDomain, querylog.Failed)
		for t := range going {
			t := querylog.Type(t)
			switch {
			case bad == 0 && ok > 0:
				ended[t] = going[t]
			case ok > 0:
				ended[t] = min(going[t], o.left[t][querylog.OK])
			}
			o.take(t, ended[t], querylog.OK)
			o.take(t, going[t]-ended[t], querylog.NXDomain, querylog.Failed)
			going[t] -= ended[t]
		}
		if ended != ([querylog.Types]int64{}) {
			r.add(name, steps, flags, len(steps)-1, ended)
		}
	}
	if going != ([querylog.Types]int64{}) {
		r.add(name, steps, flags, end, going)
	}
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
			case o.outcome() == answered:
				s.outcome = noData
			}
		default:
			s.outcome = o.outcome()
		}
	}
	// Where no search domain has an answer, all is the same whatever the name as it
	// is says: its line was lost.
	if s := &l.steps[len(l.steps)-1]; end < 0 && s.name == name && s.outcome == unknownStep && lastSeen == len(l.steps)-2 {
		s.outcome = nxDomain
	}
	r.lookups = append(r.lookups, l)
}

// remaining takes what no chain has claimed for lookups of the names as they are.
func (r *reconstruction) remaining() {
	for query, o := range r.names {
		if !o.any() {
			continue
		}
		name := query
		if strings.Count(query, ".") < r.ndots && query != "." {
			name += "."
		}
		steps := r.steps(name)
		var found, not [querylog.Types]int64
		for t := range o.left {
			found[t] = o.left[t][querylog.OK]
			not[t] = o.left[t][querylog.NXDomain] + o.left[t][querylog.Failed]
		}
		if found != ([querylog.Types]int64{}) {
			l := lookup{name: name, steps: slices.Clone(steps), asked: found}
			l.steps[0].outcome = answered
			r.rest(&l, 1)
		}
		if not != ([querylog.Types]int64{}) {
			l := lookup{name: name, steps: slices.Clone(steps), end: -1, asked: not}
			l.steps[0].outcome = nxDomain
			if o.most(querylog.NXDomain) == 0 {
				l.steps[0].outcome = failed
			}
			r.rest(&l, 1)
		}
	}
}

// rest fills in what is known of the steps that these lookups did not get to.
func (r *reconstruction) rest(l *lookup, from int) {
	for i := from; i < len(l.steps); i++ {
		l.steps[i].outcome = r.names[l.steps[i].name].outcome()
	}
	r.lookups = append(r.lookups, *l)
}
