package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits of kubelet for the file that it composes: it leaves out what exceeds
// them. The API server has the same ones for a pod's dnsConfig by itself (but
// does not count a domain's trailing dot), and rejects the pod.
const (
	// MaxNameservers is how many nameservers a pod gets.
	MaxNameservers = 3
	// MaxSearches is how many search domains a pod gets.
	MaxSearches = 32
	// MaxSearchListLength is how long the search domains may be together,
	// with one space between any two.
	MaxSearchListLength = 2048
	// MaxSearchLength is how long a single search domain may be.
	MaxSearchLength = 253
)

// Node is what kubelet knows about DNS on its node.
type Node struct {
	// ClusterDNS is kubelet's --cluster-dns (clusterDNS): IP addresses. Like
	// kubelet, the model skips what is not one, and writes the others in their
	// canonical form.
	ClusterDNS []string
	// ClusterDomain is kubelet's --cluster-domain (clusterDomain). Empty means
	// that pods get no cluster search domains.
	ClusterDomain string
	// Host is the file that kubelet's --resolv-conf (resolvConf) names, as
	// [ParseResolvConf] reads it. The file need not be /etc/resolv.conf.
	Host ResolvConf
	// NoHostFile says that kubelet runs with --resolv-conf="". Host is then
	// ignored, and pods that would get the node's settings get a loopback
	// nameserver and the search domain ".", so that nothing resolves.
	NoHostFile bool
	// IPs are kubelet's --node-ip. They matter only with NoHostFile, where each
	// stands for one loopback nameserver of its family. None means one of IPv4.
	IPs []string
}

// PodDNS is the part of a pod that kubelet looks at.
type PodDNS struct {
	// Namespace is the pod's namespace.
	Namespace string
	// Policy is spec.dnsPolicy. Empty means ClusterFirst, as the API server
	// and kubelet (for static pods) default it.
	Policy string
	// HostNetwork is spec.hostNetwork.
	HostNetwork bool
	// Config is spec.dnsConfig. nil and empty differ: only with a dnsConfig,
	// even an empty one, does kubelet remove duplicates from the node's file.
	Config *DNSConfig
}

// DNSConfig is a pod's spec.dnsConfig.
type DNSConfig struct {
	Nameservers []string
	Searches    []string
	Options     []Option
}

// Option is one entry of spec.dnsConfig.options.
type Option struct {
	// Name is written as it is. kubelet does not split "ndots:2" in a name, and
	// so does not see that it contradicts another ndots.
	Name string
	// Value is appended after a colon. nil and empty both give the bare name.
	Value *string
}

// base names the settings to which a pod's dnsConfig is added.
type base int

const (
	baseCluster base = iota // cluster DNS, cluster and node search domains, ndots:5
	baseHost                // the node's file
	baseNone                // nothing
)

// ResolvConf returns the resolv.conf that kubelet gives to the container
// runtime for a pod on this node (GetPodDNS), and notes for a human on what
// happened that the pod's author may not expect, in kubelet's order. A note
// that stands for an event of kubelet's starts with the event's reason,
// MissingClusterDNS or DNSConfigForming; its wording is ours.
//
// The order of the options is explained at [ResolvConf]. If the same option is
// left twice, which only an option name with a colon in it can bring about, the
// order decides what resolvers make of it: a note says so.
func (n Node) ResolvConf(p PodDNS) (conf ResolvConf, notes []string) {
	conf, notes = n.baseConf(p)
	if p.Config != nil {
		conf = merge(conf, *p.Config)
	}
	var cut []string
	if conf.Nameservers, cut = limitNameservers(conf.Nameservers); len(cut) > 0 {
		notes = append(notes, fmt.Sprintf("DNSConfigForming: more than %d nameservers, left out: %s",
			MaxNameservers, strings.Join(cut, " ")))
	}
	if conf.Searches, cut = limitSearches(conf.Searches); len(cut) > 0 {
		notes = append(notes, fmt.Sprintf(
			"DNSConfigForming: more than %d search domains, %d characters in one or %d in all, left out: %s",
			MaxSearches, MaxSearchLength, MaxSearchListLength, strings.Join(cut, " ")))
	}
	for _, name := range repeated(conf.Options) {
		notes = append(notes, fmt.Sprintf("option %s is set more than once, and kubelet's order of options is random", name))
	}
	return conf, notes
}

// baseOf picks the base from dnsPolicy (getPodDNSType):
//
//	dnsPolicy                 pod network   host network
//	ClusterFirst, ""          cluster       host
//	ClusterFirstWithHostNet   cluster       cluster
//	Default                   host          host
//	None                      none          none
//	anything else             cluster       cluster         known is false
//
// An empty policy is in the first row because defaulting happens before kubelet
// looks. The API server lets no pod of the last row in.
func baseOf(policy string, hostNetwork bool) (b base, known bool) {
	switch policy {
	case "", "ClusterFirst":
		if hostNetwork {
			return baseHost, true
		}
		return baseCluster, true
	case "ClusterFirstWithHostNet":
		return baseCluster, true
	case "Default":
		return baseHost, true
	case "None":
		return baseNone, true
	default:
		return baseCluster, false
	}
}

