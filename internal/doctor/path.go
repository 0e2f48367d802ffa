package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/discovery"
)

// Path is the way that something of a new pod takes, from the pod to who answers.
type Path struct {
	// Of is dns or api.
	Of   string `json:"of"`
	Hops []Hop  `json:"hops"`
	// Notes say for which pods or nodes it is not so.
	Notes []string `json:"notes,omitzero"`
}

// Hop is a station behind the pod.
type Hop struct {
	Name string `json:"name"`
	// From is what the arrow that leads to it was observed from; of HopUnknown, a
	// sentence that says why it is.
	From string `json:"from"`
}

// HopUnknown is the name of the last hop where it is not known.
const HopUnknown = "unknown"

// String draws the path on one line.
func (p *Path) String() string {
	text := "pod"
	for _, hop := range p.Hops {
		text += " -> " + hop.Name
	}
	return oneLine(text)
}

func (p *Path) to(from, format string, args ...any) {
	p.Hops = append(p.Hops, Hop{oneLine(fmt.Sprintf(format, args...)), oneLine(from)})
}

// toUnknown ends the path. why is a sentence.
func (p *Path) toUnknown(why string) { p.to(why, HopUnknown) }

// paths draws what is known of the ways of new pods; where no policy is known,
// there are none.
func (f *Facts) paths(known *knownPolicy) []Path {
	if known == nil {
		return []Path{}
	}
	cluster, upstream := discovery.DNSServices(f.dnsServices.value, f.caches())
	var paths []Path
	seen := []string{}
	pinned := false // all pods, not only those of a rule
	for _, use := range nodeLocalUses(&known.document.Spec) {
		if use.asked {
			continue
		}
		pinned = pinned || use.at == "spec.dns"
		path := f.cachePath(&use, cluster, upstream)
		if text := path.String(); !slices.Contains(seen, text) {
			seen = append(seen, text)
			paths = append(paths, path)
		}
	}
	if !pinned {
		paths = append([]Path{f.clusterDNSPath(known, cluster)}, paths...)
	}
	return append(paths, f.apiPaths(known)...)
}

// cachePath is the way of pods that are pointed at a cache.
func (f *Facts) cachePath(use *nodeLocalUse, cluster, upstream []discovery.Service) Path {
	path := Path{Of: "dns"}
	if use.at != "spec.dns" {
		path.Notes = append(path.Notes, "only pods of "+use.at)
	}
	servers := strings.Join(use.local.Servers, " and ")
	names := f.found(use.cache.DaemonSet)
	if len(names) == 0 {
		path.to("the policy ("+use.at+") alone, as its DaemonSet was not found", "%s", servers)
	} else {
		desired, unavailable := 0, 0
		for _, name := range names {
			status := &f.daemonSets[name].value.Status
			desired += int(status.DesiredNumberScheduled)
			unavailable += int(status.NumberUnavailable)
		}
		of := max(desired, f.nodes.value)
		available := desired - unavailable
		_, short, _ := strings.Cut(names[0], "/")
		if len(names) > 1 {
			short = fmt.Sprintf("%d DaemonSets", len(names))
		}
		from := "the policy (" + use.at + "), status of DaemonSet " + strings.Join(names, " and ")
		if f.nodes.err == nil && f.nodes.value > 0 {
			from += ", the list of nodes"
		}
		path.to(from, "%s %s (%d of %s)", servers, short, available, counted(of, "node"))
		if missing := of - available; missing > 0 {
			path.Notes = append(path.Notes, fmt.Sprintf("%s without a cache: pods there have only their fallback servers", counted(missing, "node")))
		}
	}
	if len(upstream) > 0 {
		path.to(upstreamFrom(f, &upstream[0]), "%s %s", upstream[0].Name, strings.Join(upstream[0].ClusterIPs, " and "))
		f.answering(&path, &upstream[0])
		return path
	}
	f.toClusterDNS(&path, cluster, "the cache, which names no Service of its own")
	return path
}

// upstreamFrom says why a Service is the cache's way to the cluster DNS.
func upstreamFrom(f *Facts, s *discovery.Service) string {
	for _, c := range f.caches() {
		if c.Namespace == s.Namespace && c.Upstream == s.Name {
			return "-upstreamsvc of DaemonSet " + c.Namespace + "/" + c.Name
		}
	}
	return "the Service " + s.Namespace + "/" + s.Name + ", which is that of the cache's manifest"
}

// clusterDNSPath is the way of pods that keep kubelet's nameservers.
func (f *Facts) clusterDNSPath(known *knownPolicy, cluster []discovery.Service) Path {
	path := Path{Of: "dns"}
	from := "the policy, which points no pod at a cache, so that they ask whom kubelets say"
	if servers := known.document.Spec.Cluster.DNSServers; len(servers) > 0 {
		from += "; cluster.dnsServers"
	}
	f.toClusterDNS(&path, cluster, from)
	for _, use := range nodeLocalUses(&known.document.Spec) {
		for _, name := range f.found(use.cache.DaemonSet) {
			if note := f.besideClusterDNS(name, use.local.Servers, cluster); !slices.Contains(path.Notes, note) {
				path.Notes = append(path.Notes, note)
			}
		}
	}
	return path
}

