package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/pkg/policy"
)

// kubeDNSConfigMap is where kube-dns, and caches, have stub domains.
const kubeDNSConfigMap = "kube-dns"

// judgeClusterDNS compares the servers that the policy names with the Services
// of the cluster DNS.
func judgeClusterDNS(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(f.noPolicy())
	}
	if f.dnsServices.err != nil {
		return unknown(f.dnsServices.err)
	}
	var servers, upstream, described []string
	clusterDNS, upstreamOfCache := discovery.DNSServices(f.dnsServices.value, f.caches())
	collect := func(services []discovery.Service, addresses *[]string) {
		for i := range services {
			s := &services[i]
			*addresses = append(*addresses, s.ClusterIPs...)
			described = append(described, fmt.Sprintf("%s/%s %s", s.Namespace, s.Name, strings.Join(s.ClusterIPs, " ")))
		}
	}
	collect(clusterDNS, &servers)
	collect(upstreamOfCache, &upstream)
	spec := &known.document.Spec
	j := passed("")
	idle := f.idleClusterDNS()
	if len(described)+len(idle) == 0 {
		if len(spec.Cluster.DNSServers) == 0 {
			return unknown(errors.New("no Service of a cluster DNS was found (" + discovery.KnownServices + ")"))
		}
		j.lacks(fmt.Errorf("no Service of a cluster DNS was found to compare %s with", strings.Join(spec.Cluster.DNSServers, ", ")))
		return j
	}
	f.judgeBehind(j, slices.Concat(clusterDNS, upstreamOfCache), idle, spec.Cluster.DNSServers)
	for _, server := range spec.Cluster.DNSServers {
		if idle := slices.IndexFunc(f.idleServices, func(s discovery.Service) bool { return containsAddress(s.ClusterIPs, server) }); idle >= 0 {
			if f.nodesAnswer(j, &f.idleServices[idle]) {
				continue
			}
			j.fail("set cluster.dnsServers to what pods have in resolv.conf; where that is it, "+doLookBehind(&f.idleServices[idle]), "cluster.dnsServers has %s, the address of Service %s/%s, which has no endpoints",
				server, f.idleServices[idle].Namespace, f.idleServices[idle].Name)
			continue
		}
		if !containsAddress(servers, server) && !containsAddress(upstream, server) {
			if len(described) == 0 {
				j.lacks(fmt.Errorf("no Service of a cluster DNS with endpoints was found to compare %s with", server))
				continue
			}
			j.fail("set cluster.dnsServers to the Service's address, or leave it out",
				"cluster.dnsServers has %s, which is no Service of the cluster DNS (%s)", server, strings.Join(described, ", "))
		}
	}
	for _, use := range nodeLocalUses(spec) {
		// What the server takes by itself is what it discovers of these Services.
		fallback := spec.Cluster.FallbackServers(use.local, &policy.Discovered{DNSServers: servers, UpstreamServers: upstream})
		listens := f.listens(use.cache.DaemonSet)
		for _, server := range fallback {
			idle := slices.IndexFunc(f.idleServices, func(s discovery.Service) bool { return containsAddress(s.ClusterIPs, server) })
			switch {
			case idle >= 0 && f.nodesAnswer(j, &f.idleServices[idle]):
			case idle >= 0:
				j.warn("leave fallbackServers empty, or name servers that answer", "%s falls back to %s, the address of Service %s/%s, which has no endpoints",
					use.at, server, f.idleServices[idle].Namespace, f.idleServices[idle].Name)
			case containsAddress(listens, server) && f.proxy.Mode == "ipvs": // the Service gets the packets, whoever else listens there
			case containsAddress(listens, server):
				do := "add the Service " + discovery.UpstreamService + " of the node-local cache and name its address in fallbackServers"
				if len(upstream) > 0 {
					do = fmt.Sprintf("set fallbackServers to %s, the address of %s", strings.Join(upstream, ", "), discovery.UpstreamService)
				}
				j.warn(do, "%s falls back to %s, on which the node-local cache listens too: when it dies, both are gone%s", use.at, server, f.butForProxies(" (", ")"))
			case use.local.FallbackServers != nil && !containsAddress(servers, server) && !containsAddress(upstream, server):
				j.warn("check that it serves the cluster's zone", "%s falls back to %s, which is no Service of the cluster DNS", use.at, server)
			}
		}
	}
	for _, contradiction := range f.contradictions() {
		j.warn("set spec.cluster in the policy to what is right", "%s", contradiction)
	}
	if j.status == Pass {
		if len(described) == 0 {
			described = []string{"no Service of the cluster DNS has endpoints"}
		}
		j.found = strings.Join(described, ", ")
		if discovered := f.discovered(); len(spec.Cluster.DNSServers) == 0 && discovered != nil {
			j.found += "; the replicas found " + strings.Join(discovered.DNSServers, ", ")
		}
	}
	return j
}

