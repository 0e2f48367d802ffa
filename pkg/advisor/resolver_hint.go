package advisor

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// Which resolver a workload has is said by the policy (spec.resolvers, for all of its
// images), else, as a hint, by its queries. What follows from which:
//
//	policy          queries          ndots are judged by
//	names them      musl, or a run   those and musl: it makes stricter
//	names them      anything else    those
//	does not        glibc            all models; from the policy's own ndots on, glibc alone
//	does not        anything else    all models

// ResolverSource says where it is known from which resolver a workload has.
type ResolverSource string

// Sources. There will be one for what is in the image.
const (
	ResolverFromPolicy  ResolverSource = "policy"
	ResolverFromQueries ResolverSource = "queries"
)

// WorkloadResolver is which resolver a workload has.
type WorkloadResolver struct {
	// Name is empty where it is not known, and several with a comma where the policy
	// names different ones for the images of the pods.
	Name string         `json:"name"`
	From ResolverSource `json:"from"`
	// Pairs of A and AAAA of a name in the log.
	Pairs int64 `json:"pairs"`
	// Reason says why the queries name none.
	Reason     resolverhint.Reason `json:"reason,omitzero"`
	ReasonText string              `json:"reasonText,omitzero"`
	// Images of the workload's pods, as far as queries are what names it.
	Images []string `json:"images,omitzero"`
}

// hints are what tells the resolvers of pods apart, by their tenures.
type hints struct {
	clients []*resolverhint.Client
	n       int
}

// maxHinted is for how many pods a shard keeps that: 20 MB if all are there.
const maxHinted = 1 << 15

// hint counts a query for which resolver wrote it.
func (s *shard) hint(q *query) {
	h := &s.hints
	kind := querylog.Type(q.kind / querylog.Results)
	if kind == querylog.OtherType {
		return
	}
	c := h.clients[q.tenure]
	if c == nil {
		if h.n == maxHinted {
			return
		}
		c = new(resolverhint.Client)
		h.clients[q.tenure] = c
		h.n++
	}
	c.Add(resolverhint.Query{
		Name: q.hash, Unix: int64(q.unix), Port: uint16(q.source >> 16), ID: uint16(q.source),
		AAAA: kind == querylog.AAAA, Transport: q.transport,
	})
}

// resolverHints adds up what there is of each group.
func (c *Collector) resolverHints() map[*group]*resolverhint.Evidence {
	found := make(map[*group]*resolverhint.Evidence)
	for _, s := range c.shards {
		for tenure, client := range s.hints.clients {
			if client == nil {
				continue
			}
			g := &c.clients.groups[c.clients.tenures[tenure].group]
			if found[g] == nil {
				found[g] = new(resolverhint.Evidence)
			}
			e := client.Evidence()
			found[g].Add(&e)
		}
	}
	return found
}

// hinted are the images of workloads, and whether anything in the cluster may write
// queries anew.
type hinted struct {
	images    map[WorkloadKey][]string
	rewritten bool
	// agent tells that Cilium is there, policies that network policies of it are known,
	// and dnsRules that one has rules for DNS.
	agent, policies, dnsRules bool
}

// maxImages is how many images are kept of a workload.
const maxImages = 20

func (h *hinted) add(p *Pod, workload WorkloadKey) {
	if h.images == nil {
		h.images = make(map[WorkloadKey][]string)
	}
	h.rewritten = h.rewritten || p.rewritesQueries()
	h.agent = h.agent || p.isCilium()
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		image := printable.Cut(c.Image, printable.MaxLine)
		if images := h.images[workload]; image != "" && len(images) < maxImages && !slices.Contains(images, image) {
			h.images[workload] = append(images, image)
		}
	}
}

