package advisor

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// maxNdots is the highest ndots that is recommended: what kubelet writes by itself.
const maxNdots = 5

// judge lets the models look up again what was looked up.
//
// A value of ndots is safe for a lookup if, for every resolver that the pod may
// have, the answer comes from the same name as today, or there still is none, and
// nothing is asked that the log does not know the answer to: a name that was never
// asked for may belong to somebody else.
//
// A resolver that cannot have left this log (today it would ask for what nobody
// asked for) is not the pod's. If that leaves none, ndots must stay above the dots;
// but a name for which the search list was never asked, though it should have been,
// had a dot at its end.
type judge struct {
	conf      resolver.ResolvConf
	resolvers []resolver.Resolver // those the pod may have
	known     bool                // whether that is known
	// another is set where the pod's next build may have another resolver: then the
	// answer must be kept by those, too, that would not have found it today.
	another bool
	// memory is shared by all that judge alike.
	memory map[string]verdict
	// hinted, if not nil, is enough for an ndots from hintedFrom on.
	hinted     *judge
	hintedFrom int
}

// verdict is about lookups that went one way, for each ndots from 1.
type verdict struct {
	safe  [maxNdots]bool
	steps [maxNdots]int // queries for each type
}

// judge judges by the resolvers that are known, all if none is. With another, a build
// to come may have any of these. What equal judges find of lookups that went the same
// way is found once for all groups.
func (a *assembly) judge(conf resolver.ResolvConf, known []resolver.Resolver, another bool) *judge {
	j := &judge{conf: conf, another: another}
	j.resolvers, j.known = resolversOf(&group{resolvers: known})
	key := fmt.Sprintf("%s%q %t %t", conf, j.resolvers, j.known, another)
	if j.memory = a.verdicts[key]; j.memory == nil {
		j.memory = make(map[string]verdict)
		a.verdicts[key] = j.memory
	}
	return j
}

// withNdots is the resolv.conf with another ndots.
func withNdots(conf resolver.ResolvConf, ndots int) resolver.ResolvConf {
	changed := conf
	changed.Options = nil
	for _, option := range conf.Options {
		if name, _, _ := strings.Cut(option, ":"); name != "ndots" {
			changed.Options = append(changed.Options, option)
		}
	}
	changed.Options = append(changed.Options, fmt.Sprintf("ndots:%d", ndots))
	return changed
}

// lookup judges lookups. Names that all resolvers treat alike are judged once for
// all with as many dots.
func (j *judge) lookup(l *lookup) verdict {
	if !plain(l.name) {
		return j.evaluate(l) // no other lookup has that name
	}
	key := j.key(l)
	v, ok := j.memory[string(key)]
	if !ok {
		v = j.evaluate(l)
		j.memory[string(key)] = v
	}
	return v
}

func (j *judge) key(l *lookup) []byte {
	b := make([]byte, 0, 16)
	for i := range l.steps {
		b = append(b, '0'+byte(l.steps[i].outcome))
	}
	b = append(b, byte('a'+min(l.dots(), maxDotsCounted)), byte('A'+l.end+1))
	if l.rooted() {
		b = append(b, '.')
	}
	if l.alone {
		b = append(b, '1')
	}
	return b
}

// plain tells whether a name has nothing that a resolver could stumble over,
// whatever search domain is added.
func plain(name string) bool {
	if len(name) > 100 || strings.HasSuffix(name, "onion") {
		return false
	}
	letters := false
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
			letters = letters || c >= 'a' && c <= 'z'
		}
	}
	return letters
}

