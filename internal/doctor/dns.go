package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Names that installers give to the cluster DNS. Upstream is the Service that
// node-local caches use, which does not end at the cache itself.
const (
	labelDNS        = "k8s-app"
	labelDNSValue   = "kube-dns"
	upstreamService = "kube-dns-upstream"
	openShiftDNS    = "openshift-dns"
	openShiftName   = "dns-default"
	rke2Prefix      = "rke2-coredns"
)

// isDNSService tells the Services of the cluster DNS from others.
func isDNSService(s *corev1.Service) bool {
	switch s.Namespace {
	case "kube-system":
		return s.Labels[labelDNS] == labelDNSValue || s.Name == labelDNSValue || s.Name == upstreamService ||
			strings.HasPrefix(s.Name, rke2Prefix)
	case openShiftDNS:
		return s.Name == openShiftName
	}
	return false
}

func clusterIPs(s *corev1.Service) []string {
	var all []string
	for _, ip := range append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...) {
		if ip != "" && ip != corev1.ClusterIPNone && !slices.Contains(all, ip) {
			all = append(all, ip)
		}
	}
	return all
}

// judgeClusterDNS compares the servers that the policy names with the Services
// of the cluster DNS.
func judgeClusterDNS(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(errNoPolicy)
	}
	if f.dnsServices.err != nil {
		return unknown(f.dnsServices.err)
	}
	var servers, upstream, described []string
	for i := range f.dnsServices.value {
		s := &f.dnsServices.value[i]
		ips := clusterIPs(s)
		if len(ips) == 0 {
			continue
		}
		described = append(described, fmt.Sprintf("%s/%s %s", s.Namespace, s.Name, strings.Join(ips, " ")))
		if s.Name == upstreamService {
			upstream = append(upstream, ips...)
		} else {
			servers = append(servers, ips...)
		}
	}
	spec := &known.document.Spec
	j := passed("")
	if len(described) == 0 {
		if len(spec.Cluster.DNSServers) == 0 {
			return unknown(errors.New("no Service of a cluster DNS was found (label k8s-app=kube-dns in kube-system, rke2-coredns*, openshift-dns/dns-default)"))
		}
		j.lacks(fmt.Errorf("no Service of a cluster DNS was found to compare %s with", strings.Join(spec.Cluster.DNSServers, ", ")))
		return j
	}
	for _, server := range spec.Cluster.DNSServers {
		if !containsAddress(servers, server) && !containsAddress(upstream, server) {
			j.fail("set cluster.dnsServers to the Service's address, or leave it out",
				"cluster.dnsServers has %s, which is no Service of the cluster DNS (%s)", server, strings.Join(described, ", "))
		}
	}
	for _, use := range nodeLocalUses(spec) {
		fallback := use.fallback
		switch {
		case use.fallbackSet:
		case len(upstream) > 0:
			fallback = upstream // what the server takes by itself
		case len(spec.Cluster.DNSServers) > 0:
			fallback = spec.Cluster.DNSServers
		default:
			fallback = servers
		}
		listens := f.cacheConfig[use.daemonSet].value.addresses()
		for _, server := range fallback {
			switch {
			case containsAddress(listens, server):
				do := "add the Service kube-dns-upstream of the node-local cache and name its address in fallbackServers"
				if len(upstream) > 0 {
					do = fmt.Sprintf("set fallbackServers to %s, the address of %s", strings.Join(upstream, ", "), upstreamService)
				}
				j.warn(do, "%s falls back to %s, on which the node-local cache listens too: when it dies, both are gone", use.at, server)
			case use.fallbackSet && !containsAddress(servers, server) && !containsAddress(upstream, server):
				j.warn("check that it serves the cluster's zone", "%s falls back to %s, which is no Service of the cluster DNS", use.at, server)
			}
		}
	}
	for _, contradiction := range f.contradictions() {
		j.warn("set spec.cluster in the policy to what is right", "%s", contradiction)
	}
	if j.status == Pass {
		j.found = strings.Join(described, ", ")
		if discovered := f.discovered(); len(spec.Cluster.DNSServers) == 0 && discovered != nil {
			j.found += "; the replicas found " + strings.Join(discovered.DNSServers, ", ")
		}
	}
	return j
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
		return unknown(errNoPolicy)
	}
	if f.clusterDNS.err != nil {
		return unknown(f.clusterDNS.err)
	}
	domain, from := known.document.Spec.Cluster.Domain, "cluster.domain is"
	if discovered := f.discovered(); domain == "" && discovered != nil {
		domain, from = discovered.Domain, "the replicas found"
	}
	zones := f.clusterDNS.value.clusterZones()
	switch {
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

// blocks are the server blocks of the cluster DNS, and what snippets add to
// the one for ".".
func (c *clusterDNSConfig) blocks() (blocks []sourcedBlock) {
	if c == nil {
		return nil
	}
	for _, corefile := range c.corefiles {
		if corefile.snippet {
			blocks = append(blocks, sourcedBlock{corefile.from, parseSnippet(corefile.text)})
			continue
		}
		for _, block := range parseCorefile(corefile.text) {
			blocks = append(blocks, sourcedBlock{corefile.from, block})
		}
	}
	return blocks
}

type sourcedBlock struct {
	from string
	serverBlock
}

// clusterZones are the zones of the kubernetes plugin, without those of
// reverse lookups.
func (c *clusterDNSConfig) clusterZones() []string {
	var zones []string
	for _, block := range c.blocks() {
		for _, arguments := range block.all("kubernetes") {
			if len(arguments) == 0 {
				arguments = block.zones
			}
			for _, argument := range arguments {
				if zone := zoneOf(argument); zone != "" && zone != "." && !isReverse(zone) && !slices.Contains(zones, zone) {
					zones = append(zones, zone)
				}
			}
		}
	}
	return zones
}

func isReverse(zone string) bool {
	return zone == "arpa" || strings.HasSuffix(zone, ".arpa") || strings.Contains(zone, "/")
}

// customZones are the zones that the cluster DNS serves besides its own, and
// where they are from.
func (c *clusterDNSConfig) customZones() map[string]string {
	zones := map[string]string{}
	cluster := c.clusterZones()
	add := func(zone, from string) {
		if zone != "" && zone != "." && !isReverse(zone) && !slices.Contains(cluster, zone) && zones[zone] == "" {
			zones[zone] = from
		}
	}
	for _, block := range c.blocks() {
		for _, zone := range block.zones {
			add(zone, block.from)
		}
		// Within the block of ".", these answer for names of their own.
		for _, name := range []string{"file", "auto", "template", "forward"} {
			for _, arguments := range block.all(name) {
				for _, argument := range ownZones(name, arguments) {
					add(argument, block.from+" ("+name+")")
				}
			}
		}
	}
	if c != nil {
		for _, domain := range c.stubDomains {
			add(zoneOf(domain), stubDomainsFrom)
		}
	}
	return zones
}

const stubDomainsFrom = "ConfigMap kube-system/kube-dns (stubDomains)"

// ownZones are the zones among a plugin's arguments: "forward FROM TO...",
// "file FILE ZONE...", "auto ZONE...", "template CLASS TYPE ZONE...".
func ownZones(name string, arguments []string) []string {
	from, to := 0, len(arguments)
	switch name {
	case "forward":
		to = 1
	case "file":
		from = 1
	case "template":
		from = 2
	}
	if to > len(arguments) || from >= to {
		return nil
	}
	var zones []string
	for _, argument := range arguments[from:to] {
		zones = append(zones, zoneOf(argument))
	}
	return zones
}

// judgeCustomZones finds zones that only the cluster DNS knows, where the
// node-local cache asks somebody else for them.
func judgeCustomZones(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(errNoPolicy)
	}
	uses := nodeLocalUses(&known.document.Spec)
	if len(uses) == 0 {
		return passed(notUsed)
	}
	if f.clusterDNS.err != nil {
		return unknown(f.clusterDNS.err)
	}
	custom := f.clusterDNS.value.customZones()
	if len(custom) == 0 {
		return passed("the cluster DNS has no zones of its own besides the cluster's")
	}
	if f.dnsServices.err != nil {
		return unknown(f.dnsServices.err)
	}
	var clusterServers []string
	for i := range f.dnsServices.value {
		clusterServers = append(clusterServers, clusterIPs(&f.dnsServices.value[i])...)
	}
	zones := make([]string, 0, len(custom))
	for zone := range custom {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	j := passed("the node-local cache asks the cluster DNS, or serves them itself: %s", some(zones))
	for _, name := range daemonSetNames(uses) {
		config := f.cacheConfig[name]
		if config.err != nil {
			j.lacks(config.err)
			continue
		}
		if config.value == nil || len(config.value.corefiles) == 0 {
			j.lacks(fmt.Errorf("DaemonSet %s: no Corefile was found, so it is not known where it asks for %s", name, some(zones)))
			continue
		}
		for _, zone := range zones {
			if custom[zone] == stubDomainsFrom && config.value.readsStubDomains {
				continue
			}
			if target := config.value.bypasses(zone, clusterServers); target != "" {
				j.warn("give the node-local cache a server block for each of them that forwards to the cluster DNS (or where the cluster DNS forwards them), "+
					"or let it forward . to the cluster DNS", "DaemonSet %s asks %s for %s, which only the cluster DNS knows (%s)", name, target, zone, custom[zone])
			}
		}
	}
	return j
}

// bypasses returns whom the cache asks for a zone, "" where it asks the
// cluster DNS or serves the zone in a block of its own.
func (c *cacheConfig) bypasses(zone string, clusterServers []string) string {
	var best *serverBlock
	length := -1
	for _, corefile := range c.corefiles {
		blocks := parseCorefile(corefile.text)
		for i := range blocks {
			for _, has := range blocks[i].zones {
				covers, weight := has == zone || strings.HasSuffix(zone, "."+has), len(has)
				if has == "." {
					covers, weight = true, 0
				}
				if covers && weight > length {
					best, length = &blocks[i], weight
				}
			}
		}
	}
	if best == nil || length > 0 {
		return ""
	}
	for _, arguments := range best.all("forward") {
		if len(arguments) < 2 || zoneOf(arguments[0]) != "." {
			continue
		}
		for _, target := range arguments[1:] {
			host := zoneOf(target)
			if target == "/etc/resolv.conf" || target == "__PILLAR__UPSTREAM__SERVERS__" {
				return "the upstream resolvers (" + target + ")"
			}
			if !strings.HasPrefix(target, "__PILLAR__CLUSTER__DNS") && !containsAddress(clusterServers, host) {
				return target
			}
		}
	}
	return ""
}
