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
// asked for) is not the pod's. If that leaves none, ndots must stay above the dots.
type judge struct {
	conf      resolver.ResolvConf
	resolvers []resolver.Resolver // those the pod may have
	known     bool                // whether that is known
	memory    map[string]verdict
}

// verdict is about lookups that went one way, for each ndots from 1.
type verdict struct {
	safe  [maxNdots]bool
	steps [maxNdots]int // queries for each type
}

func newJudge(conf resolver.ResolvConf, known []resolver.Resolver) *judge {
	j := &judge{conf: conf, resolvers: known, known: len(known) > 0, memory: make(map[string]verdict)}
	if !j.known {
		j.resolvers = resolver.Resolvers()
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
	key := j.key(l)
	v, ok := j.memory[key]
	if !ok {
		v = j.evaluate(l)
		j.memory[key] = v
	}
	return v
}

func (j *judge) key(l *lookup) string {
	b := make([]byte, 0, 16)
	for i := range l.steps {
		b = append(b, '0'+byte(l.steps[i].outcome))
	}
	b = append(b, byte('a'+min(l.dots(), maxDotsCounted)), byte('A'+l.end+1))
	if l.rooted() {
		b = append(b, '.')
	}
	if !plain(l.name) {
		b = append(b, l.name...)
	}
	return string(b)
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
	var v verdict
	if l.rooted() || l.name == "." {
		for i := range v.safe {
			v.safe[i], v.steps[i] = true, 1
		}
		return v
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
		if inTheDark || l.end >= 0 && today.Name() != l.steps[l.end].name || l.end < 0 && today.Status == resolver.Found || now == 0 {
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
	if possible == 0 {
		for i := range v.safe {
			ndots := i + 1
			v.safe[i] = ndots > l.dots() || ndots == ndotsOf(j.conf)
			v.steps[i] = 1
		}
	}
	return v
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

// inCluster tells whether a name that has no answer today looks like one of a
// Service: it may have one tomorrow.
func (l *lookup) inCluster(namespaces map[string]bool) bool {
	if l.end >= 0 || l.rooted() {
		return false
	}
	labels := strings.Split(l.name, ".")
	last := labels[len(labels)-1]
	switch n := len(labels); {
	case n == 1:
		return true
	case last == "svc":
		return n >= 3
	case namespaces[last]:
		return n == 2
	}
	return false
}

// evidence is what the queries of a group of pods say.
type evidence struct {
	group   *group
	conf    resolver.ResolvConf
	tally   groupTally
	lookups []lookup
	// verdicts belong to the lookups.
	verdicts []verdict
	// safe and queries are for each ndots from 1. queries are all of the group.
	safe    [maxNdots]bool
	queries [maxNdots]int64
	why     Reason
}

// judgeGroup says what becomes of a group's lookups under each ndots.
func judgeGroup(e *evidence, namespaces map[string]bool) {
	j := newJudge(e.conf, e.group.resolvers)
	current := ndotsOf(e.conf)
	e.verdicts = make([]verdict, len(e.lookups))
	for i := range e.safe {
		e.safe[i] = i+1 >= e.tally.floor || i+1 == current
	}
	var explained int64
	for i := range e.lookups {
		l := &e.lookups[i]
		v := j.lookup(l)
		if l.inCluster(namespaces) {
			// What it costs and says with the search list is not known, but that
			// it needs it is.
			for n := range v.safe {
				v.safe[n] = n+1 > l.dots()
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

// best picks the ndots with the fewest queries among those that are safe for all
// groups, the lowest if several are equal. ok is false if none is.
func best(groups []*evidence) (ndots int, queries int64, ok bool) {
	queries = math.MaxInt64
	for i := range maxNdots {
		var sum int64
		safe := true
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
