// Package discovery finds the cluster domain and the addresses of the cluster
// DNS, so that a policy need not name them.
package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Where the answers come from. The first that has one wins; what spec.cluster
// says wins over all of it (pkg/policy).
//
//	cluster domain   the search domains of this pod's resolv.conf, which kubelet
//	                 writes for dnsPolicy ClusterFirst: <ns>.svc.<domain> svc.<domain>
//	cluster DNS      the nameservers beside them; but not a cache on the node: link-local or
//	                 loopback, an address that the policy or a cache's DaemonSet says is a cache's, a
//	                 unique local address (fc00::/7) that no Service below has
//	                 the Service kube-system/kube-dns       kubeadm, EKS, GKE, AKS, k3s, kOps
//	                 the Service openshift-dns/dns-default  OpenShift
//	                 kube-system/coredns, rke2-coredns*     kubespray, RKE2
//	                 any in kube-system with the label k8s-app=kube-dns or coredns
//	upstream         the Service that a cache's DaemonSet names with -upstreamsvc
//	                 the Service kube-system/kube-dns-upstream, of the manifests of
//	                 NodeLocal DNSCache and of GKE
//
// A Service without any endpoint, ready or not, is none of them: where a platform
// has taken over DNS (GKE with Cloud DNS), the old Service stays, with its pods
// scaled to zero. A Service whose pods all fail still has endpoints that are not
// ready, and counts.
const (
	systemNamespace    = "kube-system"
	openShiftNamespace = "openshift-dns"
	openShiftService   = "dns-default"

	portDNS = 53
)

// UpstreamService is the name of the Service through which node-local caches
// reach the cluster DNS.
const UpstreamService = "kube-dns-upstream"

// Namespaces are those in which Services are looked for.
func Namespaces() []string { return []string{systemNamespace, openShiftNamespace} }

// KnownServices says in words which Services are taken for the cluster DNS.
const KnownServices = "kube-dns, coredns, rke2-coredns* or the label k8s-app=kube-dns or coredns in kube-system, openshift-dns/dns-default; with port 53"

// sourceResolvConf is the source of what this pod's resolv.conf says.
const sourceResolvConf = "resolv.conf"

// Service is the part of a Kubernetes Service that is read.
type Service struct {
	Namespace  string
	Name       string
	Labels     map[string]string
	ClusterIPs []string
	Ports      []int
	// Idle is true where the Service is known to have no endpoint, not even one that
	// is not ready.
	Idle bool
}

// MarkIdle sets Idle of Services, which must be of one namespace. endpoints is the
// number of endpoints by the name of the Service, nil where that is not known.
func MarkIdle(services []Service, endpoints map[string]int) {
	for i := range services {
		services[i].Idle = endpoints != nil && endpoints[services[i].Name] == 0
	}
}

// AnswersDNS reports whether a node with these labels answers at the address of the
// cluster DNS itself: those of EKS Auto Mode do.
func AnswersDNS(node map[string]string) bool { return node["eks.amazonaws.com/compute-type"] == "auto" }

// ServiceOf returns the part of the API's object that is read, without Idle.
func ServiceOf(s *corev1.Service) Service {
	found := Service{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, ClusterIPs: s.Spec.ClusterIPs}
	if len(found.ClusterIPs) == 0 && s.Spec.ClusterIP != "" {
		found.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	for i := range s.Spec.Ports {
		found.Ports = append(found.Ports, int(s.Spec.Ports[i].Port))
	}
	return found
}

// Facts are what a Result is made from.
type Facts struct {
	// ResolvConf is the text of this pod's resolv.conf; empty where there is
	// none, or one of another cluster.
	ResolvConf string
	// Services are those of kube-system and openshift-dns, as far as they can
	// be read.
	Services []Service
	// Configured is spec.cluster, to find contradictions to it.
	Configured policy.Cluster
	// CacheServers are the addresses that the policy says are those of caches.
	CacheServers []string
	// Caches are what DaemonSets of caches tell, as far as they are known.
	Caches []nodecache.Cache
}

// Result is what was found, and where.
type Result struct {
	policy.Discovered

	DomainSource     string `json:"domainSource,omitzero"`
	DNSServersSource string `json:"dnsServersSource,omitzero"`
	UpstreamSource   string `json:"upstreamServersSource,omitzero"`
	// Contradictions are for the operator to resolve. Nothing is changed
	// because of them.
	Contradictions []string `json:"contradictions"`
}

// Discover derives a Result from facts.
func Discover(f Facts) Result {
	r := Result{Contradictions: []string{}}
	domain, nameservers := fromResolvConf(f.ResolvConf)
	if domain != "" {
		r.Domain, r.DomainSource = domain, sourceResolvConf
	}
	candidates, upstream := DNSServices(f.Services, f.Caches)
	nameservers = slices.DeleteFunc(nameservers, func(address string) bool { return f.isCache(address, candidates) })
	switch {
	case len(nameservers) > 0:
		r.DNSServers, r.DNSServersSource = nameservers, sourceResolvConf
		if len(candidates) > 0 && !slices.ContainsFunc(candidates, func(s Service) bool { return overlap(s.ClusterIPs, nameservers) }) {
			r.contradict("resolv.conf has the nameservers %s, but %s has %s",
				strings.Join(nameservers, " "), candidates[0].source(), strings.Join(candidates[0].ClusterIPs, " "))
		}
	case len(candidates) > 0:
		r.DNSServers, r.DNSServersSource = candidates[0].ClusterIPs, candidates[0].source()
		if len(candidates) > 1 && candidates[0].rank() == candidates[1].rank() {
			r.contradict("%s and %s both look like the cluster DNS; the first is used", candidates[0].source(), candidates[1].source())
		}
	}
	if len(upstream) > 0 {
		r.UpstreamServers, r.UpstreamSource = upstream[0].ClusterIPs, upstream[0].source()
	}

	if c := f.Configured.Domain; c != "" && r.Domain != "" && c != r.Domain {
		r.contradict("spec.cluster.domain is %s, but %s has %s", c, r.DomainSource, r.Domain)
	}
	if c := f.Configured.DNSServers; len(c) > 0 && len(r.DNSServers) > 0 && !overlap(c, r.DNSServers) {
		r.contradict("spec.cluster.dnsServers has %s, but %s has %s", strings.Join(c, " "), r.DNSServersSource, strings.Join(r.DNSServers, " "))
	}
	return r
}

// isCache reports whether a nameserver of resolv.conf is a cache on the node. With
// kube-proxy in iptables mode a cache listens on the cluster DNS's address as well,
// so what a cache listens on tells them apart only where Services are known.
func (f *Facts) isCache(nameserver string, candidates []Service) bool {
	address, err := netip.ParseAddr(nameserver)
	if err != nil || slices.ContainsFunc(candidates, func(s Service) bool { return has(s.ClusterIPs, address) }) {
		return false
	}
	return has(f.CacheServers, address) ||
		len(f.Services) > 0 && slices.ContainsFunc(f.Caches, func(c nodecache.Cache) bool { return has(c.LocalIPs, address) }) ||
		len(candidates) > 0 && address.Is6() && address.IsPrivate()
}

func has(addresses []string, wanted netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(text string) bool {
		address, err := netip.ParseAddr(text)
		return err == nil && address == wanted
	})
}

