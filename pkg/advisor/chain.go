package advisor

import (
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// chain is what the lookups of one name asked for while they went through the
// search list.
type chain struct {
	*reconstruction
	name string
	// absoluteFirst is true where the name as it is was the first step.
	absoluteFirst bool
	// steps are all that a lookup can ask for, search those of the search domains.
	steps, search []step
	// flags says what is known of each search step, and ends how many lookups have
	// their answer there.
	flags []stepOutcome
	ends  [][querylog.Types]int64
	// last is the last search step that was asked.
	last int
}

// chain claims the queries of the lookups of one name that used the search list.
func (r *reconstruction) chain(name string) {
	c := chain{reconstruction: r, name: name, absoluteFirst: strings.Count(name, ".") >= r.ndots}
	c.steps = r.steps(name)
	c.search = c.steps[:len(c.steps)-1]
	if c.absoluteFirst {
		c.search = c.steps[1:]
	}
	if !r.plausible(c.search) || c.absoluteFirst && r.names[name] == nil {
		return
	}
	c.follow()
	going := c.count()
	if c.absoluteFirst { // came first, and failed
		if o := r.names[name]; o != nil {
			for t, n := range going {
				r.expect(o, querylog.Type(t), n)
				o.take(querylog.Type(t), n, querylog.NXDomain, querylog.Failed, querylog.OK)
			}
		}
	}
	for i := 0; i <= c.last; i++ {
		c.claim(i, &going)
	}
	for _, s := range c.search[c.last+1:] { // of which nothing is there
		for t, n := range going {
			r.expect(r.names[s.name], querylog.Type(t), n)
		}
	}
	switch {
	case going == ([querylog.Types]int64{}):
	case c.absoluteFirst:
		r.add(name, c.steps, c.flags, -1, going)
	default:
		c.claimAsItIs(going)
	}
}

// follow finds out how far the chain goes.
func (c *chain) follow() {
	c.ends = make([][querylog.Types]int64, len(c.search))
	c.flags = make([]stepOutcome, len(c.search))
	reach := 0 // number of search domains that are asked
	for i := range c.search {
		reach = i + 1
		if !c.goesOn(i) {
			break
		}
	}
	c.last = reach - 1
	for ; c.last > 0; c.last-- { // nobody asked for what comes after
		if c.names[c.search[c.last].name].any() {
			break
		}
	}
}

// goesOn finds out what a search step said, and whether the chain goes on behind
// it.
func (c *chain) goesOn(i int) bool {
	o := c.names[c.search[i].name]
	c.flags[i] = nxDomain
	if o == nil {
		return true // lost, or never asked: follow decides
	}
	ok, bad := o.most(querylog.OK), o.most(querylog.NXDomain, querylog.Failed)
	if ok == 0 {
		if o.most(querylog.NXDomain) == 0 && bad > 0 {
			c.flags[i] = failed
		}
		return true
	}
	if began := c.began(i); began > 0 && c.shared(i) {
		ok = min(ok, began)
	}
	var next int64
	switch {
	case i+1 < len(c.search):
		next = c.goingOn(c.name, c.search[i+1].name)
	case !c.absoluteFirst:
		next = c.goingOn(c.name, c.steps[len(c.steps)-1].name)
	}
	if o.noData && next > 0 {
		c.flags[i] = noData
		return true
	}
	if noAnswer := 10*(next-bad) >= 9*ok && 20*ok >= bad; noAnswer && !c.wildcards[c.suffixes[i]] {
		c.flags[i] = noData
		return true
	}
	for t := range c.ends[i] {
		c.ends[i][t] = o.left[t][querylog.OK]
	}
	c.flags[i] = answered
	// On a rest that comes back with NXDOMAIN the chain goes on, if it does.
	return bad != 0 && 2*next >= bad
}

// shared tells whether a search step is also one of a shorter name, which may have asked
// for it more often than this chain: the first one, or a later one of a name whose first
// one was asked for (x.ns.svc.cluster.local is the third of x.ns.svc and the second of x.ns).
func (c *chain) shared(i int) bool {
	step := c.search[i].name
	if i > 0 && strings.HasSuffix(step, c.suffixes[0]) {
		return true
	}
	for k, suffix := range c.suffixes {
		short, ok := strings.CutSuffix(step, suffix)
		if k > 0 && ok && short != "" && len(short) < len(c.name) && c.names[short+c.suffixes[0]].any() {
			return true
		}
	}
	return false
}

// began is how many lookups of this chain came to a search step: of those before it
// that only this chain can have asked for, the most.
func (c *chain) began(i int) int64 {
	var most int64
	for k := range i {
		if o := c.names[c.search[k].name]; o != nil && !c.shared(k) {
			most = max(most, o.most(querylog.OK, querylog.NXDomain, querylog.Failed))
		}
	}
	return most
}

// count is how many lookups there are: of what only this chain can have asked,
// the most.
func (c *chain) count() (asked [querylog.Types]int64) {
	for t := range asked {
		t := querylog.Type(t)
		var before int64
		for i := 0; i <= c.last; i++ {
			if o := c.names[c.search[i].name]; o != nil && !c.shared(i) {
				asked[t] = max(asked[t], o.leftOf(t)+before)
			}
			before += c.ends[i][t]
		}
	}
	if a, aaaa := asked[querylog.A], asked[querylog.AAAA]; max(a, aaaa)-min(a, aaaa) <= max(a, aaaa)/lossShare {
		asked[querylog.A], asked[querylog.AAAA] = max(a, aaaa), max(a, aaaa)
	}
	return asked
}

// claim takes the queries of a search step, and those lookups off going that have
// their answer there.
func (c *chain) claim(i int, going *[querylog.Types]int64) {
	o := c.names[c.search[i].name]
	for t, n := range going {
		c.expect(o, querylog.Type(t), n)
	}
	if o == nil {
		return
	}
	var ended [querylog.Types]int64
	for t := range going {
		t := querylog.Type(t)
		if c.flags[i] != answered {
			o.take(t, going[t], querylog.NXDomain, querylog.Failed, querylog.OK)
			continue
		}
		ended[t] = min(c.ends[i][t], going[t])
		if lost := going[t] - o.leftOf(t); lost > 0 && o.left[t][querylog.NXDomain]+o.left[t][querylog.Failed] == 0 {
			ended[t] = going[t] // lines of the answer that were lost
		}
		o.take(t, ended[t], querylog.OK)
		o.take(t, going[t]-ended[t], querylog.NXDomain, querylog.Failed)
		going[t] -= ended[t]
	}
	if ended == ([querylog.Types]int64{}) {
		return
	}
	at := i
	if c.absoluteFirst {
		at++
	}
	c.add(c.name, c.steps, c.flags, at, ended)
}

// claimAsItIs takes the queries for the name as it is, which is the last step.
func (c *chain) claimAsItIs(going [querylog.Types]int64) {
	for t, n := range going {
		c.expect(c.names[c.name], querylog.Type(t), n)
	}
	if o := c.names[c.name]; c.last == len(c.search)-1 && o != nil {
		var ended [querylog.Types]int64
		ok, bad := o.most(querylog.OK), o.most(querylog.NXDomain, querylog.Failed)
		for t := range going {
			t := querylog.Type(t)
			switch {
			case o.noData: // no answer, and of this chain all the same
				o.take(t, going[t], querylog.NXDomain, querylog.Failed, querylog.OK)
				continue
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
			c.add(c.name, c.steps, c.flags, len(c.steps)-1, ended)
		}
	}
	if going != ([querylog.Types]int64{}) {
		c.add(c.name, c.steps, c.flags, -1, going)
	}
}

// expect notes that n queries of a type must be there.
func (r *reconstruction) expect(o *observed, t querylog.Type, n int64) {
	r.expected += n
	if o != nil {
		n -= min(n, o.leftOf(t))
	}
	r.missing += n
}
