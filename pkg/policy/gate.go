package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Health gates keep pods from being pointed at what does not work.
//
//	gate           closed                            a pod that would get it
//	service host   the last probes failed, or none   keeps the Service's address,
//	               has been answered yet             service_host_unhealthy
//	node-local     too many of the DaemonSet's pods  gets mode Options,
//	               are unavailable, it wants none,   node_local_unhealthy
//	               is missing or not known yet;
//	               or nobody owns the cache's address
//	upstream       the servers that pods ask do not   gets no lower ndots because
//	               say of names that nobody has that  its resolver falls through:
//	               there is no such name, or not      upstream_slow, upstream_fails,
//	               themselves (requireLocal)          upstream_invents_answers,
//	                                                  svc_not_local
//
// hostFrom NodeIP, probe.enabled false and an empty daemonSet have no gate. A
// decision gets the states of the gates as Request.Gates.

// defaultPort is the port of the Service kubernetes, which pods use where
// serviceHost.port is left out. The API server fixes it.
const defaultPort = "443"

// UpstreamMarker is the primary server in the SOA with which a DNS server says
// that it answers "svc." itself.
const UpstreamMarker = "local.shorthop.dev."

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
	// DaemonSet is "namespace/name", or "namespace/label=value,label=value" for a
	// selector. No name has an equals sign.
	DaemonSet string `json:"daemonSet"`
	// MaxUnavailable is a number of nodes or a percentage.
	MaxUnavailable intstr.IntOrString `json:"maxUnavailable"`
	// Servers are the addresses that pods are pointed at, with spaces between them.
	Servers string `json:"servers"`
}

// Find says how to find the DaemonSets: by the name of one, or else by a selector
// of labels.
func (c Cache) Find() (namespace, name, selector string) {
	namespace, name, _ = strings.Cut(c.DaemonSet, "/")
	if strings.Contains(name, "=") {
		return namespace, "", name
	}
	return namespace, name, ""
}

// Cache is the cache whose status is the gate. ok is false where there is no
// address of a cache, or no gate.
func (n *NodeLocal) Cache() (cache Cache, ok bool) {
	daemonSet := *orEmpty(n.DaemonSet)
	if s := n.DaemonSetSelector; s != nil {
		daemonSet = s.Namespace + "/" + labels.Set(s.MatchLabels).String()
	}
	if len(n.Servers) == 0 || daemonSet == "" {
		return Cache{}, false
	}
	return Cache{daemonSet, *orEmpty(n.MaxUnavailable), strings.Join(n.Servers, " ")}, true
}

// Open reports whether a DaemonSet that wants to run on desired nodes, and is
// available on some of them, is rolled out. A DaemonSet that wants no node is
// not a cache that pods could use.
func (c Cache) Open(desired, available int) bool {
	return desired > 0 && desired-available <= c.Allowed(desired)
}

// Allowed is on how many of the desired nodes the cache may be unavailable
// before the gate closes. A percentage is rounded up, as the DaemonSet
// controller does for its own maxUnavailable: otherwise 10% of five nodes would
// close the gate at every update.
func (c Cache) Allowed(desired int) int {
	// Validate has accepted the value.
	limit, err := intstr.GetScaledValueFromIntOrPercent(&c.MaxUnavailable, desired, true)
	if err != nil {
		return -1
	}
	return limit
}

// Gates are the health gates at one moment. A gate that is not in a map is
// closed. They must not be changed once a request has them.
type Gates struct {
	ServiceHosts map[Endpoint]bool
	Caches       map[Cache]bool
	// Upstreams has the reason why a gate is closed, or why it is not fully open
	// (svc_not_local); empty while the servers answer themselves.
	Upstreams map[Upstream]Reason
	// PublicNamespace is true while a namespace of the cluster with a headless
	// Service is a name that the outside knows.
	PublicNamespace bool
}

// InForce returns the policy in force, and gates that include all it needs. The gates
// of the next policy are there before it comes into force, and those of the last one
// go soon after. If a reload came between reading the policy and reading the gates,
// gates of that policy could be missing, and would count as closed. So InForce reads
// the policy once more, and starts again where it has changed. Both are nil while
// there is no policy.
func InForce(policy func() *Compiled, gates func() *Gates) (*Compiled, *Gates) {
	for {
		before := policy()
		if before == nil {
			return nil, nil
		}
		if now := gates(); policy() == before {
			return before, now
		}
	}
}

// upstream returns why the gate of an upstream is closed or not fully open, "" where
// it is open or there are no gates. An upstream that is not known counts as failing,
// unless reasons are waived (Besides): upstreams are not probed while no image is
// known to fall through, and with that reason waived theirs must not take its place.
func (r *Request) upstream(u Upstream) Reason {
	if r.Gates == nil {
		return ""
	}
	reason, known := r.Gates.Upstreams[u]
	switch {
	case known:
		return reason
	case len(r.waived) > 0:
		return ""
	}
	return ReasonUpstreamFails
}

// opensServiceHost and opensCache report whether a gate is open. Without gates (g is
// nil), as in offline commands, all are.
func (g *Gates) opensServiceHost(e Endpoint) bool { return g == nil || g.ServiceHosts[e] }

func (g *Gates) opensCache(c Cache) bool { return g == nil || g.Caches[c] }

// HostProbes lists the endpoints that pods can get, each once. Those of a disabled
// feature and of a rule that is Off are among them, so that their gates are known
// when the feature or the rule is switched on again.
func (c *Compiled) HostProbes() []HostProbe {
	found := map[Endpoint]HostProbe{}
	for s := range c.allSettings {
		h := &s.serviceHost
		if !h.gated {
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
		if d.cache.DaemonSet != "" && (d.mode == DNSModeNodeLocal || c.overrides.mode) {
			found[d.cache] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b Cache) int {
		return cmp.Or(strings.Compare(a.DaemonSet, b.DaemonSet), strings.Compare(a.MaxUnavailable.String(), b.MaxUnavailable.String()),
			strings.Compare(a.Servers, b.Servers))
	})
}

// allSettings yields what can apply to a pod: the policy's own fields, and
// every rule.
func (c *Compiled) allSettings(yield func(*settings) bool) {
	if !yield(&c.base) {
		return
	}
	for i := range c.rules {
		if !yield(&c.rules[i].settings) {
			return
		}
	}
}
