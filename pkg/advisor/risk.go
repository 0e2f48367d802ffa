package advisor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/shorthop/shorthop/pkg/policy"
)

// RiskCode names a risk. The codes are API.
type RiskCode string

// Risks of the cluster and of workloads.
const (
	// RiskShortNamesLeave means: names in the cluster that are asked of the outside
	// first.
	RiskShortNamesLeave RiskCode = "short_names_leave_first"
	// RiskNamespacePublicSuffix means: a namespace is called like a public suffix.
	RiskNamespacePublicSuffix RiskCode = "namespace_is_public_suffix"
	// RiskSeenOnce means: names that were looked up only once.
	RiskSeenOnce RiskCode = "seen_once"
	// RiskShortWindow means: the log covers little time.
	RiskShortWindow RiskCode = "short_window"
	// RiskNeverResolved means: names that never had an answer.
	RiskNeverResolved RiskCode = "never_resolved"
	// RiskWriteFQDN means: external names that go through the search list whatever the
	// recommendation.
	RiskWriteFQDN RiskCode = "write_fqdn"
	// RiskRewrite means: a domain whose search lists CoreDNS could cut short.
	RiskRewrite RiskCode = "rewrite_candidate"
	// RiskAutopath means: a workload for which autopath is the better cure.
	RiskAutopath RiskCode = "autopath_candidate"
	// RiskNotFirstHop means: the log is not that of the first hop.
	RiskNotFirstHop RiskCode = "not_first_hop"
	// RiskUnknownClients means: most queries are of no pod in the list.
	RiskUnknownClients RiskCode = "unknown_clients"
	// RiskFallbackCopies means: musl asks every nameserver.
	RiskFallbackCopies RiskCode = "fallback_copies"
	// RiskRoom means: names with dots that the recommendation leaves no room for.
	RiskRoom RiskCode = "no_room"
)

// Risk is something to know before, or besides, following a recommendation.
type Risk struct {
	Code RiskCode `json:"code"`
	// Text says what it is about.
	Text string `json:"text"`
	// Names are examples: names, namespaces or domains.
	Names []string `json:"names,omitzero"`
}

// examples is how many names a risk lists.
const examples = 5

// publicSuffix tells whether a label is a top-level domain of the Internet, or all
// of an entry in the public suffix list.
func publicSuffix(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return icann && suffix == name
}

// external tells whether a name is one of the Internet with a domain and a host.
func external(name string) bool {
	bare := strings.TrimSuffix(name, ".")
	return strings.Count(bare, ".") >= 2 && publicSuffix(bare[strings.LastIndexByte(bare, '.')+1:])
}