// addPolicy notes a network policy of Cilium, and whether it has rules for DNS.
func (h *hinted) addPolicy(p *Pod) {
	if p.Kind != "CiliumNetworkPolicy" && p.Kind != "CiliumClusterwideNetworkPolicy" {
		return
	}
	h.policies = true
	for _, raw := range []jsontext.Value{p.Spec.Egress, p.Specs} {
		h.dnsRules = h.dnsRules || bytes.Contains(raw, []byte(`"dns"`))
	}
}

// mayBeRewritten tells whether anything in the cluster may write queries anew. Where no
// policy of Cilium is known, any may have rules for DNS.
func (h *hinted) mayBeRewritten() bool {
	return h.rewritten || h.dnsRules || h.agent && !h.policies
}

// hintOf is what the queries of a group say.
func (a *assembly) hintOf(g *group) resolverhint.Verdict {
	e := a.hints[g]
	if e == nil {
		e = new(resolverhint.Evidence)
	}
	return e.Judge(a.clients.hinted.mayBeRewritten())
}

// resolverOf is what is known of a workload's resolver. Groups of its pods that differ
// are mixed, as pods are.
func (a *assembly) resolverOf(w *Workload, groups []collected) WorkloadResolver {
	var all resolverhint.Evidence
	known := true
	var names []resolverhint.Name
	for i := range groups {
		g := groups[i].group
		known = known && len(g.resolvers) > 0
		if e := a.hints[g]; e != nil {
			all.Add(e)
		}
		if v := a.hintOf(g); v.Name != resolverhint.Unknown && !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
	}
	verdict := all.Judge(a.clients.hinted.mayBeRewritten())
	if known {
		var words []string
		for _, r := range w.Resolvers {
			words = append(words, string(r))
		}
		return WorkloadResolver{Name: strings.Join(words, ","), From: ResolverFromPolicy, Pairs: verdict.Pairs}
	}
	if len(names) > 1 {
		verdict.Name, verdict.Reason = resolverhint.Unknown, resolverhint.Mixed
	}
	return WorkloadResolver{
		Name: string(verdict.Name), From: ResolverFromQueries, Pairs: verdict.Pairs,
		Reason: verdict.Reason, ReasonText: verdict.Reason.Sentence(),
		Images: a.clients.hinted.images[w.WorkloadKey],
	}
}

// hintedJudge is a judge that goes by the queries too, and says so if they contradict
// what is known.
func (a *assembly) hintedJudge(conf resolver.ResolvConf, g *group) (j *judge, contradiction string) {
	v := a.hintOf(g)
	j = a.judge(conf, g.resolvers, false)
	switch {
	case j.known && (v.Name == resolverhint.Musl || v.Reason == resolverhint.MuslRun) && !slices.ContainsFunc(g.resolvers, isMusl):
		return a.judge(conf, append(slices.Clip(g.resolvers), resolver.Musl, resolver.MuslBefore124), false), "the policy knows no musl in the images, and queries look like musl's (or those of glibc 2.26 to 2.29): safe for it too"
	case !j.known && v.Name == resolverhint.Glibc:
		j.hinted = a.judge(conf, []resolver.Resolver{resolver.Glibc}, false)
		j.hintedFrom = a.settings.ownNdots()
	}
	return j, ""
}

// ownNdots is from which ndots on a hint is enough: the policy's own.
func (s *Settings) ownNdots() int {
	if s.Ndots > 0 {
		return s.Ndots
	}
	return policy.DefaultNdots
}

// hint lets the values that need no licence go by the hint.
func (j *judge) hint(v verdict, l *lookup) verdict {
	if j.hinted == nil {
		return v
	}
	hinted := j.hinted.lookup(l)
	for n := j.hintedFrom - 1; n < maxNdots; n++ {
		if hinted.safe[n] && !v.safe[n] {
			v.safe[n], v.steps[n] = true, hinted.steps[n]
		}
	}
	return v
}

func isMusl(r resolver.Resolver) bool {
	return r == resolver.Musl || r == resolver.MuslBefore124
}
