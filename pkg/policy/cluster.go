package policy

import "slices"

// Discovered is what was found out about the cluster's DNS. The zero value
// knows nothing. spec.cluster wins over it.
type Discovered struct {
	// Domain is the cluster domain.
	Domain string `json:"domain,omitzero"`
	// DNSServers are the addresses of the cluster DNS Service.
	DNSServers []string `json:"dnsServers,omitzero"`
	// UpstreamServers are the addresses of the Service through which the
	// node-local cache itself reaches the cluster DNS. On the nodes they lead
	// past the cache, unlike those of the cluster DNS Service, so they are the
	// better fallback.
	UpstreamServers []string `json:"upstreamServers,omitzero"`
}

// DomainWith returns the cluster domain, empty where it is not known. discovered
// may be nil.
func (c *Cluster) DomainWith(discovered *Discovered) string {
	if c.Domain == "" && discovered != nil {
		return discovered.Domain
	}
	return c.Domain
}

// FallbackServers returns the servers that follow those of a cache, the first
// that there is any of:
//
//	nodeLocal.fallbackServers, also where they are named as an empty list
//	the cache's upstream, which was discovered
//	cluster.dnsServers
//	the cluster DNS, which was discovered
//
// without the addresses of the cache itself, which may listen on that of the
// cluster DNS. discovered may be nil.
func (c *Cluster) FallbackServers(n *NodeLocal, discovered *Discovered) []string {
	found := n.FallbackServers
	if found == nil {
		found = c.DNSServers
		if discovered != nil {
			switch {
			case len(discovered.UpstreamServers) > 0:
				found = discovered.UpstreamServers
			case len(found) == 0:
				found = discovered.DNSServers
			}
		}
	}
	local := func(server string) bool { return slices.Contains(n.Servers, server) }
	if slices.ContainsFunc(found, local) {
		return slices.DeleteFunc(slices.Clone(found), local)
	}
	return found
}
