package advisor

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// Lines that somebody took out of a log by a namespace in them take along what other
// pods look up there. Nothing of a namespace is there if no query ends in
// .NAMESPACE.svc.DOMAIN: that is what pods of the namespace ask first, and where its
// Services have their answers. Whether something should be there, pods tell:
//
//	pods of the namespace                              means
//	go through the rest of their search lists          lines are missing
//	are all silent: three or more, of two workloads    lines seem to be missing: one or two pods, or all of
//	or more, while they ran for half of the log, on    one workload, may never ask
//	nodes where pods of other namespaces ask; and of
//	all such pods elsewhere three in four ask
//	anything else                                      nothing
//
// Namespaces that the policy excludes count for nothing here: their pods often only
// ask the API server, by its address.
const (
	fewSilentPods      = 3
	fewSilentWorkloads = 2
)

// absent are namespaces of which there should be something.
type absent struct {
	searched, silent []string
}

// absentNamespaces finds them.
func (a *assembly) absentNamespaces(c *Collector, groups []collected) absent {
	seen := c.seenNamespaces(a.node.ClusterDomain)
	var found absent
	for namespace, queries := range a.searchedWithout(groups, seen) {
		if queries >= fewSearches {
			found.searched = append(found.searched, namespace)
		}
	}
	for namespace, s := range a.silence(c) {
		if !seen[namespace] && s.asking == 0 && s.silent >= fewSilentPods && len(s.workloads) >= fewSilentWorkloads {
			found.silent = append(found.silent, namespace)
		}
	}
	slices.Sort(found.searched)
	slices.Sort(found.silent)
	return found
}

// seenNamespaces are those that a query ends in.
func (c *Collector) seenNamespaces(domain string) map[string]bool {
	seen := make(map[string]bool)
	suffix := ".svc." + domain
	for _, s := range c.shards {
		for i := range s.names {
			base, ok := strings.CutSuffix(string(s.text(&s.names[i])), suffix)
			if dot := strings.LastIndexByte(base, '.'); ok && dot >= 0 && c.clients.names.namespaces[base[dot+1:]] {
				seen[base[dot+1:]] = true
			}
		}
	}
	return seen
}

// searchedWithout counts queries of pods that went through the search domains behind
// that of their namespace, by namespaces that are not seen.
func (a *assembly) searchedWithout(groups []collected, seen map[string]bool) map[string]int64 {
	queries := make(map[string]int64)
	for i := range groups {
		g := groups[i].group
		namespace := g.workload.Namespace
		conf, _ := a.node.ResolvConf(g.dns)
		domains := dotted(conf.Searches)
		if seen[namespace] || g.why != "" || len(domains) < 3 || domains[0] != "."+namespace+domains[1] {
			continue
		}
		names := groups[i].names()
		claimForeign(conf, names)
		for query, o := range names {
			name, ok := strings.CutSuffix(query, domains[1])
			if ok && o.most(querylog.NXDomain) > 0 && names[name+domains[2]].any() {
				queries[namespace] += o.most(querylog.NXDomain)
			}
		}
	}
	return queries
}

// silence is how many pods of a namespace asked, and how many did not.
type silence struct {
	asking, silent int
	workloads      map[WorkloadKey]bool
}

// asks tells whether a pod asked for anything.
func (c *Collector) asks(tenure int) bool {
	return slices.ContainsFunc(c.shards[:], func(s *shard) bool { return tenure < len(s.seen) && s.seen[tenure] != nil })
}

// silentWorkload tells whether a workload of which several pods ran for half of the log
// asked for nothing. Where no Service has an answer either, its queries may be what was
// filtered out.
func (a *assembly) silentWorkload(c *Collector) bool {
	pods, asking := make(map[WorkloadKey]int), make(map[WorkloadKey]bool)
	for i := range c.clients.tenures {
		t := &c.clients.tenures[i]
		switch g := &c.clients.groups[t.group]; {
		case c.asks(i):
			asking[g.workload] = true
		case g.why == "" && t.ranFor(c.tally.first, c.tally.last) && !a.excluded.Has(g.workload.Namespace):
			pods[g.workload]++
		}
	}
	for workload, n := range pods {
		if n > 1 && !asking[workload] {
			return true
		}
	}
	return false
}

// silence counts, by namespace, the pods that ran for long enough on nodes where pods of
// other namespaces ask. It is nil where silence is common.
func (a *assembly) silence(c *Collector) map[string]*silence {
	// asked is by node the namespaces whose pods ask there: "" stands for several.
	asked := make(map[string]string)
	for i := range c.clients.tenures {
		if t := &c.clients.tenures[i]; c.asks(i) {
			namespace := c.clients.groups[t.group].workload.Namespace
			if other, found := asked[t.node]; found && other != namespace {
				namespace = ""
			}
			asked[t.node] = namespace
		}
	}
	all := make(map[string]*silence)
	for i := range c.clients.tenures {
		t := &c.clients.tenures[i]
		g := &c.clients.groups[t.group]
		namespace := g.workload.Namespace
		if on, found := asked[t.node]; !found || on == namespace || g.why != "" || !t.ranFor(c.tally.first, c.tally.last) || a.excluded.Has(namespace) {
			continue
		}
		s := all[namespace]
		if s == nil {
			s = &silence{workloads: make(map[WorkloadKey]bool)}
			all[namespace] = s
		}
		s.workloads[g.workload] = true
		if c.asks(i) {
			s.asking++
		} else {
			s.silent++
		}
	}
	asking, silent := 0, 0
	for _, s := range all {
		if s.asking > 0 {
			asking, silent = asking+s.asking, silent+s.silent
		}
	}
	if asking < 3*silent {
		return nil
	}
	return all
}

// ranFor tells whether a pod ran for half of a log's time, and ten minutes at least. In
// a log without times, it must not have ended.
func (t *tenure) ranFor(first, last int64) bool {
	if first == 0 {
		return t.to == 0
	}
	to := last
	if t.to != 0 {
		to = min(to, t.to)
	}
	return to-max(first, t.from) >= max((last-first)/2, startTail)
}

// likeTheInternet tells whether one of some namespaces is called like a domain of the
// Internet.
func likeTheInternet(namespaces []string) bool { return slices.ContainsFunc(namespaces, publicSuffix) }

// absentGaps are the gaps of these, for a report.
func (a *assembly) absentGaps(c *Collector, groups []collected) (gaps []Gap) {
	found := a.absentNamespaces(c, groups)
	if list := found.searched; len(list) > 0 {
		gaps = append(gaps, Gap{
			Code: GapNamespaceMissing, Confidence: ConfidenceLow,
			Text: "no query ends in namespace " + listed(list) + ", though pods there go through the rest of their search lists: lines were taken out",
		})
	}
	if list := found.silent; len(list) > 0 {
		gaps = append(gaps, Gap{
			Code: GapNamespaceMissing, Confidence: ConfidenceMedium, namespaces: list,
			Text: "nothing of namespace " + listed(list) + " is there, neither of its pods, which run, nor for its Services: lines may have been taken out",
		})
	}
	return gaps
}

// listed are the first of some names.
func listed(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and " + amount(len(names)-most, "other")
	}
	return strings.Join(names, ", ")
}