// besideClusterDNS says where a cache that the policy points no pod at answers
// them all the same: which it is, only kubelets and nodes know.
func (f *Facts) besideClusterDNS(name string, servers []string, cluster []discovery.Service) string {
	listens := f.cacheConfig[name].value.addresses()
	for i := range cluster {
		for _, address := range cluster[i].ClusterIPs {
			switch {
			case !containsAddress(listens, address):
			case f.proxy.Mode == "ipvs":
				return fmt.Sprintf("DaemonSet %s has %s on its nodes too, in vain: %s takes the packets first (%s)", name, address, f.proxy.Bypasses(), f.proxy.From)
			default:
				return fmt.Sprintf("DaemonSet %s has %s on its nodes too, and answers there first%s", name, address, f.butForProxies(" ", ""))
			}
		}
	}
	return fmt.Sprintf("DaemonSet %s answers first where kubelets give pods %s", name, strings.Join(servers, " and "))
}

// butForProxies says which proxies lead packets for a Service past a cache on its
// address, where it is not known that none of them is there.
func (f *Facts) butForProxies(before, after string) string {
	if f.proxy.From != "" && f.proxy.Bypasses() == "" {
		return ""
	}
	return before + "but for kube-proxy in mode ipvs and for Cilium in its place" + after
}

func (f *Facts) toClusterDNS(path *Path, cluster []discovery.Service, from string) {
	switch {
	case f.dnsServices.err != nil:
		path.toUnknown("whom pods ask is not known, as Services cannot be looked for: " + f.dnsServices.err.Error())
	case len(cluster) == 0 && len(f.idleClusterDNS()) > 0:
		path.toUnknown("whom pods ask is not known, as no Service of the cluster DNS has endpoints")
	case len(cluster) == 0:
		path.toUnknown("whom pods ask is not known, as no Service of a cluster DNS was found")
	default:
		path.to(from+"; Service "+cluster[0].Namespace+"/"+cluster[0].Name, "%s %s", cluster[0].Name, strings.Join(cluster[0].ClusterIPs, " and "))
		f.answering(path, &cluster[0])
	}
}

// answering is the last arrow: to the pods behind a Service.
func (f *Facts) answering(path *Path, s *discovery.Service) {
	pods, known := f.endpoints[s.Namespace+"/"+s.Name]
	from := "EndpointSlices of Service " + s.Namespace + "/" + s.Name
	switch {
	case !known:
		path.to("its Service alone, as EndpointSlices cannot be read", "the cluster DNS")
	case pods.ready < pods.all:
		path.to(from, "the cluster DNS (%d of %s ready)", pods.ready, counted(pods.all, "pod"))
	default:
		path.to(from, "the cluster DNS (%s)", counted(pods.all, "pod"))
	}
}

// apiPaths are the ways to the API server: by each host of the policy, else as
// Kubernetes has it.
func (f *Facts) apiPaths(known *knownPolicy) []Path {
	var paths []Path
	byService := true // pods without a rule
	for e := range known.document.Spec.Effective() {
		if e.ServiceHost == nil || e.ServiceHost.Host == "" && e.ServiceHost.HostFrom == "" || e.Rule != nil && e.Rule.ServiceHost == nil {
			continue
		}
		path := Path{Of: "api"}
		at := "spec.serviceHost"
		if e.Rule == nil {
			byService = false
		} else {
			at = "rule " + e.Rule.Name
			path.Notes = []string{"only pods of " + at}
		}
		if e.ServiceHost.HostFrom != "" {
			path.to("the policy ("+at+")", "the pod's own node")
			path.to("the policy alone, as only pods see whether it answers", "the API server")
			paths = append(paths, path)
			continue
		}
		port := "443"
		if e.ServiceHost.Port != nil {
			port = fmt.Sprint(*e.ServiceHost.Port)
		}
		path.to("the policy ("+at+")", "%s:%s", e.ServiceHost.Host, port)
		probed := slices.IndexFunc(f.apiHosts, func(h apiHost) bool { return h.host == e.ServiceHost.Host && h.port == port })
		switch {
		case probed < 0:
			path.toUnknown("who answers there is not known, as the policy has nobody probe it (serviceHost.probe.enabled: false)")
		case f.apiHosts[probed].served.err != nil:
			path.toUnknown("who answers there is not known, as nobody answers from here: " + f.apiHosts[probed].served.err.Error())
		default:
			path.to("TLS from here; the check api-host judges the certificate", "the API server")
		}
		paths = append(paths, path)
	}
	if byService {
		path := Path{Of: "api"}
		path.to("the policy, which has no serviceHost for them", "the Service default/kubernetes")
		path.to("what Kubernetes does by itself", "the API server")
		paths = append([]Path{path}, paths...)
	}
	return paths
}