// baseConf is the file before the pod's dnsConfig (GetPodDNS,
// generateSearchesForDNSClusterFirst). In a cluster pod the node's nameservers
// and options are gone and its search domains stay, last.
func (n Node) baseConf(p PodDNS) (conf ResolvConf, notes []string) {
	b, known := baseOf(p.Policy, p.HostNetwork)
	if !known {
		notes = append(notes, fmt.Sprintf("dnsPolicy %q is unknown, kubelet takes it for ClusterFirst on the pod network", p.Policy))
	}
	if b == baseNone {
		return ResolvConf{}, notes
	}
	host := ResolvConf{
		Nameservers: slices.Clone(n.Host.Nameservers),
		Searches:    slices.Clone(n.Host.Searches),
		Options:     slices.Clone(n.Host.Options),
	}
	if n.NoHostFile {
		host = ResolvConf{}
	}
	if b == baseCluster {
		servers, invalid := canonicalIPs(n.ClusterDNS)
		if len(invalid) > 0 {
			notes = append(notes, fmt.Sprintf("kubelet's clusterDNS has entries that are no IP address, left out: %q", invalid))
		}
		if len(servers) > 0 {
			searches := host.Searches
			if domain := n.ClusterDomain; domain != "" {
				searches = unique(slices.Concat([]string{p.Namespace + ".svc." + domain, "svc." + domain, domain}, searches))
			}
			return ResolvConf{Nameservers: servers, Searches: searches, Options: []string{"ndots:5"}}, notes
		}
		notes = append(notes, "MissingClusterDNS: kubelet has no cluster DNS address, so the pod is treated as with dnsPolicy Default")
	}
	if n.NoHostFile {
		return ResolvConf{Nameservers: loopbacks(n.IPs), Searches: []string{"."}}, notes
	}
	return host, notes
}

// merge adds a pod's dnsConfig (appendDNSConfig, mergeDNSOptions). Duplicates
// are found by plain comparison: "corp" and "corp." are two search domains.
func merge(conf ResolvConf, config DNSConfig) ResolvConf {
	return ResolvConf{
		Nameservers: unique(slices.Concat(conf.Nameservers, config.Nameservers)),
		Searches:    unique(slices.Concat(conf.Searches, config.Searches)),
		Options:     mergeOptions(conf.Options, config.Options),
	}
}

// mergeOptions lays a pod's options over those of the base. A base option is
// split at its first colon, a pod's is not: its name is the whole name.
func mergeOptions(base []string, options []Option) []string {
	var names []string
	values := make(map[string]string, len(base)+len(options))
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = value
	}
	for _, word := range base {
		name, value, _ := strings.Cut(word, ":")
		set(name, value)
	}
	for _, option := range options {
		value := ""
		if option.Value != nil {
			value = *option.Value
		}
		set(option.Name, value)
	}
	for i, name := range names {
		if value := values[name]; value != "" {
			names[i] = name + ":" + value
		}
	}
	return names
}

// limitNameservers keeps the first nameservers (formDNSNameserversFitsLimits).
func limitNameservers(servers []string) (kept, cut []string) {
	if len(servers) <= MaxNameservers {
		return servers, nil
	}
	return servers[:MaxNameservers:MaxNameservers], servers[MaxNameservers:]
}

// limitSearches applies the three limits in kubelet's order
// (formDNSSearchFitsLimits): first the number, then the length of each domain,
// then the length of the list. So a domain that is too long still uses up one
// of the places.
func limitSearches(searches []string) (kept, cut []string) {
	length := -1 // the first domain has no space before it
	for i, domain := range searches {
		if i >= MaxSearches || len(domain) > MaxSearchLength {
			cut = append(cut, domain)
			continue
		}
		// It only grows: after one domain that does not fit, none does.
		if length += 1 + len(domain); length > MaxSearchListLength {
			cut = append(cut, domain)
			continue
		}
		kept = append(kept, domain)
	}
	return kept, cut
}

// canonicalIPs reads kubelet's --cluster-dns. The forms differ from those of
// [netip.ParseAddr] in that kubelet accepts leading zeros in IPv4 octets, as
// decimal, and no zones.
func canonicalIPs(texts []string) (ips, invalid []string) {
	for _, text := range texts {
		addr, err := netip.ParseAddr(trimOctets(text))
		if err != nil || addr.Zone() != "" {
			invalid = append(invalid, text)
			continue
		}
		ips = append(ips, addr.Unmap().String())
	}
	return ips, invalid
}

// trimOctets cuts the leading zeros of a dotted IPv4 address, alone or at the
// end of an IPv6 address.
func trimOctets(ip string) string {
	start := strings.LastIndexByte(ip, ':') + 1
	octets := strings.Split(ip[start:], ".")
	if len(octets) == 1 {
		return ip
	}
	for i, octet := range octets {
		if trimmed := strings.TrimLeft(octet, "0"); trimmed != "" {
			octets[i] = trimmed
		} else if octet != "" {
			octets[i] = "0"
		}
	}
	return ip[:start] + strings.Join(octets, ".")
}

// loopbacks are the nameservers of pods under --resolv-conf="".
func loopbacks(nodeIPs []string) []string {
	ips, _ := canonicalIPs(nodeIPs)
	if len(ips) == 0 {
		return []string{"127.0.0.1"}
	}
	for i, ip := range ips {
		if strings.Contains(ip, ":") {
			ips[i] = "::1"
		} else {
			ips[i] = "127.0.0.1"
		}
	}
	return ips
}

// unique keeps the first of equal entries (omitDuplicates).
func unique(entries []string) []string {
	var kept []string
	seen := make(map[string]bool, len(entries))
	for _, entry := range entries {
		if !seen[entry] {
			seen[entry] = true
			kept = append(kept, entry)
		}
	}
	return kept
}

// repeated lists the option names that resolvers find more than once.
func repeated(options []string) []string {
	var names []string
	count := make(map[string]int, len(options))
	for _, option := range options {
		name, _, _ := strings.Cut(option, ":")
		if count[name]++; count[name] == 2 {
			names = append(names, name)
		}
	}
	return names
}
