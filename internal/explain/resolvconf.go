package explain

import (
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// What is not known here is modelled by a stand-in, which is looked for in the
// result, to say what is missing there, and taken out of it.
const (
	// standInServer is of the discard-only prefix of RFC 6666.
	standInServer = "100::53"
	// standInWord stands for any entry of the node's file.
	standInWord = "?"
)

// resolvConfs is the resolv.conf of the pod as it is in the manifest, and as
// it is with the patch. host is the node's file, nil where it is not known. was
// and is say nothing but that on Windows.
func resolvConfs(cluster *policy.Cluster, namespace string, before, after *policy.Pod, host *resolver.ResolvConf) (e ResolvConf, was, is podResolvConf) {
	e.Notes = []string{}
	if before.IsWindows() {
		e.Notes = append(e.Notes, "The pod runs on Windows, which has no resolv.conf.")
		was.windows, is.windows = true, true
		return e, was, is
	}
	was = newResolvConf(cluster, namespace, before, host)
	is = newResolvConf(cluster, namespace, after, host)
	e.Before, e.After = was.conf, is.conf

	note := func(text string) { e.Notes = append(e.Notes, text) }
	switch {
	case was.clusterServers && is.clusterServers:
		note("The first nameservers are the cluster DNS, which is not known here: the policy has no spec.cluster.dnsServers (--cluster-dns).")
	case was.clusterServers:
		note("The first nameservers before are the cluster DNS, which is not known here: the policy has no spec.cluster.dnsServers (--cluster-dns).")
	}
	if was.clusterSearches || is.clusterSearches {
		note("The first three search domains are those of the cluster, which are not known here: the policy has no spec.cluster.domain (--cluster-domain).")
	}
	const nodeFlag = " They are not known here (--node-resolv-conf)."
	switch {
	case was.hostServers && is.hostServers:
		note("The pod uses the node's own resolv.conf, which is not known here (--node-resolv-conf).")
	case was.hostSearches && is.hostSearches:
		text := "The search domains of the node's own resolv.conf come " + was.hostSearchesPlace
		if is.hostSearchesPlace != was.hostSearchesPlace {
			text += " before and " + is.hostSearchesPlace + " after"
		}
		note(text + "." + nodeFlag)
	case was.hostSearches:
		note("The search domains of the node's own resolv.conf come " + was.hostSearchesPlace + " before and are gone after: list those that pods need in dns.extraSearches." + nodeFlag)
	}
	for _, text := range was.notes {
		if slices.Contains(is.notes, text) {
			note(text)
		} else {
			note("Before: " + text)
		}
	}
	for _, text := range is.notes {
		if !slices.Contains(was.notes, text) {
			note("After: " + text)
		}
	}
	return e, was, is
}

// podResolvConf is a resolv.conf without what is not known, and what that is.
type podResolvConf struct {
	conf resolver.ResolvConf
	// complete has stand-ins for the cluster's domain and servers.
	complete     resolver.ResolvConf
	notes        []string
	windows      bool // which has none
	hostServers  bool
	hostSearches bool
	// hostSearchesPlace is where hostSearches come, in words.
	hostSearchesPlace string
	clusterServers    bool
	clusterSearches   bool
}

func newResolvConf(cluster *policy.Cluster, namespace string, pod *policy.Pod, host *resolver.ResolvConf) podResolvConf {
	dns := resolver.PodDNS{Namespace: namespace, Policy: pod.Spec.DNSPolicy, HostNetwork: pod.Spec.HostNetwork}
	if config := pod.Spec.DNSConfig; config != nil {
		dns.Config = &resolver.DNSConfig{Nameservers: config.Nameservers, Searches: config.Searches}
		for _, option := range config.Options {
			dns.Config.Options = append(dns.Config.Options, resolver.Option{Name: option.Name, Value: option.Value})
		}
	}
	node := resolver.Node{ClusterDNS: cluster.DNSServers, ClusterDomain: cluster.Domain}
	if len(node.ClusterDNS) == 0 {
		node.ClusterDNS = []string{standInServer}
	}
	var p podResolvConf
	if host != nil {
		node.Host = *host
	} else {
		// Only to see what of the node's file gets through: in the result below
		// it must not count against kubelet's limits.
		probe := node
		probe.Host = resolver.ResolvConf{Nameservers: []string{standInWord}, Searches: []string{standInWord}}
		seen, _ := probe.ResolvConf(dns)
		p.hostServers = slices.Contains(seen.Nameservers, standInWord)
		at := slices.Index(seen.Searches, standInWord)
		p.hostSearches = at >= 0
		p.hostSearchesPlace = "last"
		if at < len(seen.Searches)-1 { // kubelet puts the pod's own behind them
			p.hostSearchesPlace = "between the cluster's and those of the pod's dnsConfig"
		}
	}
	bare := dns
	bare.Config = nil
	seen, _ := resolver.Node{ClusterDNS: []string{standInServer}}.ResolvConf(bare)
	usesCluster := slices.Contains(seen.Nameservers, standInServer)
	p.clusterServers = usesCluster && len(cluster.DNSServers) == 0
	p.clusterSearches = usesCluster && cluster.Domain == ""

	p.conf, p.notes = node.ResolvConf(dns)
	if node.ClusterDomain == "" {
		node.ClusterDomain = AssumedDomain
	}
	p.complete, _ = node.ResolvConf(dns)
	p.conf.Nameservers = slices.DeleteFunc(p.conf.Nameservers, func(s string) bool { return s == standInServer })
	return p
}