// amount is a number with its noun.
func amount[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// named collects names with their lookups.
type named struct {
	names []NameUse
}

func (n *named) add(u NameUse) { n.names = append(n.names, u) }

func (n *named) top() []string {
	slices.SortStableFunc(n.names, func(a, b NameUse) int { return cmp.Compare(b.Lookups, a.Lookups) })
	var top []string
	for i := range n.names[:min(len(n.names), examples)] {
		top = append(top, n.names[i].Name)
	}
	return top
}

// workloadRisks needs all names of the workload.
func (a *assembly) workloadRisks(w *Workload) {
	add := func(code RiskCode, n *named, format string, args ...any) {
		risk := Risk{Code: code, Text: fmt.Sprintf(format, args...)}
		if n != nil {
			risk.Names = n.top()
		}
		w.Risks = append(w.Risks, risk)
	}
	ndots := w.Recommendation.Ndots
	var once, never, leave, write, public named
	var expanded, total int64
	for _, u := range w.Names {
		dots := strings.Count(strings.TrimSuffix(u.Name, "."), ".")
		rooted := strings.HasSuffix(u.Name, ".")
		searched := u.Answer != "" && u.Answer != strings.TrimSuffix(u.Name, ".")
		if u.Lookups == 1 {
			once.add(u)
		}
		if u.Answer == "" {
			never.add(u)
		}
		if searched && dots >= ndots && !rooted {
			leave.add(u)
		}
		if !searched && u.Answer != "" && dots < ndots && !rooted {
			write.add(u)
			expanded += u.Then
		}
		if last := u.Name[strings.LastIndexByte(u.Name, '.')+1:]; searched && dots >= 1 && !rooted && a.clients.names.namespaces[last] && publicSuffix(last) {
			public.add(u)
		}
		total += u.Then
	}
	if len(leave.names) > 0 {
		add(RiskShortNamesLeave, &leave, "%s of the cluster with %d dots or more, which the outside is asked for first", amount(len(leave.names), "name"), ndots)
	}
	if len(public.names) > 0 {
		add(RiskNamespacePublicSuffix, &public, "%s ending in a namespace that is also a public suffix: with ndots 1, the Internet would be asked first", amount(len(public.names), "name"))
	}
	if len(once.names) > 0 {
		add(RiskSeenOnce, &once, "%s looked up only once: there may be others that the log does not have", amount(len(once.names), "name"))
	}
	if len(never.names) > 0 {
		add(RiskNeverResolved, &never, "%s without an answer: mistyped, or of Services that are gone", amount(len(never.names), "name"))
	}
	if len(write.names) > 0 {
		add(RiskWriteFQDN, &write, "%s from outside with fewer dots than ndots %d, which go through all search domains: a dot at the end saves that", amount(len(write.names), "name"), ndots)
	}
	if ndots < policy.DefaultNdots {
		add(RiskRoom, nil, "a name like %s that the log does not have would be asked of the outside first, and musl would not find it",
			strings.Join(policy.ShortNamesLost(ndots), " or "))
	}
	if 2*expanded > total && expanded >= fewLookups && w.Recommendation.Saved*4 < w.Queries {
		add(RiskAutopath, &write, "more than half of the queries stay: names with few dots keep ndots at %d; CoreDNS's autopath cuts the search list at the server", ndots)
	}
	if f := w.Recommendation.Fallback; f != nil {
		does := "nodeLocal.fallbackServers: [] in a rule (advise --drop-fallback) ends"
		if f.Drop {
			does = "the empty nodeLocal.fallbackServers that is recommended ends"
		}
		add(RiskFallbackCopies, nil, "musl asks all nameservers at once: %s %s %d queries of this log as well, %d with the recommended ndots; %s that, and the fallback: while the node's cache is away, nothing resolves",
			strings.Join(f.Servers, " and "), map[bool]string{true: "gets", false: "get"}[len(f.Servers) == 1], f.Queries, f.Then, does)
	}
}

// rewriteShare is the part of all waste, one in so many, from which a domain is
// worth a line in CoreDNS's configuration.
const rewriteShare = 10

// clusterRisks needs all workloads and the whole list of waste.
func (a *assembly) clusterRisks(t *tally) {
	add := func(code RiskCode, names []string, format string, args ...any) {
		a.Risks = append(a.Risks, Risk{code, fmt.Sprintf(format, args...), names})
	}
	var suffixes []string
	for _, namespace := range a.clients.Namespaces() {
		if publicSuffix(namespace) {
			suffixes = append(suffixes, namespace)
		}
	}
	if len(suffixes) > 0 {
		add(RiskNamespacePublicSuffix, suffixes, "%s called like a public suffix: with ndots 1, service.namespace goes to the Internet first and may be answered there", amount(len(suffixes), "namespace"))
	}
	if window := a.Source.To.Sub(a.Source.From); !a.Source.From.IsZero() && window < longWindow {
		add(RiskShortWindow, nil, "the log covers only %s: what runs hourly or daily may be missing", window)
	}
	if a.notFirstHop {
		add(RiskNotFirstHop, nil, "%d of %d queries come from nodes: behind a node-local cache, only the cache's own log names the pods, and what pods ask here is only a part", a.fromNodes, a.Source.Queries)
	} else if unknown := t.unattributed[ReasonUnknownAddress]; 2*unknown > a.Source.Queries {
		add(RiskUnknownClients, nil, "%d of %d queries come from addresses that no pod had at that time: of pods that are gone, or of a cache between pods and this server, whose log should be read instead", unknown, a.Source.Queries)
	}
	byDomain := make(map[string]int64)
	var all int64
	for i := range a.Waste {
		w := &a.Waste[i]
		all += w.Wasted
		if w.Workloads < 2 || a.searched[w.Name] || !publicSuffix(w.Name[strings.LastIndexByte(w.Name, '.')+1:]) {
			continue
		}
		if domain, err := publicsuffix.EffectiveTLDPlusOne(w.Name); err == nil {
			byDomain[domain] += w.Wasted
		}
	}
	var domains []string
	for domain, wasted := range byDomain {
		if wasted*rewriteShare >= all {
			domains = append(domains, domain)
		}
	}
	slices.SortFunc(domains, func(x, y string) int {
		return cmp.Or(cmp.Compare(byDomain[y], byDomain[x]), strings.Compare(x, y))
	})
	if len(domains) > 0 {
		add(RiskRewrite, domains, "%s with a tenth or more of the waste, in several workloads: CoreDNS's rewrite (Gardener: commonSuffixes) can cut the search list for all", amount(len(domains), "domain"))
	}
}