func (j *judge) evaluate(l *lookup) verdict {
	var v, rooted verdict
	for i := range rooted.safe {
		rooted.safe[i], rooted.steps[i] = true, 1
	}
	if l.rooted() || l.name == "." {
		return rooted
	}
	known := make(map[string]resolver.Outcome, len(l.steps))
	for i := range l.steps {
		switch l.steps[i].outcome {
		case answered:
			known[l.steps[i].name] = resolver.Answer
		case noData:
			known[l.steps[i].name] = resolver.NoData
		case nxDomain:
			known[l.steps[i].name] = resolver.NXDomain
		case failed:
			known[l.steps[i].name] = resolver.ServFail
		case unknownStep:
		}
	}
	try := func(r resolver.Resolver, conf resolver.ResolvConf) (result resolver.Lookup, names int, inTheDark bool) {
		result = r.Lookup(conf, l.name, func(_ int, name string, _ resolver.RRType) resolver.Outcome {
			outcome, ok := known[strings.ToLower(name)]
			if !ok {
				inTheDark = true
				return resolver.NXDomain
			}
			return outcome
		})
		return result, candidates(result), inTheDark
	}
	for i := range v.safe {
		v.safe[i] = true
	}
	possible := 0
	for _, r := range j.resolvers {
		today, now, inTheDark := try(r, j.conf)
		if inTheDark || l.end >= 0 && today.Name() != l.steps[l.end].name || l.end < 0 && today.Status == resolver.Found || now == 0 || l.alone && now > 1 {
			for i := 0; j.another && !inTheDark && l.end >= 0 && i < len(v.safe); i++ {
				then, _, dark := try(r, withNdots(j.conf, i+1))
				v.safe[i] = v.safe[i] && !dark && then.Name() == l.steps[l.end].name
			}
			continue
		}
		possible++
		for i := range v.safe {
			then, names, inTheDark := try(r, withNdots(j.conf, i+1))
			if inTheDark || then.Status != today.Status || then.Name() != today.Name() {
				v.safe[i] = false
			}
			if possible == 1 || j.known {
				v.steps[i] = max(v.steps[i], names)
			}
		}
	}
	switch {
	case possible == 0 && l.alone:
		return rooted
	case possible == 0 && l.nowhere():
		for i := range v.safe {
			v.safe[i], v.steps[i] = true, len(l.steps)
		}
	case possible == 0:
		for i := range v.safe {
			ndots := i + 1
			v.safe[i] = ndots > l.dots() || ndots == ndotsOf(j.conf)
			v.steps[i] = 1
			if v.safe[i] {
				v.steps[i] = l.seen()
			}
		}
	}
	return v
}

// nowhere tells whether nothing that the lookup can ask for exists, so that the order
// does not matter.
func (l *lookup) nowhere() bool {
	return l.end < 0 && !slices.ContainsFunc(l.steps, func(s step) bool { return s.outcome != nxDomain && s.outcome != noData })
}

// seen is how many steps of the lookup are known.
func (l *lookup) seen() int {
	n := 0
	for i := range l.steps {
		if l.steps[i].outcome != unknownStep {
			n++
		}
	}
	return max(n, 1)
}

// candidates counts the names that a lookup asks for: the copies for several
// nameservers and further attempts are no more work for the first hop's log.
func candidates(l resolver.Lookup) int {
	n := 0
	for i := range l.Queries {
		if i == 0 || l.Queries[i].Name != l.Queries[i-1].Name {
			n++
		}
	}
	// A and AAAA follow each other, so a name comes in one run.
	return n
}

// needsRoom tells whether a lookup needs more ndots than its name has dots, whatever
// the answers of now:
//
//	it has no answer, and may be a Service's or its pod's that is not ready
//	it has its answer through a search domain, and ends as names of the Internet do
//	(api.app in namespace app): who has the name outside would answer first
//	it has its answer outside, and is what a Service in a namespace that there is would
//	be called: that Service may not be ready
func (e *evidence) needsRoom(l *lookup, names *clusterNames) bool {
	if l.rooted() || l.name == "." || l.dots() >= maxNdots {
		return false
	}
	if l.end < 0 {
		return names.mayBe(l.name, e.group.workload.Namespace, dotted(e.conf.Searches))
	}
	if l.steps[l.end].name == l.name {
		return names.serviceToBe(l.name)
	}
	return l.dots() > 0 && publicSuffix(l.name[strings.LastIndexByte(l.name, '.')+1:])
}