// idleClusterDNS are the Services that would be the cluster DNS's, if anybody were
// behind them.
func (f *Facts) idleClusterDNS() []discovery.Service {
	busy := slices.Clone(f.idleServices)
	for i := range busy {
		busy[i].Idle = false
	}
	found, _ := discovery.DNSServices(busy, nil)
	return found
}

// judgeBehind says where nobody answers at an address of the cluster DNS:
//
//	the Service                               pods ask it   whom pods ask is not known   pods ask others
//	has no endpoints, and no other has any    fails         warns; unknown where they    fine
//	                                                        ask something on the node
//	has no endpoints, and another one has     fails         fine                         fine
//	has no endpoints, and all nodes answer    fine          fine                         fine
//	  at its address themselves
//	has endpoints, and none of them is ready  fails         fails                        warns
//
// Whom pods ask is what cluster.dnsServers has, else what the replicas found. These
// do not count what is on the node (discovery): a cache, or Cloud DNS for GKE.
func (f *Facts) judgeBehind(j *judgement, services, idle []discovery.Service, configured []string) {
	asked, discovered := configured, f.discovered()
	if len(asked) == 0 && discovered != nil {
		asked = discovered.DNSServers
	}
	asks := func(s *discovery.Service) bool {
		return slices.ContainsFunc(s.ClusterIPs, func(address string) bool { return containsAddress(asked, address) })
	}
	for i := range idle {
		s := &idle[i]
		name := s.Namespace + "/" + s.Name
		switch {
		case len(configured) > 0: // is told where its servers are
		case f.nodesAnswer(j, s):
		case asks(s):
			j.fail(doLookBehind(s), "Service %s of the cluster DNS has no endpoints: nobody answers pods that ask %s", name, strings.Join(s.ClusterIPs, " and "))
		case len(asked) == 0 && len(services) == 0 && discovered != nil:
			j.lacks(fmt.Errorf("no endpoints in Service %s of the cluster DNS, and what pods ask on their node in its place is not seen from here (a cache, or Cloud DNS for GKE)", name))
		case len(asked) == 0 && len(services) == 0:
			j.warn(doLookBehind(s)+"; where pods ask somebody else, name that in cluster.dnsServers",
				"Service %s of the cluster DNS has no endpoints, and whom pods ask is not known: nobody answers at %s", name, strings.Join(s.ClusterIPs, " and "))
		}
	}
	for i := range services {
		s := &services[i]
		count, known := f.endpoints[s.Namespace+"/"+s.Name]
		if !known || count.all == 0 || count.ready > 0 {
			continue
		}
		status := Warn
		if asks(s) || len(asked) == 0 {
			status = Fail
		}
		j.add(status, doLookBehind(s), "Service %s/%s of the cluster DNS has %s, none of which is ready: nobody answers at %s",
			s.Namespace, s.Name, counted(count.all, "endpoint"), strings.Join(s.ClusterIPs, " and "))
	}
}

// nodesAnswer reports whether nodes answer in the place of a Service without
// endpoints, or that nobody may see it, and says so.
func (f *Facts) nodesAnswer(j *judgement, s *discovery.Service) bool {
	switch {
	case f.dnsOnNodes.err != nil:
		j.lacks(fmt.Errorf("no endpoints in Service %s/%s, and whether nodes answer in its place is not known: %w", s.Namespace, s.Name, f.dnsOnNodes.err))
		return true
	case f.dnsOnNodes.value:
		j.tell("Service %s/%s has no endpoints: the nodes answer at its address themselves", s.Namespace, s.Name)
	}
	return f.dnsOnNodes.value
}

func doLookBehind(s *discovery.Service) string {
	return fmt.Sprintf("look at the pods of the cluster DNS: kubectl -n %[1]s get pods,endpointslices; kubectl -n %[1]s describe service %[2]s shows its selector", s.Namespace, s.Name)
}

// discovered is what a replica found out about the cluster's DNS, nil where
// none says anything.
func (f *Facts) discovered() *policy.Discovered {
	for i := range f.replicas.value {
		if debug := f.replicas.value[i].debug.value; debug != nil && debug.Discovered != nil && debug.Discovered.Domain != "" {
			return &debug.Discovered.Discovered
		}
	}
	return nil
}

