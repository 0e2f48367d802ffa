package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// judgeKubeProxy tells how Services reach their pods.
func judgeKubeProxy(r *Result, o *Objects) {
	const about = "kube-proxy"
	switch proxy := nodecache.ProxyOf(o.DaemonSets, o.ConfigMaps); {
	case proxy.From == "":
		r.unknown(about, "no ConfigMap or argument of kube-proxy was found", "on a node: curl -s http://127.0.0.1:10249/proxyMode")
	case proxy.Mode == nodecache.CiliumInPlace:
		r.found(about, "none: Cilium takes its place (%s)", proxy.From)
	case proxy.Mode == "":
		r.found(about, "mode iptables, its default (%s)", proxy.From)
	default:
		r.found(about, "mode %s (%s)", proxy.Mode, proxy.From)
	}
}

// aboutHost is the word of findings about the API server's name, and of what kept
// its names from being known.
const aboutHost = "service-host"

// judgeHosts chooses the name that pods get for the API server:
//
//	the name                                            becomes
//	answers with the cluster's certificate for it       the value; the first that does
//	the same, but on EKS with public addresses alone    a suggestion: traffic would leave the VPC
//	anything else                                       a finding
func judgeHosts(r *Result, o *Objects, flavour string) {
	const about = aboutHost
	chosen := false
	for i := range o.Hosts {
		h := o.Hosts[i]
		h.Name = strings.ToLower(h.Name) // a kubeconfig of EKS has capitals, and a policy takes none
		at := fmt.Sprintf("%s:%d", h.Name, h.Port)
		switch {
		case h.Problem != "":
			r.found(about, "%s: %s", at, h.Problem)
		case chosen:
			r.found(about, "%s would do too (%s)", at, strings.Join(h.Addresses, ", "))
		case flavour == eks && allPublic(h.Addresses):
			r.Findings = append(r.Findings, Finding{About: about, Set: hostAsSet(&h),
				Found: at + " answers, and resolves to public addresses from here (" + strings.Join(h.Addresses, ", ") +
					"): without private access to the endpoint, pods would leave the VPC through NAT; enable it first, and look at what the name resolves to in a pod"})
			chosen = true
		default:
			chosen = true
			why := "in the API server's certificate, and answers with it; resolves to " + strings.Join(h.Addresses, ", ") + " from here"
			if allPublic(h.Addresses) {
				why += ", which is public: look at whether pods would leave your network, and pay for it"
			}
			r.set(h.Name, why, "policy", "serviceHost", "host")
			if h.Port != 443 {
				r.set(h.Port, "where it answers; the Service has 443", "policy", "serviceHost", "port")
			}
		}
	}
	if !chosen {
		how := "name a load balancer of the API servers in their certificate, and set policy.serviceHost.host"
		switch flavour {
		case gke:
			how = "GKE's certificate has addresses only, and its DNS endpoint is signed by somebody else: pods can do without the service host"
		case aks:
			how = "az aks show -g GROUP -n NAME --query fqdn (or privateFqdn), and set policy.serviceHost.host"
		case eks:
			how = "aws eks describe-cluster --name NAME --query cluster.endpoint, and set policy.serviceHost.host once private access is enabled"
		case talos:
			how = "the cluster's endpoint, if it is a name; KubePrism on localhost:7445 is for the node alone"
		}
		why := "no name of the API server was found that resolves and verifies from here"
		if i := slices.IndexFunc(o.Unread, func(u Unread) bool { return u.Resource == about }); i >= 0 {
			why = o.Unread[i].Why
		}
		r.unknown(about, why, how)
	}
}

func hostAsSet(h *Host) string {
	set := "policy.serviceHost.host=" + h.Name
	if h.Port != 443 {
		set += fmt.Sprintf(",policy.serviceHost.port=%d", h.Port)
	}
	return set
}

var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

func allPublic(addresses []string) bool {
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err != nil || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedAddressSpace.Contains(a.Unmap())
	})
}

// judgeNamespaces leaves out those that the platform runs itself, by their names.
func judgeNamespaces(r *Result, o *Objects, flavour string) {
	names := platformNames(o, flavour)
	if len(names) == 0 {
		return
	}
	defaults := new(policy.InjectionPolicy)
	policy.SetDefaults(defaults)
	excluded := slices.Clone(defaults.Spec.ExcludedNamespaces)
	for _, name := range names {
		if !slices.Contains(excluded, name) {
			excluded = append(excluded, name)
		}
	}
	why := "the defaults, and those that " + flavour + " runs itself"
	var prefixes []string
	for _, pattern := range platformNamespaces[flavour] {
		if strings.HasSuffix(pattern, "*") {
			prefixes = append(prefixes, pattern)
		}
	}
	if len(prefixes) > 0 {
		why += "; " + strings.Join(prefixes, " and ") + " would cover new ones too, but the API server then evaluates a condition for every pod of the cluster, less than a millisecond each, and a name costs nothing"
	}
	r.set(excluded, why, "policy", "excludedNamespaces")
}

// judgePlatform says what is special about platforms, besides DNS and the host.
func judgePlatform(r *Result, o *Objects, flavour string) {
	const about = "control-plane"
	switch flavour {
	case gke:
		r.set(10250, "private control planes of GKE reach 443 and 10250 of pods, and no other port without a firewall rule", "ports", "webhook")
	case aks:
		r.found(about, "the admissions enforcer is kept from editing the filter by an annotation, which the chart sets")
	case eks:
		if o.daemonSet("kube-system", "aws-node") == nil && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.About == aboutManaged }) {
			r.unknown(about, "there is no DaemonSet kube-system/aws-node, so the control plane may not reach the network of pods",
				"where that is an overlay network: --set hostNetwork=true,ports.webhook=10260,ports.metrics=10261,ports.health=10262")
		}
	case openShift:
		r.set("service-ca", "OpenShift's operator makes and renews the certificate", "certificates", "mode")
	case microShift:
		r.set("service-ca", "the service CA of MicroShift makes and renews the certificate", "certificates", "mode")
	}
}