func (r *Result) contradict(format string, args ...any) {
	r.Contradictions = append(r.Contradictions, fmt.Sprintf(format, args...))
}

// fromResolvConf returns the cluster domain, and the nameservers beside it
// that can be the cluster DNS. A file without the search domains of a cluster
// is the node's, and its nameservers are of no interest.
func fromResolvConf(text string) (domain string, nameservers []string) {
	conf, err := resolver.ParseResolvConf(text)
	if err != nil {
		return "", nil
	}
	for _, search := range conf.Searches {
		candidate, found := strings.CutPrefix(search, "svc.")
		if found && len(validation.IsDNS1123Subdomain(candidate)) == 0 && hasNamespace(conf.Searches, candidate) {
			domain = candidate
			break
		}
	}
	if domain == "" {
		return "", nil
	}
	for _, nameserver := range conf.Nameservers {
		address, err := netip.ParseAddr(nameserver)
		if err == nil && !address.IsLinkLocalUnicast() && !address.IsLoopback() {
			nameservers = append(nameservers, nameserver)
		}
	}
	return domain, nameservers
}

// hasNamespace reports whether a search domain is that of a namespace.
func hasNamespace(searches []string, domain string) bool {
	return slices.ContainsFunc(searches, func(search string) bool {
		namespace, found := strings.CutSuffix(search, ".svc."+domain)
		return found && len(validation.IsDNS1123Label(namespace)) == 0
	})
}

// DNSServices picks, of all Services, those that look like the cluster DNS, the most
// likely first, and those through which a node-local cache reaches it, beginning with
// those that a cache names. It is the one place that recognises them: doctor and
// detect call it too.
func DNSServices(services []Service, caches []nodecache.Cache) (cluster, upstream []Service) {
	named := func(s *Service) bool {
		return slices.ContainsFunc(caches, func(c nodecache.Cache) bool { return c.Namespace == s.Namespace && c.Upstream == s.Name })
	}
	for _, s := range services {
		switch rank := s.rank(); {
		// A cache may name the cluster DNS's own Service, kube-dns or coredns: that one
		// stays the cluster DNS.
		case named(&s) && s.answers() && (rank == 0 || rank == rankLabel):
			upstream = slices.Insert(upstream, 0, s)
		case s.isUpstream():
			upstream = append(upstream, s)
		case rank > 0:
			cluster = append(cluster, s)
		}
	}
	slices.SortFunc(cluster, func(a, b Service) int {
		if a.rank() != b.rank() {
			return a.rank() - b.rank()
		}
		return strings.Compare(a.source(), b.source())
	})
	return cluster, upstream
}

// rankLabel is the rank of a Service that only a label tells.
const rankLabel = 3

// rank is 0 for a Service that is not the cluster DNS, and lower for one that
// is more likely to be.
func (s *Service) rank() int {
	switch app := s.Labels["k8s-app"]; {
	case !s.answers():
		return 0
	case s.Namespace == openShiftNamespace && s.Name == openShiftService:
		return 1
	case s.Namespace != systemNamespace:
		return 0
	case s.Name == "kube-dns":
		return 1
	case s.Name == "coredns" || strings.HasPrefix(s.Name, "rke2-coredns"):
		return 2
	case app == "kube-dns" || app == "coredns":
		return rankLabel
	}
	return 0
}

func (s *Service) isUpstream() bool {
	return s.Namespace == systemNamespace && s.Name == UpstreamService && s.answers()
}

// answers reports whether pods can send queries to the Service: it has an address (a
// headless one has none), the port of DNS (one for metrics has another), and
// endpoints, as far as these are known.
func (s *Service) answers() bool {
	return !s.Idle && slices.Contains(s.Ports, portDNS) && len(s.ClusterIPs) > 0 &&
		!slices.ContainsFunc(s.ClusterIPs, func(address string) bool {
			_, err := netip.ParseAddr(address)
			return err != nil
		})
}

func (s *Service) source() string { return "Service " + s.Namespace + "/" + s.Name }

// overlap reports whether two lists have an address in common.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(text string) bool {
		address, err := netip.ParseAddr(text)
		return err == nil && has(b, address)
	})
}