// evidence is what the queries of a group of pods say.
type evidence struct {
	group *group
	id    int32 // the group's index
	// conf is the resolv.conf in force, and ownNdots tells that its ndots is one that
	// the pods set themselves.
	conf     resolver.ResolvConf
	ownNdots bool
	tally    groupTally
	lookups  []lookup
	// foreign is queries of pods of other namespaces, expected and missing those of
	// the lookups, all and those that the log does not have.
	foreign, expected, missing int64
	// floor is the ndots that names in the containers' settings need, and floorBy
	// one of these names.
	floor   int
	floorBy string
	// verdicts belong to the lookups.
	verdicts []verdict
	// safe and queries are for each ndots from 1. queries are all of the group.
	safe    [maxNdots]bool
	queries [maxNdots]int64
	why     Reason
	// contradiction is between what is known of the resolver and the queries.
	contradiction string
}

// judgeGroup says what becomes of a group's lookups under each ndots.
func judgeGroup(e *evidence, j *judge, names *clusterNames) {
	e.raise(names)
	current := ndotsOf(e.conf)
	e.verdicts = make([]verdict, len(e.lookups))
	for i := range e.safe {
		e.safe[i] = i+1 >= max(e.tally.floor, e.floor) || i+1 == current && !j.another
	}
	var explained int64
	for i := range e.lookups {
		l := &e.lookups[i]
		v := j.hint(j.lookup(l), l)
		if e.needsRoom(l, names) {
			// What it costs and says with the search list may not be known, but that
			// it needs it is. Where it has an answer, what is in force keeps it.
			for n := range v.safe {
				v.safe[n] = n+1 > l.dots() || l.end >= 0 && n+1 == current && !j.another
			}
		}
		e.verdicts[i] = v
		var asked int64
		for _, n := range l.asked {
			asked += n
		}
		for n := range e.safe {
			e.safe[n] = e.safe[n] && v.safe[n]
			e.queries[n] += asked * int64(v.steps[n])
		}
		explained += asked * int64(l.stepsToday(v, current))
	}
	// What does not change: queries beyond the limits and those that no lookup
	// explains.
	rest := max(e.tally.queries-explained, 0)
	for n := range e.queries {
		e.queries[n] += rest
	}
}

// raise keeps room for names of the cluster in the containers' settings that the log
// does not have.
func (e *evidence) raise(names *clusterNames) {
	lookedUp := make(map[string]bool, len(e.lookups))
	for i := range e.lookups {
		lookedUp[e.lookups[i].name] = true
	}
	for _, host := range names.mentioned(e.group) {
		if needs := strings.Count(host, ".") + 1; needs > e.floor && !lookedUp[host] {
			e.floor, e.floorBy = needs, host
		}
	}
}

// stepsToday is how many names the lookup asked for.
func (l *lookup) stepsToday(v verdict, current int) int {
	if current >= 1 && current <= maxNdots {
		return v.steps[current-1]
	}
	if l.end >= 0 {
		return l.end + 1
	}
	n := 0
	for i := range l.steps {
		if l.steps[i].outcome != unknownStep {
			n = i + 1
		}
	}
	return n
}

// best picks the ndots with the fewest queries among those from a floor on that are
// safe for all groups, the lowest if several are equal. ok is false if none is.
func best(groups []*evidence, floor int) (ndots int, queries int64, ok bool) {
	queries = math.MaxInt64
	for i := range maxNdots {
		var sum int64
		safe := i+1 >= floor
		for _, e := range groups {
			safe = safe && e.safe[i]
			sum += e.queries[i]
		}
		if safe && sum < queries {
			ndots, queries, ok = i+1, sum, true
		}
	}
	return ndots, queries, ok
}

// byAutopath tells whether names from outside the cluster have their answers at the
// first search domain, and none comes further: the server follows the search list.
func byAutopath(lookups []lookup) bool {
	first := false
	for i := range lookups {
		l := &lookups[i]
		if !external(l.name) || l.rooted() || l.asked[querylog.A]+l.asked[querylog.AAAA] == 0 {
			continue
		}
		switch {
		case l.end == 0 && l.steps[0].name != l.name:
			first = true
		case l.steps[0].name != l.name && slices.ContainsFunc(l.steps[1:], func(s step) bool { return s.outcome != unknownStep }):
			return false
		}
	}
	return first
}
