package advisor

import (
	"slices"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Report is everything that is known in the end. Its JSON is what advise -o json
// prints: fields are only ever added.
type Report struct {
	Source  Source  `json:"source"`
	Cluster Cluster `json:"cluster"`
	Totals  Totals  `json:"totals"`
	// Workloads that asked for anything, those that save most first.
	Workloads []Workload `json:"workloads"`
	// Risks concern the cluster; those of a workload are with it.
	Risks []Risk `json:"risks"`
	// Waste is the names whose search lists cost most, the worst first.
	Waste []NameWaste `json:"waste"`
	// Unattributed is queries that no workload can be named for.
	Unattributed []Unattributed `json:"unattributed"`
}

// Source is what the report rests on.
type Source struct {
	Logs    int     `json:"logs"`
	Bytes   int64   `json:"bytes"`
	Lines   int64   `json:"lines"`
	Queries int64   `json:"queries"`
	Retries int64   `json:"retries"`
	Skipped Skipped `json:"skipped"`
	Pods    int     `json:"pods"`
	// From and To are the first and last timestamp, left out where the log has
	// none.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// CoveredSeconds is the time that the logs cover, without their holes.
	CoveredSeconds int64 `json:"-"`
	// Results counts queries by response code, other codes together.
	Results Results `json:"results"`
	// Untimed is queries without a timestamp.
	Untimed int64 `json:"untimed"`
	// ReadTwicePercent is the share of queries that had been read before, from a sample.
	ReadTwicePercent float64 `json:"readTwicePercent"`
	// Files are the logs, one by one, those that could not be read too.
	Files []LogSource `json:"files"`
	// Gaps are what these logs seem not to have, for all workloads.
	Gaps []Gap `json:"gaps"`
	// Better says what would make the advice better.
	Better []string `json:"better"`
}

// Results counts queries by response code.
type Results struct {
	NoError  int64 `json:"noError"`
	NXDomain int64 `json:"nxDomain"`
	Other    int64 `json:"other"`
}

// Cluster is what was assumed of pods' resolv.conf.
type Cluster struct {
	Domain string `json:"domain"`
	// DomainFound tells that the log shows it, in place of the one that was assumed.
	DomainFound bool `json:"domainFound,omitzero"`
	// NodeSearches are the nodes' own search domains. Found tells that they were
	// found in the log.
	NodeSearches []string `json:"nodeSearches"`
	Found        bool     `json:"found"`
}

// Totals adds up the workloads.
type Totals struct {
	Workloads int   `json:"workloads"`
	Lookups   int64 `json:"lookups"`
	Queries   int64 `json:"queries"`
	// Predicted is the queries if all recommendations that can be applied are.
	Predicted int64 `json:"predicted"`
}

// Workload is what is known of a workload.
type Workload struct {
	WorkloadKey
	// Pods in the list, whether they asked for anything or not.
	Pods int `json:"pods"`
	// Resolvers that the containers have, as far as that is known.
	Resolvers []resolver.Resolver `json:"resolvers,omitzero"`
	// Resolver says which one it is, and where that is known from.
	Resolver WorkloadResolver `json:"resolver"`
	// Rules of the policy that decide for the pods, by their names.
	Rules []string `json:"rules,omitzero"`
	// RulesDiffer tells that more than one decides for the pods, the policy's own
	// fields among them, or that it depends on labels of the namespace, which are not
	// known. A rule for the workload would give some pods what is another's.
	RulesDiffer bool `json:"rulesDiffer,omitzero"`
	// Ndots in force, several where pods differ.
	Ndots []int `json:"ndots"`
	// Lookups by the application; A and AAAA of a name together are one. 0 where
	// they are not known, for the Reason.
	Lookups int64 `json:"lookups"`
	// Queries at this log, without retries.
	Queries int64 `json:"queries"`
	Retries int64 `json:"retries"`
	// Overflow is queries for names beyond the limits of memory.
	Overflow int64 `json:"overflow,omitzero"`
	// DistinctNames that were looked up.
	DistinctNames int `json:"distinctNames"`
	// Recommendation is left out where there is none. Reason says why, or why there
	// is nothing to apply.
	Recommendation *Recommendation `json:"recommendation,omitzero"`
	Reason         Reason          `json:"reason,omitzero"`
	ReasonText     string          `json:"reasonText,omitzero"`
	// Names are the names that cost most.
	Names []NameUse `json:"names"`
	Risks []Risk    `json:"risks"`
	// Completeness is left out where there is no recommendation.
	Completeness *Completeness `json:"completeness,omitzero"`
	// Observation is there where Settings ask for it and there is evidence.
	Observation *Observation `json:"-"`
}

// Confidence is how far a recommendation can be trusted.
type Confidence string

// Confidences.
const (
	ConfidenceLow    Confidence = "low"
	ConfidenceMedium Confidence = "medium"
	ConfidenceHigh   Confidence = "high"
)

// below tells whether a confidence is less than another. Low is below all.
func (c Confidence) below(other Confidence) bool {
	return c == ConfidenceLow || c == ConfidenceMedium && other == ConfidenceHigh
}

// Recommendation is the options for a workload.
type Recommendation struct {
	Ndots int `json:"ndots"`
	// Queries under it, for the same lookups.
	Queries      int64      `json:"queries"`
	Saved        int64      `json:"saved"`
	SavedPercent float64    `json:"savedPercent"`
	Confidence   Confidence `json:"confidence"`
	// Because says why this value and this confidence.
	Because []string `json:"because"`
	// Apply tells whether a rule would change anything for the better, and can be
	// trusted: it saves queries, or lets names be found that the ndots in force hides,
	// or it ends the copies for a fallback, if that is wanted; and the confidence is
	// not low.
	Apply bool `json:"apply"`
	// Fallback is left out unless the pods have one that is asked all the time.
	Fallback *Fallback `json:"fallback,omitzero"`
}

// Fallback is what the nameservers behind those of the node are asked by pods on
// musl, which asks all at once.
type Fallback struct {
	Servers []string `json:"servers"`
	// Queries are the copies that they get of what this log has, and Then those
	// under the recommended ndots. None are left if nodeLocal.fallbackServers is
	// empty, and neither is the fallback: without the node's cache, nothing resolves.
	Queries int64 `json:"queries"`
	Then    int64 `json:"then"`
	// Drop tells whether that is recommended, as Settings say.
	Drop bool `json:"drop"`
}

// NameUse is a name that a workload looks up.
type NameUse struct {
	// Name as it was looked up. A dot at the end was there.
	Name    string `json:"name"`
	Lookups int64  `json:"lookups"`
	Queries int64  `json:"queries"`
	// Then is the queries under the recommendation.
	Then int64 `json:"then"`
	// Answer is the name that had the answer, empty if none had.
	Answer string `json:"answer,omitzero"`
}

// NameWaste is a name whose search list costs more than its answer.
type NameWaste struct {
	Name      string `json:"name"`
	Lookups   int64  `json:"lookups"`
	Queries   int64  `json:"queries"`
	Wasted    int64  `json:"wasted"`
	Workloads int    `json:"workloads"`
}

// Unattributed is queries of clients that are no workload.
type Unattributed struct {
	Reason  Reason `json:"reason"`
	Text    string `json:"text"`
	Queries int64  `json:"queries"`
	// Clients are those with most queries.
	Clients []ClientUse `json:"clients"`
}

// ClientUse is a client's queries.
type ClientUse struct {
	Address string `json:"address"`
	Queries int64  `json:"queries"`
}

// Settings are what a report depends on besides the logs.
type Settings struct {
	// ExcludedNamespaces, names and prefixes as in a policy, get no rule.
	ExcludedNamespaces []string
	// Ndots is the policy's own, from which on queries may tell the resolver; 0 for the
	// default.
	Ndots int
	// Names is how many names are listed per workload; below 0 all.
	Names int
	// LocalServers are the addresses of the caches on the nodes, for Fallback.
	LocalServers []string
	// DropFallback recommends that pods on musl go without one.
	DropFallback bool
	// MinConfidence is the least with which a recommendation is to be applied. Low
	// ones never are, and that is the default.
	MinConfidence Confidence
	// DomainAssumed tells that nobody has said the cluster's domain: one that the log
	// shows is taken in place of it.
	DomainAssumed bool
	// Observe asks for what a document of advice is made of.
	Observe bool
}

// Report judges what was read.
func (c *Collector) Report(settings Settings) *Report {
	r := &Report{
		Source: Source{
			Bytes: c.tally.bytes, Lines: c.tally.lines, Queries: c.tally.queries,
			Skipped: c.tally.skipped, Pods: c.clients.Len(), Untimed: c.tally.untimed, Files: []LogSource{}, Gaps: []Gap{},
			Results: c.tally.kinds.results(),
		},
		Cluster:   Cluster{Domain: c.node.ClusterDomain, NodeSearches: []string{}},
		Workloads: []Workload{}, Risks: []Risk{}, Waste: []NameWaste{}, Unattributed: []Unattributed{},
	}
	for i := range c.logs {
		r.Source.Files = append(r.Source.Files, c.logs[i].LogSource)
		if !c.logs[i].Missing {
			r.Source.Logs++
		}
	}
	r.Source.ReadTwicePercent = rounded(c.tally.sample.twice())
	if c.tally.first != 0 {
		r.Source.From, r.Source.To = time.Unix(c.tally.first, 0).UTC(), time.Unix(c.tally.last, 0).UTC()
	}
	groups := c.groups()
	node := c.node
	other := otherDomain(groups, node.ClusterDomain)
	if other != "" && settings.DomainAssumed {
		node.ClusterDomain, other = other, ""
		r.Cluster.Domain, r.Cluster.DomainFound = node.ClusterDomain, true
	}
	var domains searchDomains
	if node.Host.Searches == nil {
		domains = nodeSearches(groups, node, c.clients.names.namespaces)
		node.Host.Searches = domains.list
		r.Cluster.Found = len(domains.list) > 0
	}
	r.Cluster.NodeSearches = append(r.Cluster.NodeSearches, node.Host.Searches...)

	w := world{wildcards: make(map[string]bool), answers: c.answers()}
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		findWildcards(conf, domains.names(&groups[i]), w.wildcards)
	}
	a := &assembly{Report: r, settings: settings, excluded: policy.NewExcluded(settings.ExcludedNamespaces), clients: c.clients, node: node, world: w, domains: domains, logs: c.coverage(), likeTheInternet: c.likeTheInternet(node.ClusterDomain), waste: make(map[string]*NameWaste), verdicts: make(map[string]map[string]verdict), searched: make(map[string]bool)}
	// Hubble has names of DNS only where Cilium's proxy reads them, and it writes queries anew.
	c.clients.hinted.rewritten = c.clients.hinted.rewritten || c.tally.forms[querylog.Hubble] > 0
	a.hints = c.resolverHints()
	a.fromNodes = c.tally.unattributed[ReasonHostNetwork]
	for i := range groups {
		if groups[i].group.why == ReasonHostNetwork {
			a.fromNodes += groups[i].tally.queries
		}
	}
	a.notFirstHop = 2*a.fromNodes > c.tally.queries
	r.Source.CoveredSeconds = a.logs.seconds()
	r.Source.Gaps = append(r.Source.Gaps, c.gaps(node.ClusterDomain, r.Cluster.DomainFound)...)
	if c.noServices(node.ClusterDomain) {
		gap := Gap{
			Code: GapNoServices, Confidence: ConfidenceMedium,
			Text: "no name of a Service has an answer: names may have been filtered out, or pods ask elsewhere",
		}
		if a.silentWorkload(c) {
			gap.namespaces = c.clients.Namespaces()
			gap.Text += ", and all pods of some workload are silent"
		}
		r.Source.Gaps = append(r.Source.Gaps, gap)
	}
	r.Source.Gaps = append(r.Source.Gaps, a.absentGaps(c, groups)...)
	if other != "" {
		r.Source.Gaps = append(r.Source.Gaps, Gap{
			Code: GapClusterDomain, Confidence: ConfidenceLow,
			Text: "the log shows the cluster domain " + other + ", not " + node.ClusterDomain,
		})
	}
	if second := secondDomain(groups, node); second != "" && other == "" {
		r.Source.Gaps = append(r.Source.Gaps, Gap{
			Code: GapClusterDomain, Confidence: ConfidenceLow,
			Text: "search lists of the cluster domain " + second + " are in the log, beside those of " + node.ClusterDomain + ": it is mixed with another cluster's",
		})
	}
	for len(groups) > 0 {
		n := 1
		for n < len(groups) && groups[n].group.workload == groups[0].group.workload {
			n++
		}
		a.workload(groups[:n])
		groups = groups[n:]
	}
	a.finish(&c.tally)
	r.Source.Better = better(r)
	return r
}

// Actionable tells whether there is a recommendation that should be applied.
func (r *Report) Actionable() bool {
	return slices.ContainsFunc(r.Workloads, func(w Workload) bool { return w.Recommendation != nil && w.Recommendation.Apply })
}
