package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// Health gates keep pods from being pointed at what does not work.
//
//	gate           closed                            a pod that would get it
//	service host   the last probes failed, or none   keeps the Service's address,
//	               has been answered yet             service_host_unhealthy
//	node-local     too many of the DaemonSet's pods  gets mode Options,
//	               are unavailable, it wants none,   node_local_unhealthy
//	               is missing or not known yet
//
// hostFrom NodeIP and an empty daemonSet have no gate. What a gate finds out
// enters a decision as Request.Gates.

// defaultPort is the port of the Service kubernetes, which pods use where
// serviceHost.port is left out. The API server fixes it.
const defaultPort = "443"

// Endpoint is an API server's address as pods get it.
type Endpoint struct {
	Host string `json:"host"`
	Port string `json:"port"`
}

// HostProbe says how the gate of an endpoint is kept. Where several blocks of
// a policy name the same endpoint, the shortest interval and the lowest
// threshold apply.
type HostProbe struct {
	Endpoint
	Interval         time.Duration
	FailureThreshold int
}

// Cache is a node-local cache with a gate.
type Cache struct {
	// DaemonSet is "namespace/name".
	DaemonSet string `json:"daemonSet"`
	// MaxUnavailable is a number of nodes or a percentage.
	MaxUnavailable intstr.IntOrString `json:"maxUnavailable"`
}

// Open reports whether a DaemonSet that wants to run on desired nodes, and is
// available on some of them, is rolled out. A percentage is rounded up, as the
// DaemonSet controller does for its own maxUnavailable: otherwise 10% of five
// nodes would close the gate at every update. A DaemonSet that wants no node
// is not a cache that pods could use.
func (c Cache) Open(desired, available int) bool {
	if desired <= 0 {
		return false
	}
	// Validate has accepted the value.
	limit, err := intstr.GetScaledValueFromIntOrPercent(&c.MaxUnavailable, desired, true)
	return err == nil && desired-available <= limit
}

// Gates are the health gates at one moment. A gate that is not in a map is
// closed. They must not be changed once a request has them.
type Gates struct {
	ServiceHosts map[Endpoint]bool
	Caches       map[Cache]bool
}

// opensServiceHost and opensCache hold for everything where there are no
// gates, as offline.
func (g *Gates) opensServiceHost(e Endpoint) bool { return g == nil || g.ServiceHosts[e] }

func (g *Gates) opensCache(c Cache) bool { return g == nil || g.Caches[c] }

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

// domain returns the cluster domain, empty where it is not known.
func (c *Compiled) domain(r *Request) string {
	if c.clusterDomain == "" && r.Discovered != nil {
		return r.Discovered.Domain
	}
	return c.clusterDomain
}

// fallbackServers returns the servers behind the cache: what
// nodeLocal.fallbackServers names, else the first that is known of the cache's
// upstream, cluster.dnsServers and the discovered cluster DNS.
func (d *dnsSettings) fallbackServers(r *Request) []string {
	found := d.fallbacks
	if d.defaultFallbacks && r.Discovered != nil {
		switch {
		case len(r.Discovered.UpstreamServers) > 0:
			found = r.Discovered.UpstreamServers
		case len(found) == 0:
			found = r.Discovered.DNSServers
		}
	}
	// A cache may listen on the address of the cluster DNS itself.
	local := func(server string) bool { return slices.Contains(d.servers, server) }
	if slices.ContainsFunc(found, local) {
		return slices.DeleteFunc(slices.Clone(found), local)
	}
	return found
}

// HostProbes lists the endpoints that pods can get, each once. Those of a
// disabled feature and of a rule that is Off are among them: their gates are
// open when they are switched on again.
func (c *Compiled) HostProbes() []HostProbe {
	found := map[Endpoint]HostProbe{}
	for s := range c.allSettings {
		h := &s.serviceHost
		if h.endpoint.Host == "" {
			continue
		}
		probe, seen := found[h.endpoint]
		if !seen {
			probe = HostProbe{h.endpoint, h.interval, h.failureThreshold}
		}
		probe.Interval = min(probe.Interval, h.interval)
		probe.FailureThreshold = min(probe.FailureThreshold, h.failureThreshold)
		found[h.endpoint] = probe
	}
	return slices.SortedFunc(maps.Values(found), func(a, b HostProbe) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Port, b.Port))
	})
}

// Caches lists the node-local caches with a gate that pods can get, by mode or
// by annotation, each once.
func (c *Compiled) Caches() []Cache {
	found := map[Cache]bool{}
	for s := range c.allSettings {
		d := &s.dns
		if d.cache.DaemonSet != "" && len(d.servers) > 0 && (d.mode == DNSModeNodeLocal || c.overrides.mode) {
			found[d.cache] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b Cache) int {
		return cmp.Or(strings.Compare(a.DaemonSet, b.DaemonSet), strings.Compare(a.MaxUnavailable.String(), b.MaxUnavailable.String()))
	})
}

// allSettings yields what can apply to a pod: the policy's own fields, and
// every rule.
func (c *Compiled) allSettings(yield func(*settings) bool) {
	if !yield(&c.base) {
		return
	}
	for i := range c.rules.rules {
		if !yield(&c.rules.rules[i].settings) {
			return
		}
	}
}
