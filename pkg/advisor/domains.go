package advisor

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// clusterDomains counts the queries by the cluster domain that they show: what stands
// behind a pod's own namespace and "svc". The most frequent is first.
func clusterDomains(groups []collected) (domains []string, queries map[string]int64) {
	queries = make(map[string]int64)
	for i := range groups {
		if groups[i].group.dns.Policy == "None" {
			continue
		}
		own := "." + groups[i].group.workload.Namespace + ".svc."
		for name, o := range groups[i].names() {
			// The last one: a full name that is searched has it twice.
			if at := strings.LastIndex(name, own); at >= 0 {
				queries[name[at+len(own):]] += o.most(querylog.OK, querylog.NXDomain, querylog.Failed)
			}
		}
	}
	for domain := range queries {
		domains = append(domains, domain)
	}
	slices.SortFunc(domains, func(a, b string) int {
		return cmp.Or(cmp.Compare(queries[b], queries[a]), strings.Compare(a, b))
	})
	return domains, queries
}

// otherDomain is a cluster domain that the log shows in place of the assumed one, ""
// if it shows that one.
func otherDomain(groups []collected, assumed string) string {
	domains, queries := clusterDomains(groups)
	if len(domains) == 0 || queries[assumed]*10 >= queries[domains[0]] {
		return ""
	}
	return domains[0]
}

// secondDomain is a cluster domain besides the own one that a real share of the search
// lists goes through, "" if there is none: the log of another cluster is among these.
// A domain is one of a cluster if the same name was asked for with a namespace, with svc
// and with nothing in front of it.
func secondDomain(groups []collected, node resolver.Node) string {
	queries := make(map[string]int64)
	all := int64(0)
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		names := groups[i].names()
		for name, o := range names {
			front, domain, found := strings.Cut(name, ".svc.")
			dot := strings.LastIndexByte(front, '.')
			if !found || dot < 0 || names[front[:dot]+".svc."+domain] == nil || names[front[:dot]+"."+domain] == nil {
				continue
			}
			n := o.most(querylog.OK, querylog.NXDomain, querylog.Failed)
			all += n
			if !slices.Contains(conf.Searches, domain) {
				queries[domain] += n
			}
		}
	}
	most := ""
	for _, domain := range slices.Sorted(maps.Keys(queries)) {
		if n := queries[domain]; n >= fewSearches && n*mediumShare >= all && n > queries[most] {
			most = domain
		}
	}
	return most
}

// fewSearches through another cluster's search list may be of somebody who tries it.
const fewSearches = 10

// searchDomains are the nodes' own search domains.
type searchDomains struct {
	list []string
	// sameAs are domains, each with a dot in front, that other nodes have in the place
	// of one in the list, and that one: on GKE, a node's zone is part of one.
	sameAs map[string]string
}

// canonical is a name with the search domain of the list in place of another node's,
// the longest that it ends in.
func (d *searchDomains) canonical(name string) string {
	for dot := range len(name) {
		if listed, ok := d.sameAs[name[dot:]]; ok && name[dot] == '.' {
			return name[:dot] + listed
		}
	}
	return name
}

// names are the queries of a group, as if all its nodes had the same search domains.
func (d *searchDomains) names(g *collected) map[string]*observed {
	names := g.names()
	if len(d.sameAs) == 0 {
		return names
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		listed := d.canonical(name)
		if listed == name {
			continue
		}
		o := names[name]
		delete(names, name)
		into := names[listed]
		if into == nil {
			names[listed] = o
			continue
		}
		for t := range o.all {
			for r, n := range o.all[t] {
				into.all[t][r] += n
				into.left[t][r] += n
			}
		}
	}
	return names
}

// trace is what speaks for a search domain.
type trace struct {
	names, queries int64
	// together counts names for which it and a sibling were asked as often as the
	// domain before, all in all: they are of different nodes. apart counts those for
	// which each was.
	together, apart int64
}

// nodeSearches finds the nodes' own search domains: what follows a name for which
// all of the cluster's search domains were asked in vain, about as often as the
// last of these, with a third of such names; with half of them if it is only one.
// Siblings, which differ in their first label, may be those of different nodes. One
// that is a single label ("lan") must follow two names in three, and two at least, since
// an application may ask for a name with and without something behind it. What is the name
// of a namespace or of a domain of the Internet that anybody may be in, or "svc", is none.
func nodeSearches(groups []collected, node resolver.Node, namespaces map[string]bool) searchDomains {
	traces := make(map[string]*trace)
	siblings := make(map[string][]string)
	chains := int64(0)
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		suffixes := dotted(conf.Searches)
		if groups[i].group.why != "" || len(suffixes) == 0 || groups[i].group.dns.Policy == "None" {
			continue
		}
		chains += followed(groups[i].names(), suffixes, func(suffix string, queries, before int64, all map[string]int64) {
			if label := suffix[1:]; parent(suffix) == "" && (namespaces[label] || label == "svc" || publicSuffix(label)) {
				return
			}
			t := traces[suffix]
			if t == nil {
				t = &trace{}
				traces[suffix] = t
				if above := parent(suffix); above != "" {
					siblings[above] = append(siblings[above], suffix)
				}
			}
			t.names++
			t.queries += queries
			var sum int64
			n := 0
			for other, queries := range all {
				if parent(other) == parent(suffix) && parent(suffix) != "" {
					sum += queries
					n++
				}
			}
			switch {
			case n < 2:
			case 2*sum <= 3*before:
				t.together++
			default:
				t.apart++
			}
		})
	}
	d := searchDomains{sameAs: make(map[string]string)}
	// Sorted, so that equal logs give equal reports, whatever the maps' order.
	for _, above := range slices.Sorted(maps.Keys(siblings)) {
		list := siblings[above]
		slices.Sort(list)
		if !different(list, traces, traces[above] != nil) {
			continue
		}
		first := traces[list[0]]
		for _, other := range list[1:] {
			d.sameAs[other] = list[0]
			first.queries += traces[other].queries
			first.names += traces[other].names
			delete(traces, other)
		}
	}
	for _, suffix := range slices.Sorted(maps.Keys(traces)) {
		t := traces[suffix]
		enough := t.names >= 2 && 3*t.names >= chains || 2*t.names >= chains
		if parent(suffix) == "" && suffix != ".internal" {
			enough = t.names >= 2 && 3*t.names >= 2*chains
		}
		if enough {
			d.list = append(d.list, suffix)
		}
	}
	before := d.order(groups, node)
	// Where no name tells: a domain is asked no more often than the one before it.
	slices.SortFunc(d.list, func(a, b string) int {
		return cmp.Or(cmp.Compare(before[pair{b, a}], before[pair{a, b}]), cmp.Compare(traces[b].queries, traces[a].queries), cmp.Compare(strings.Count(b, "."), strings.Count(a, ".")), strings.Compare(a, b))
	})
	for i := range d.list {
		d.list[i] = d.list[i][1:]
	}
	return d
}