// contradictions are those that the replicas found, each once.
func (f *Facts) contradictions() []string {
	var all []string
	for i := range f.replicas.value {
		if debug := f.replicas.value[i].debug.value; debug != nil && debug.Discovered != nil {
			all = append(all, debug.Discovered.Contradictions...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// judgeClusterDomain compares with the zones of CoreDNS's kubernetes plugin.
func judgeClusterDomain(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(f.noPolicy())
	}
	if f.clusterDNS.err != nil {
		return unknown(f.clusterDNS.err)
	}
	domain, from := known.document.Spec.Cluster.Domain, "cluster.domain is"
	if discovered := f.discovered(); domain == "" && discovered != nil {
		domain, from = discovered.Domain, "the replicas found"
	}
	zones, err := f.clusterDNS.value.clusterZones()
	switch {
	case err != nil && !slices.Contains(zones, strings.ToLower(domain)):
		return unknown(err)
	case len(zones) == 0:
		return unknown(errors.New("no Corefile of the cluster DNS was found that names the cluster's zone"))
	case domain == "":
		return passed("the cluster DNS serves %s; the policy leaves it to the replicas to find out", strings.Join(zones, ", "))
	case !slices.Contains(zones, strings.ToLower(domain)):
		j := passed("")
		j.fail("set cluster.domain to what kubelets are started with (clusterDomain)", "%s %s, the cluster DNS serves %s", from, domain, strings.Join(zones, ", "))
		return j
	}
	return passed("%s, as the cluster DNS serves", domain)
}

// judgeCustomZones finds zones that only the cluster DNS knows, where the
// node-local cache asks somebody else for them.
func judgeCustomZones(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(f.noPolicy())
	}
	uses := nodeLocalUses(&known.document.Spec)
	if len(uses) == 0 {
		return passed(notUsed)
	}
	if f.clusterDNS.err != nil {
		return unknown(f.clusterDNS.err)
	}
	custom, err := f.clusterDNS.value.customZones()
	if len(custom) == 0 && err != nil {
		return unknown(err)
	}
	if len(custom) == 0 {
		j := passed("the cluster DNS has no zones of its own besides the cluster's")
		for _, target := range daemonSetNames(uses) {
			if why := f.notFound(target); why != nil {
				j.lacks(fmt.Errorf("no cache can be asked for zones: %w", why))
			}
		}
		return j
	}
	if f.dnsServices.err != nil {
		return unknown(f.dnsServices.err)
	}
	var clusterServers []string
	for i := range f.dnsServices.value {
		clusterServers = append(clusterServers, f.dnsServices.value[i].ClusterIPs...)
	}
	zones := slices.Sorted(maps.Keys(custom))
	j := passed("the node-local cache asks the cluster DNS, or serves them itself: %s", some(zones))
	if err != nil {
		j.lacks(err)
	}
	for _, target := range daemonSetNames(uses) {
		names := f.found(target)
		if len(names) == 0 {
			names = []string{target} // so that it is said that nothing is known of it
		}
		for _, name := range names {
			judgeZonesOfCache(j, name, f.cacheConfig[name], custom, clusterServers)
		}
	}
	return j
}

// judgeZonesOfCache takes the zones with where they are from.
func judgeZonesOfCache(j *judgement, name string, config fact[*cacheConfig], zones map[string]string, clusterServers []string) {
	if config.err != nil {
		j.lacks(config.err)
		return
	}
	if config.value == nil || len(config.value.corefiles) == 0 {
		j.lacks(fmt.Errorf("DaemonSet %s: no Corefile was found, so it is not known where it asks for %s", name, some(slices.Sorted(maps.Keys(zones)))))
		return
	}
	blocks, err := corefile.Read(config.value.corefiles)
	if err != nil {
		j.lacks(fmt.Errorf("DaemonSet %s: %w", name, err))
		return
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		if zones[zone] == stubDomainsFrom && config.value.readsStubDomains {
			continue
		}
		switch target := bypass(blocks, zone, clusterServers); {
		case target == "":
		case corefile.IsVariable(target):
			j.lacks(fmt.Errorf("DaemonSet %s asks %s for %s, which only its container knows", name, target, zone))
		default:
			j.warn("give the node-local cache a server block for each of them that forwards to the cluster DNS (or where the cluster DNS forwards them), "+
				"or let it forward . to the cluster DNS", "DaemonSet %s asks %s for %s, which only the cluster DNS knows (%s)", name, target, zone, zones[zone])
		}
	}
}
