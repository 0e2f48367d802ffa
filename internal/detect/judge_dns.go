package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Words of findings about DNS.
const (
	aboutDomain  = "cluster-domain"
	aboutDNS     = "cluster-dns"
	aboutCache   = "node-local-cache"
	aboutManaged = "managed-cache"
	aboutKubelet = "kubelet"
	aboutLogs    = "dns-logs"
	aboutOutside = "upstream-dns" // doctor's check of that name asks the servers
)

// dns is what the objects tell of DNS.
type dns struct {
	o          *Objects
	caches     []nodecache.Cache
	redirects  []nodecache.Redirect
	discovered discovery.Result
	// cluster are the Services of the cluster DNS that somebody is behind, and
	// addresses those of all, idle ones too.
	cluster   []discovery.Service
	addresses []string
	// asked are the nameservers that kubelets give to pods.
	asked     []string
	askedFrom string
	// bypass is what takes packets to the cluster DNS's Service before a cache on
	// its address gets them, "" for nothing.
	bypass string
}

func dnsOf(o *Objects, flavour string) *dns {
	d := &dns{o: o}
	if flavour != gke { // its dataplane redirects to its cache by itself
		d.bypass = nodecache.ProxyOf(o.DaemonSets, o.ConfigMaps).Bypasses()
	}
	for i := range o.DaemonSets {
		if cache, is := nodecache.OfServer(&o.DaemonSets[i], o.corefilesOf(&o.DaemonSets[i])); is {
			d.caches = append(d.caches, cache)
		}
	}
	for i := range o.Redirects {
		if redirect, ok := nodecache.RedirectOf(&o.Redirects[i]); ok {
			d.redirects = append(d.redirects, redirect)
		}
	}
	facts := discovery.Facts{ResolvConf: o.ResolvConf, Caches: d.caches}
	if facts.ResolvConf == "" && len(o.Kubelets) > 0 {
		facts.ResolvConf = o.Kubelets[0].resolvConf()
	}
	for _, namespace := range discovery.Namespaces() {
		facts.Services = append(facts.Services, d.services(namespace)...)
	}
	for _, redirect := range d.redirects {
		facts.CacheServers = append(facts.CacheServers, redirect.Address.String())
	}
	d.discovered = discovery.Discover(facts)
	d.cluster, _ = discovery.DNSServices(facts.Services, d.caches)
	busy := slices.Clone(facts.Services)
	for i := range busy {
		busy[i].Idle = false
	}
	all, _ := discovery.DNSServices(busy, d.caches)
	for i := range all {
		d.addresses = append(d.addresses, all[i].ClusterIPs...)
	}
	d.asked, d.askedFrom = o.nameservers()
	return d
}

// services are those of a namespace, with whether nobody is behind them.
func (d *dns) services(namespace string) []discovery.Service {
	var found []discovery.Service
	for i := range d.o.Services {
		if d.o.Services[i].Namespace == namespace {
			found = append(found, discovery.ServiceOf(&d.o.Services[i]))
		}
	}
	var endpoints map[string]int
	if !d.o.isUnread("endpointslices") {
		endpoints = map[string]int{}
	}
	for i := range d.o.Slices {
		if s := &d.o.Slices[i]; s.Namespace == namespace && endpoints != nil {
			endpoints[s.Labels[discoveryv1.LabelServiceName]] += len(s.Endpoints)
		}
	}
	discovery.MarkIdle(found, endpoints)
	return found
}

// judge makes values and findings of it.
func (d *dns) judge(r *Result, flavour string) {
	d.judgeDomain(r)
	if servers := d.discovered.DNSServers; len(servers) > 0 {
		r.set(servers, d.sourceOf(d.discovered.DNSServersSource), "policy", "cluster", "dnsServers")
	} else {
		d.withoutClusterDNS(r, flavour)
	}
	for _, contradiction := range d.discovered.Contradictions {
		r.problem(aboutDNS, "%s", contradiction)
	}
	if len(d.asked) > 0 {
		r.found(aboutKubelet, "pods ask %s (%s)", strings.Join(d.asked, " and "), d.askedFrom)
	} else {
		r.unknown(aboutKubelet, "no kubelet could be asked whom pods ask",
			"kubectl exec POD -- cat /etc/resolv.conf | kubectl shorthop detect --resolv-conf - (a pod with dnsPolicy ClusterFirst)")
	}
	for i := range d.o.Kubelets {
		if k := &d.o.Kubelets[i]; d.o.ResolvConf == "" && len(without(d.asked, k.ClusterDNS)) > 0 {
			r.found(aboutKubelet, "pods do not ask the same on all nodes: %s has %s", k.From, strings.Join(k.ClusterDNS, " and "))
		}
	}
	d.judgeCaches(r, flavour)
	d.judgeLogs(r, flavour)
	d.judgeTemplate(r, flavour)
}

// sourceOf names what stands for a resolv.conf.
func (d *dns) sourceOf(source string) string {
	if strings.HasPrefix(source, "Service ") {
		return "the address of " + source
	}
	return "what pods ask: " + d.askedFrom
}

