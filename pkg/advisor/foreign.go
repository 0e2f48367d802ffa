package advisor

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// claimForeign takes from a group's queries those of pods of other namespaces, which
// had one of its addresses, and says how many these are.
//
// A lookup asks with the pod's own namespace first. So a name that was asked for with
// another's, and then with the cluster's other domains, and never with the own one's,
// is of a pod of that other one:
//
//	api.example.com.batch.svc.cluster.local     of a pod in batch
//	api.example.com.svc.cluster.local
func claimForeign(conf resolver.ResolvConf, names map[string]*observed) (queries int64) {
	if len(conf.Searches) < 2 {
		return 0
	}
	own, services, isCluster := strings.Cut(strings.ToLower(conf.Searches[0]), ".")
	if !isCluster || !strings.EqualFold(services, conf.Searches[1]) {
		return 0
	}
	count := func(name string) int64 {
		if o := names[name]; o != nil {
			return o.most(querylog.OK, querylog.NXDomain, querylog.Failed)
		}
		return 0
	}
	first := "." + conf.Searches[0]
	var found []string
	for query, o := range names {
		base, ok := strings.CutSuffix(query, "."+services)
		dot := strings.LastIndexByte(base, '.')
		if !ok || dot < 0 || o.most(querylog.NXDomain) == 0 {
			continue
		}
		name, namespace := base[:dot], base[dot+1:]
		if namespace == own || names[base+first] != nil { // or it is the second step of a longer name
			continue
		}
		if next := count(name + "." + services); next > 0 && 2*(next-count(name+first)) >= count(query) {
			found = append(found, query)
		}
	}
	slices.Sort(found)
	before := left(names)
	for _, query := range found {
		base := strings.TrimSuffix(query, "."+services)
		name := base[:strings.LastIndexByte(base, '.')]
		steps := []string{query}
		for _, domain := range conf.Searches[1:] {
			steps = append(steps, name+"."+domain)
		}
		takeChain(names, append(steps, name))
	}
	return before - left(names)
}

// takeChain takes the queries of the lookups that asked for the first of some names
// from all of these.
func takeChain(names map[string]*observed, steps []string) {
	going := [querylog.Types]int64{}
	for t := range going {
		going[t] = names[steps[0]].leftOf(querylog.Type(t))
	}
	for _, step := range steps {
		o := names[step]
		if o == nil {
			continue
		}
		for t := range going {
			without := o.left[t][querylog.NXDomain] + o.left[t][querylog.Failed]
			o.take(querylog.Type(t), going[t], querylog.NXDomain, querylog.Failed, querylog.OK)
			going[t] = min(going[t], without)
		}
	}
}

// left is how many queries no lookup has claimed.
func left(names map[string]*observed) (n int64) {
	for _, o := range names {
		for t := range o.left {
			n += o.leftOf(querylog.Type(t))
		}
	}
	return n
}