// pair is two search domains.
type pair struct{ first, second string }

// order counts what tells that one domain of the list is searched before another: a
// search ends where there is an answer. The domains that were asked in vain for such a
// name are before that one, those that were not asked for it behind. Counts of queries
// alone do not tell where all answers are in the last domain, and a single retry turns
// them round.
func (d *searchDomains) order(groups []collected, node resolver.Node) map[pair]int64 {
	before := make(map[pair]int64)
	if len(d.list) < 2 {
		return before
	}
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		suffixes := dotted(conf.Searches)
		if groups[i].group.why != "" || len(suffixes) == 0 || groups[i].group.dns.Policy == "None" {
			continue
		}
		names := d.names(&groups[i])
		asked := func(name string, results ...querylog.Result) int64 {
			if o := names[name]; o != nil {
				return o.most(results...)
			}
			return 0
		}
		for query, o := range names {
			for _, end := range d.list {
				name, ok := strings.CutSuffix(query, end)
				answers := o.most(querylog.OK)
				if !ok || answers == 0 || 2*asked(name+suffixes[len(suffixes)-1], querylog.NXDomain) < answers ||
					2*asked(name, querylog.OK, querylog.NXDomain, querylog.Failed) >= answers {
					continue
				}
				for _, other := range d.list {
					switch inVain := asked(name+other, querylog.NXDomain); {
					case other == end:
					case 2*inVain >= answers:
						before[pair{other, end}] += answers
					case asked(name+other, querylog.OK, querylog.Failed) == 0:
						before[pair{end, other}] += answers
					}
				}
			}
		}
	}
	return before
}

// different tells whether siblings are search domains of different nodes: where they
// were asked for the same names, each took a part; where no name shows it, the domain
// above them is searched as well.
func different(siblings []string, traces map[string]*trace, above bool) bool {
	var together, apart int64
	for _, suffix := range siblings {
		together += traces[suffix].together
		apart += traces[suffix].apart
	}
	return len(siblings) > 1 && (together > 0 && apart == 0 || together+apart == 0 && above)
}

func parent(suffix string) string {
	if dot := strings.IndexByte(suffix[1:], '.'); dot >= 0 {
		return suffix[1+dot:]
	}
	return ""
}

// followed tells each of what follows the names of a group for which all search
// domains were asked in vain: how often, how often the last of the domains was, and
// all that follow the same name. It returns how many such names there are.
func followed(names map[string]*observed, suffixes []string, each func(suffix string, queries, before int64, all map[string]int64)) (chains int64) {
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, query := range sorted {
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
		before := names[name+suffixes[len(suffixes)-1]].most(querylog.OK, querylog.NXDomain, querylog.Failed)
		all := make(map[string]int64)
		at, _ := slices.BinarySearch(sorted, name+".")
		for ; at < len(sorted) && strings.HasPrefix(sorted[at], name+"."); at++ {
			suffix := sorted[at][len(name):]
			inCluster := slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(sorted[at], s) })
			if !inCluster && !longer(names, name, suffix, suffixes[0]) {
				all[suffix] = names[sorted[at]].most(querylog.OK, querylog.NXDomain, querylog.Failed)
			}
		}
		parts := make(map[string]int64, len(all)) // of siblings together
		for suffix, queries := range all {
			parts[parent(suffix)] += queries
		}
		for suffix, queries := range all {
			sum := queries
			if above := parent(suffix); above != "" {
				sum = parts[above]
			}
			if 2*sum < before || queries > 2*before {
				continue
			}
			each(suffix, queries, before, all)
		}
	}
	return chains
}

// longer tells whether what follows a name begins with labels of a longer name that was
// looked up itself: api.dev.svc beside api.dev.
func longer(names map[string]*observed, name, follows, first string) bool {
	for dot := 1; dot < len(follows); dot++ {
		if follows[dot] == '.' && names[name+follows[:dot]+first] != nil {
			return true
		}
	}
	return false
}
