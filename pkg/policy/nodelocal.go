package policy

import (
	"slices"
	"strings"
)

// Limits of the API server for a pod's dnsConfig (validatePodDNSConfig). The
// characters are counted with one space between two searches.
const (
	maxSearches      = 32
	maxSearchesChars = 2048
)

// fitNodeLocal fills in what NodeLocal writes, within the API's limits: the
// local servers and the three cluster searches always, then as many fallback
// servers and extra searches as there is room for. It returns the reason why
// the pod gets mode Options instead, or "".
//
// What the pod names itself is written once (package mutate), and so it takes
// room once. Extra searches that it names stay where it names them.
func (c *Compiled) fitNodeLocal(d *DNSDecision, r *Request, dns *dnsSettings) Reason {
	domain := c.cluster.DomainWith(r.Discovered)
	if domain == "" && r.heeds(ReasonClusterDomainUnknown) {
		return ReasonClusterDomainUnknown
	}
	var userServers, userSearches []string
	if config := r.Pod.Spec.DNSConfig; config != nil {
		userServers, userSearches = config.Nameservers, config.Searches
	}
	servers := len(userServers)
	for _, server := range dns.nodeLocal.Servers {
		if !slices.Contains(userServers, server) {
			servers++
		}
	}
	if servers > maxNameservers && r.heeds(ReasonLimits) {
		return ReasonLimits
	}
	fallbacks, fitting := dns.cluster.FallbackServers(&dns.nodeLocal, r.Discovered), 0
	for _, server := range fallbacks {
		if !slices.Contains(userServers, server) {
			if servers++; servers > maxNameservers {
				break
			}
		}
		fitting++
	}

	count, chars := 3, 3*len(domain)+len(r.Namespace)+len(".svc.")+len("svc.")+2
	var seen [3]bool
	for _, search := range userSearches {
		if i := clusterSearch(search, r.Namespace, domain); i >= 0 && !seen[i] {
			seen[i] = true
			continue
		}
		count, chars = count+1, chars+1+len(search)
	}
	if (count > maxSearches || chars > maxSearchesChars) && r.heeds(ReasonLimits) {
		return ReasonLimits
	}
	fits := func(search string) bool {
		count, chars = count+1, chars+1+len(search)
		return count <= maxSearches && chars <= maxSearchesChars
	}
	d.Servers = dns.nodeLocal.Servers
	d.FallbackServers = fallbacks[:fitting]
	d.Domain = domain
	d.ExtraSearches = extraSearches(dns.searches, userSearches, r.Namespace, domain, fits)
	return ""
}

// clusterSearch tells which of the three searches that kubelet writes for
// ClusterFirst a search is: 0 for the namespace's, 1 for the Services', 2 for
// the domain itself, and -1 for another one.
func clusterSearch(search, namespace, domain string) int {
	rest, ok := strings.CutSuffix(search, domain)
	if !ok {
		return -1
	}
	switch {
	case rest == "":
		return 2
	case rest == "svc.":
		return 1
	case len(rest) == len(namespace)+len(".svc.") && strings.HasPrefix(rest, namespace) && strings.HasSuffix(rest, ".svc."):
		return 0
	}
	return -1
}
