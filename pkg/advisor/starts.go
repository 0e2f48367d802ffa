package advisor

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
)

// A rule is for all pods of a workload, and pods with other images look up other names
// when they start. So a start that was seen speaks for the pods with the same images,
// whatever their tags, and the same resolvers. Pods that asked for nothing are among
// those that need one: what they ask may have been left out of the log.

// program is pods of a workload that do the same at a start.
type program struct {
	images string
	group  *group // one of theirs
	// seen tells that a start was.
	seen bool
}

// programs are by workload those of its pods that were there while the logs were
// written, and that a rule would change.
func (c *Collector) programs(v *coverage) map[WorkloadKey][]program {
	seen := make(map[*tenure]bool)
	for _, tenures := range v.tenures {
		for _, t := range tenures {
			seen[t.tenure] = v.started(t)
		}
	}
	all := make(map[WorkloadKey][]program)
	for i := range c.clients.tenures {
		t := &c.clients.tenures[i]
		g := &c.clients.groups[t.group]
		if _, asked := seen[t]; g.why != "" || !asked && t.to != 0 && t.to < c.tally.first {
			continue
		}
		images := c.clients.repositories(t.reference)
		list := all[g.workload]
		at := slices.IndexFunc(list, func(p program) bool {
			return p.images == images && slices.Equal(p.group.resolvers, g.resolvers)
		})
		if at < 0 {
			at, list = len(list), append(list, program{images: images, group: g})
		}
		list[at].seen = list[at].seen || seen[t]
		all[g.workload] = list
	}
	return all
}

// unseen are the programs of a workload of which no start was seen.
func (v *coverage) unseen(w WorkloadKey) []program {
	return slices.DeleteFunc(slices.Clone(v.programs[w]), func(p program) bool { return p.seen })
}

// roomFloor keeps room for service.namespace.
const roomFloor = 2

// room is a namespace with Services that is called like a domain of the Internet, where
// pods of a workload may look up service.namespace at a start that no log has: with less
// than 2 the Internet would be asked first. "" if there is none. Those that may have musl
// are bound by their confidence.
func (a *assembly) room(w WorkloadKey) string {
	if len(a.likeTheInternet) == 0 || !slices.ContainsFunc(a.logs.unseen(w), func(p program) bool { return !stopsAtNdots(p.group) }) {
		return ""
	}
	return a.likeTheInternet[0]
}

// likeTheInternet are the namespaces that are called like a domain of the Internet and
// have Services, by their objects or by answers that pods of other namespaces had: their
// own ask for a Service by its short name.
func (c *Collector) likeTheInternet(domain string) []string {
	var found []string
	for namespace := range c.clients.names.services {
		if publicSuffix(namespace) {
			found = append(found, namespace)
		}
	}
	suffix := ".svc." + domain
	for _, s := range c.shards {
		for n := range s.n {
			counter := &s.counters[n/slabSize][n%slabSize]
			base, ok := strings.CutSuffix(string(s.text(&s.names[counter.name])), suffix)
			namespace := base[strings.LastIndexByte(base, '.')+1:]
			if !ok || namespace == base || !counter.answers() || namespace == c.clients.groups[counter.group].workload.Namespace {
				continue
			}
			if c.clients.names.namespaces[namespace] && !slices.Contains(found, namespace) && publicSuffix(namespace) {
				found = append(found, namespace)
			}
		}
	}
	slices.Sort(found)
	return found
}

// answers tells whether a name had an answer.
func (c *counter) answers() bool {
	for t := range querylog.Types {
		if c.counts[t*querylog.Results+int(querylog.OK)] > 0 {
			return true
		}
	}
	return false
}

// repositories are the images of a reference without tags and digests.
func (c *Clients) repositories(reference int32) string {
	var b strings.Builder
	for _, r := range c.references[reference] {
		b.WriteString(policy.Repository(r.Image))
		b.WriteByte(' ')
	}
	return b.String()
}

// before finds the pod that a query of nobody came too early for: from its address, up to
// ten minutes before it was made, and no pod that is known had the address before. Either
// one that is not known had it, or the times in the log are those of another clock, which
// may be hours behind because of its zone, and what the pod asked at its start is among
// these queries. -1 if there is none.
func (c *Clients) before(r *querylog.Record) int32 {
	next := int32(-1)
	if r.Unix == 0 || len(r.Pod) > 0 {
		return next
	}
	for _, owner := range c.byAddress[string(r.Client)] {
		switch ahead := c.tenures[owner].from - r.Unix; {
		case ahead <= 0:
			return -1
		case ahead <= startTail:
			next = owner
		}
	}
	return next
}
