// Package discovery finds the cluster domain and the addresses of the cluster
// DNS, so that a policy need not name them.
package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Where the answers come from. The first that has one wins; what spec.cluster
// says wins over all of it (pkg/policy).
//
//	cluster domain   the search domains of this pod's resolv.conf, which kubelet
//	                 writes for dnsPolicy ClusterFirst: <ns>.svc.<domain> svc.<domain>
//	cluster DNS      the nameservers beside them; one that is link-local or loopback is
//	                 a cache on the node, not the cluster DNS
//	                 the Service kube-system/kube-dns       kubeadm, EKS, GKE, AKS, k3s, kOps
//	                 the Service openshift-dns/dns-default  OpenShift
//	                 kube-system/coredns, rke2-coredns*     kubespray, RKE2
//	                 any in kube-system with the label k8s-app=kube-dns or coredns
//	upstream         the Service kube-system/kube-dns-upstream, of the manifests of
//	                 NodeLocal DNSCache and of GKE
const (
	systemNamespace    = "kube-system"
	openShiftNamespace = "openshift-dns"
	openShiftService   = "dns-default"
	upstreamService    = "kube-dns-upstream"

	portDNS = 53
)

// sourceResolvConf is the source of what this pod's resolv.conf says.
const sourceResolvConf = "resolv.conf"

// Service is what matters of a Service.
type Service struct {
	Namespace  string
	Name       string
	Labels     map[string]string
	ClusterIPs []string
	Ports      []int
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

// Discover makes a Result of facts.
func Discover(f Facts) Result {
	r := Result{Contradictions: []string{}}
	domain, nameservers := fromResolvConf(f.ResolvConf)
	if domain != "" {
		r.Domain, r.DomainSource = domain, sourceResolvConf
	}
	candidates := clusterDNS(f.Services)
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
	for _, s := range f.Services {
		if s.isUpstream() {
			r.UpstreamServers, r.UpstreamSource = s.ClusterIPs, s.source()
		}
	}

	if c := f.Configured.Domain; c != "" && r.Domain != "" && c != r.Domain {
		r.contradict("spec.cluster.domain is %s, but %s has %s", c, r.DomainSource, r.Domain)
	}
	if c := f.Configured.DNSServers; len(c) > 0 && len(r.DNSServers) > 0 && !overlap(c, r.DNSServers) {
		r.contradict("spec.cluster.dnsServers has %s, but %s has %s", strings.Join(c, " "), r.DNSServersSource, strings.Join(r.DNSServers, " "))
	}
	return r
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

// clusterDNS returns the Services that look like the cluster DNS, best first.
func clusterDNS(services []Service) []Service {
	var found []Service
	for _, s := range services {
		if s.rank() > 0 {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b Service) int {
		if a.rank() != b.rank() {
			return a.rank() - b.rank()
		}
		return strings.Compare(a.source(), b.source())
	})
	return found
}

// rank is 0 for a Service that is not the cluster DNS, and lower for one that
// is more likely to be.
func (s *Service) rank() int {
	switch app := s.Labels["k8s-app"]; {
	case !s.answers() || s.isUpstream():
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
		return 3
	}
	return 0
}

func (s *Service) isUpstream() bool {
	return s.Namespace == systemNamespace && s.Name == upstreamService && s.answers()
}

// answers reports whether the Service has an address, as a headless one has
// not, and the port of DNS, as one for metrics has not.
func (s *Service) answers() bool {
	return slices.Contains(s.Ports, portDNS) && len(s.ClusterIPs) > 0 &&
		!slices.ContainsFunc(s.ClusterIPs, func(address string) bool {
			_, err := netip.ParseAddr(address)
			return err != nil
		})
}

func (s *Service) source() string { return "Service " + s.Namespace + "/" + s.Name }

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
