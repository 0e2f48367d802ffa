package advisor

import (
	"slices"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
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
	// Results counts queries by response code, other codes together.
	Results Results `json:"results"`
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
	// Rules of the policy that decided for pods that run, by their names.
	Rules []string `json:"rules,omitzero"`
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
}

// Confidence is how far a recommendation can be trusted.
type Confidence string

// Confidences.
const (
	ConfidenceLow    Confidence = "low"
	ConfidenceMedium Confidence = "medium"
	ConfidenceHigh   Confidence = "high"
)

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
	// Apply tells whether a rule would change anything for the better: it saves
	// queries, or lets names be found that the ndots in force hides, or it ends the
	// copies for a fallback, if that is wanted.
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
	// ExcludedNamespaces get no rule.
	ExcludedNamespaces []string
	// Names is how many names are listed per workload; below 0 all.
	Names int
	// LocalServers are the addresses of the caches on the nodes, for Fallback.
	LocalServers []string
	// DropFallback recommends that pods on musl go without one.
	DropFallback bool
}

// Report judges what was read.
func (c *Collector) Report(settings Settings) *Report {
	r := &Report{
		Source: Source{
			Logs: c.logs, Bytes: c.tally.bytes, Lines: c.tally.lines, Queries: c.tally.queries,
			Skipped: c.tally.skipped, Pods: c.clients.Len(),
			Results: Results{c.tally.results[querylog.OK], c.tally.results[querylog.NXDomain], c.tally.results[querylog.Failed]},
		},
		Cluster:   Cluster{Domain: c.node.ClusterDomain, NodeSearches: []string{}},
		Workloads: []Workload{}, Risks: []Risk{}, Waste: []NameWaste{}, Unattributed: []Unattributed{},
	}
	if c.tally.first != 0 {
		r.Source.From, r.Source.To = time.Unix(c.tally.first, 0).UTC(), time.Unix(c.tally.last, 0).UTC()
	}
	groups := c.groups()
	node := c.node
	if node.Host.Searches == nil {
		node.Host.Searches = nodeSearches(groups, node)
		r.Cluster.Found = len(node.Host.Searches) > 0
	}
	r.Cluster.NodeSearches = append(r.Cluster.NodeSearches, node.Host.Searches...)

	wildcards := make(map[string]bool)
	for i := range groups {
		conf, _ := node.ResolvConf(groups[i].group.dns)
		findWildcards(conf, groups[i].names(), wildcards)
	}
	a := &assembly{Report: r, settings: settings, clients: c.clients, node: node, wildcards: wildcards, waste: make(map[string]*NameWaste), searched: make(map[string]bool)}
	a.fromNodes = c.tally.unattributed[ReasonHostNetwork]
	for i := range groups {
		if groups[i].group.why == ReasonHostNetwork {
			a.fromNodes += groups[i].tally.queries
		}
	}
	a.notFirstHop = 2*a.fromNodes > c.tally.queries
	for len(groups) > 0 {
		n := 1
		for n < len(groups) && groups[n].group.workload == groups[0].group.workload {
			n++
		}
		a.workload(groups[:n])
		groups = groups[n:]
	}
	a.finish(&c.tally)
	return r
}

// Actionable tells whether there is a recommendation that should be applied.
func (r *Report) Actionable() bool {
	return slices.ContainsFunc(r.Workloads, func(w Workload) bool { return w.Recommendation != nil && w.Recommendation.Apply })
}
