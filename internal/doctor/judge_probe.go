package doctor

import (
	"fmt"
	"slices"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodeprobe"
	"github.com/shorthop/shorthop/pkg/printable"
)

// cacheServers are the addresses of caches that the policy points pods at.
func (f *Facts) cacheServers(known *knownPolicy) (servers []string) {
	for _, use := range nodeLocalUses(&known.document.Spec) {
		servers = append(servers, use.local.Servers...)
	}
	return servers
}

// clusterServers are the addresses of the cluster DNS: the policy's, else those of
// its Services.
func (f *Facts) clusterServers(known *knownPolicy) []string {
	if servers := known.document.Spec.Cluster.DNSServers; len(servers) > 0 {
		return servers
	}
	cluster, _ := discovery.DNSServices(f.dnsServices.value, f.caches())
	if len(cluster) == 0 {
		return nil
	}
	return cluster[0].ClusterIPs
}

// judgeNodeProbe groups what nodes said by what does not answer and why:
//
//	what does not answer           finding
//	a cache                        fails, but a warning where only annotations point pods at it
//	the cluster DNS, an API host   fails
//	the pod does not run           unknown of that node
func judgeNodeProbe(f *Facts, known *knownPolicy) *judgement {
	switch {
	case f.probed.err != nil:
		return unknown(f.probed.err)
	case f.probed.value == nil:
		return passed("no node was asked; --probe asks from a short pod on each")
	case known == nil:
		return unknown(f.noPolicy())
	}
	p := f.probed.value
	j := passed("the cache, the cluster DNS and the API host answer on %s", counted(len(p.nodes), "node"))
	if len(f.cacheServers(known)) == 0 {
		j.found = fmt.Sprintf("the cluster DNS and the API host answer on %s", counted(len(p.nodes), "node"))
	}
	if p.left > 0 {
		j.found += fmt.Sprintf("; %d more were not asked", p.left)
	}
	addCache, _ := judgeUses(j, nodeLocalUses(&known.document.Spec))
	type group struct{ kind, target, why string }
	nodes := map[group][]string{}
	var groups []group
	add := func(g group, node string) {
		if len(nodes[g]) == 0 {
			groups = append(groups, g)
		}
		nodes[g] = append(nodes[g], node)
	}
	for _, n := range p.nodes {
		if n.err != nil {
			add(group{why: n.err.Error()}, n.node)
			continue
		}
		for _, a := range n.answers {
			if a.Error != "" {
				add(group{a.Kind, a.Target, a.Error}, n.node)
			}
		}
	}
	for _, g := range groups {
		slices.Sort(nodes[g])
		where := fmt.Sprintf("%s of %d (%s)", counted(len(nodes[g]), "node"), len(p.nodes), some(names(nodes[g])))
		switch {
		case g.kind == "":
			j.lacks(fmt.Errorf("%s: %s", where, g.why))
		case g.kind == nodeprobe.KindAPI:
			j.fail("look at firewalls, routes and name resolution between these nodes and the API host; while it is so, leave out serviceHost for their pods by a rule",
				"%s: the API host %s is not reached: %s", where, printable.Name(g.target), g.why)
		case containsAddress(f.cacheServers(known), g.target):
			addCache("look at the pods of the cache on these nodes, and whether their interface has the address",
				"%s: the cache at %s does not answer: %s", where, g.target, g.why)
		default:
			j.fail("look at kube-proxy and the network of these nodes, and at the pods of the cluster DNS",
				"%s: the cluster DNS at %s does not answer: %s", where, printable.Name(g.target), g.why)
		}
	}
	return j
}

func names(list []string) []string {
	all := make([]string, 0, len(list))
	for _, name := range list {
		all = append(all, printable.Name(name))
	}
	return all
}