// judgeDomain takes the domain of kubelets, else of a resolv.conf, else the one
// zone of the cluster DNS.
func (d *dns) judgeDomain(r *Result) {
	files := d.clusterFiles()
	blocks, _ := corefile.Read(files) // what cannot be read, dns-logs tells
	zones, _ := corefile.ClusterZones(blocks)
	domain, from := d.discovered.Domain, d.askedFrom
	switch {
	case domain == "" && len(zones) == 1:
		domain, from = zones[0], "the zone of the cluster DNS ("+blocksFrom(blocks)+")"
	case domain == "" && len(zones) > 1:
		r.unknown(aboutDomain, "the cluster DNS serves "+strings.Join(zones, " and "), "take the clusterDomain that kubelets are started with; without policy.cluster.domain the server finds it out")
		return
	case domain == "":
		r.unknown(aboutDomain, "neither a kubelet nor a Corefile says it", "in a pod: the last of the search domains svc.DOMAIN in /etc/resolv.conf; without policy.cluster.domain the server finds it out there")
		return
	case len(zones) > 0 && !slices.Contains(zones, strings.ToLower(domain)):
		r.problem(aboutDomain, "%s has %s, the cluster DNS serves %s (%s)", from, domain, strings.Join(zones, " and "), blocksFrom(blocks))
	}
	if !validDomain(domain) {
		r.problem(aboutDomain, "%s has %q, which is no domain", from, domain)
		return
	}
	r.set(domain, from, "policy", "cluster", "domain")
}

// validDomain asks the policy's own check.
func validDomain(domain string) bool {
	document := &policy.InjectionPolicy{Spec: policy.Spec{Cluster: policy.Cluster{Domain: domain}}}
	document.Metadata.Name = "a"
	policy.SetDefaults(document)
	return len(policy.Validate(document)) == 0
}

// blocksFrom says where the block with the cluster's zone is.
func blocksFrom(blocks []corefile.Block) string {
	for i := range blocks {
		if len(blocks[i].All("kubernetes")) > 0 {
			return blocks[i].From
		}
	}
	return "its Corefile"
}

func (d *dns) withoutClusterDNS(r *Result, flavour string) {
	idle := len(d.addresses) > 0
	switch {
	case d.o.isUnread("services") && !idle:
		r.unknown(aboutDNS, "Services cannot be read",
			"take what pods have as nameserver in /etc/resolv.conf; without policy.cluster.dnsServers the server finds it out there")
	case flavour == gke && idle:
		r.found(aboutDNS, "no Service of a cluster DNS has an endpoint, as with Cloud DNS for GKE: there is no address to fall back to")
	case flavour == gke && len(d.asked) > 0:
		r.found(aboutDNS, "there is no Service of a cluster DNS, as with Cloud DNS for GKE: there is no address to fall back to")
	case idle:
		r.problem(aboutDNS, "no Service of a cluster DNS has an endpoint (%s)", strings.Join(d.addresses, ", "))
	default:
		r.unknown(aboutDNS, "no Service of a cluster DNS was found ("+discovery.KnownServices+")",
			"take what pods have as nameserver in /etc/resolv.conf; without policy.cluster.dnsServers the server finds it out there")
	}
}

// resolvConf is what the kubelet writes for a pod with dnsPolicy ClusterFirst.
func (k *Kubelet) resolvConf() string {
	if k.ClusterDomain == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "search a.svc.%[1]s svc.%[1]s %[1]s\n", k.ClusterDomain)
	for _, server := range k.ClusterDNS {
		b.WriteString("nameserver " + server + "\n")
	}
	return b.String()
}

// nameservers are those that kubelets give to pods, and where that is from.
func (o *Objects) nameservers() (servers []string, from string) {
	add := func(address, source string) {
		if _, err := netip.ParseAddr(address); err == nil && !contains(servers, address) {
			servers = append(servers, address)
		}
		if from == "" {
			from = source
		}
	}
	for line := range strings.Lines(o.ResolvConf) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			add(words[1], "resolv.conf of a pod")
		}
	}
	if len(servers) > 0 {
		return servers, from
	}
	for i := range o.Kubelets {
		for _, address := range o.Kubelets[i].ClusterDNS {
			add(address, o.Kubelets[i].From)
		}
	}
	if from == "" && len(o.Kubelets) > 0 {
		from = o.Kubelets[0].From
	}
	return servers, from
}

// IsPodResolvConf reports whether a text is what kubelet writes for a pod with
// dnsPolicy ClusterFirst.
func IsPodResolvConf(text string) bool {
	servers, _ := (&Objects{ResolvConf: text}).nameservers()
	return len(servers) > 0 && discovery.Discover(discovery.Facts{ResolvConf: text}).Domain != ""
}

// allAsk are the addresses of the list that pods of every kubelet ask.
func (d *dns) allAsk(addresses []string) []string {
	asked := shared(d.asked, addresses)
	if d.o.ResolvConf == "" {
		for i := range d.o.Kubelets {
			asked = shared(asked, d.o.Kubelets[i].ClusterDNS)
		}
	}
	return asked
}
