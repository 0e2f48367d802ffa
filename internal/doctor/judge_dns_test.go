package doctor

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
)

// dnsFaults are the cases of judge_dns.go.
func dnsFaults() map[string]fault {
	return map[string]fault{
		"the cache listens on its own fallback": {
			func(_ *testing.T, f *Facts) { f.cache().args[1] = "169.254.20.10,10.0.0.10" },
			"cluster-dns", Warn, "when it dies, both are gone (but for kube-proxy in mode ipvs and for Cilium in its place)", nil,
		},
		"the cache listens on its own fallback, and kube-proxy is known to leave it that": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1], f.proxy = "169.254.20.10,10.0.0.10", nodecache.Proxy{From: "ConfigMap kube-system/kube-proxy"}
			},
			"cluster-dns", Warn, "when it dies, both are gone", nil,
		},
		"the cache listens on its own fallback in vain, in mode ipvs": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1], f.proxy = "169.254.20.10,10.0.0.10", nodecache.Proxy{Mode: "ipvs", From: "ConfigMap kube-system/kube-proxy"}
			},
			"cluster-dns", Pass, "", nil,
		},
		"the cache has an upstream Service": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1] = "169.254.20.10,10.0.0.10"
				f.dnsServices.value = append(f.dnsServices.value, dnsServiceAt("kube-dns-upstream", "10.0.0.11"))
			},
			"cluster-dns", Pass, "kube-dns-upstream 10.0.0.11", nil,
		},
		"a fallback that is somebody else": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], fallbackServers: [192.0.2.53]") },
			"cluster-dns", Warn, "falls back to 192.0.2.53", nil,
		},
		"a server that no Service has": {
			func(_ *testing.T, f *Facts) {
				f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.12")}
			},
			"cluster-dns", Fail, "cluster.dnsServers has 10.0.0.10", nil,
		},
		"a dual-stack Service": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "[10.0.0.10]", `[10.0.0.10, "fd00::a"]`)
				f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.10", "fd00::000a")}
			},
			"cluster-dns", Pass, "", nil,
		},
		"no DNS Service": {
			func(_ *testing.T, f *Facts) { f.dnsServices.value = nil },
			"cluster-dns", Unknown, "no Service of a cluster DNS was found", nil,
		},
		"a cluster DNS without endpoints, which pods ask": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, ", dnsServers: [10.0.0.10]", "")
				f.dnsServices.value, f.idleServices = nil, f.dnsServices.value
				f.say(t, 0, `{"discovered": {"Domain": "cluster.local", "DNSServers": ["10.0.0.10"], "contradictions": []}}`)
			},
			"cluster-dns", Fail, "Service kube-system/kube-dns of the cluster DNS has no endpoints: nobody answers pods that ask 10.0.0.10", nil,
		},
		"a cluster DNS without endpoints, which the policy names": {
			func(_ *testing.T, f *Facts) { f.dnsServices.value, f.idleServices = nil, f.dnsServices.value },
			"cluster-dns", Fail, "cluster.dnsServers has 10.0.0.10, the address of Service kube-system/kube-dns, which has no endpoints", nil,
		},
		"a cluster DNS without endpoints, and nodes answer in its place": {
			func(_ *testing.T, f *Facts) {
				f.dnsServices.value, f.idleServices, f.dnsOnNodes.value = nil, f.dnsServices.value, true
			},
			"cluster-dns", Pass, "Service kube-system/kube-dns has no endpoints: the nodes answer at its address themselves", nil,
		},
		"a cluster DNS without endpoints, and nodes that may not be listed": {
			func(_ *testing.T, f *Facts) {
				f.dnsServices.value, f.idleServices, f.dnsOnNodes.err = nil, f.dnsServices.value, errors.New("needs list nodes")
			},
			"cluster-dns", Unknown, "whether nodes answer in its place is not known: needs list nodes", nil,
		},
		"a cluster DNS without endpoints, and nobody knows whom pods ask": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, ", dnsServers: [10.0.0.10]", "")
				f.dnsServices.value, f.idleServices = nil, f.dnsServices.value
			},
			"cluster-dns", Warn, "Service kube-system/kube-dns of the cluster DNS has no endpoints, and whom pods ask is not known", nil,
		},
		"a cluster DNS without endpoints, and pods ask their node": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, ", dnsServers: [10.0.0.10]", "")
				f.dnsServices.value, f.idleServices = nil, f.dnsServices.value
				f.say(t, 0, `{"discovered": {"Domain": "cluster.local", "contradictions": []}}`)
			},
			"cluster-dns", Unknown, "what pods ask on their node in its place is not seen from here", nil,
		},
		"a cluster DNS without endpoints, and pods ask somebody else": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, ", dnsServers: [10.0.0.10]", "")
				f.dnsServices.value, f.idleServices = nil, f.dnsServices.value
				f.say(t, 0, `{"discovered": {"Domain": "cluster.local", "DNSServers": ["192.0.2.53"], "contradictions": []}}`)
			},
			"cluster-dns", Pass, "no Service of the cluster DNS has endpoints; the replicas found 192.0.2.53", nil,
		},
		"a cluster DNS of which no pod is ready": {
			func(_ *testing.T, f *Facts) { f.endpoints = map[string]behind{"kube-system/kube-dns": {2, 0}} },
			"cluster-dns", Fail, "Service kube-system/kube-dns of the cluster DNS has 2 endpoints, none of which is ready: nobody answers at 10.0.0.10", nil,
		},
		"a cluster DNS of which one pod is ready": {
			func(_ *testing.T, f *Facts) { f.endpoints = map[string]behind{"kube-system/kube-dns": {2, 1}} },
			"cluster-dns", Pass, "", nil,
		},
		"a second DNS Service of which no pod is ready": {
			func(_ *testing.T, f *Facts) {
				f.dnsServices.value = append(f.dnsServices.value, dnsServiceAt("coredns", "10.0.0.12"))
				f.endpoints = map[string]behind{"kube-system/kube-dns": {2, 2}, "kube-system/coredns": {1, 0}}
			},
			"cluster-dns", Warn, "Service kube-system/coredns of the cluster DNS has 1 endpoint, none of which is ready", nil,
		},
		"no zones of its own, and a cache that cannot be read": {
			func(_ *testing.T, f *Facts) {
				f.daemonSets["kube-system/node-local-dns"] = fact[*appsv1.DaemonSet]{err: errors.New("needs get daemonsets")}
			},
			"custom-zones", Unknown, "no cache can be asked for zones: needs get daemonsets", []Check{"node-local-cache"},
		},
		"a cluster DNS without a Corefile": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value = &clusterDNSConfig{} },
			"cluster-domain", Unknown, "no Corefile", nil,
		},
		"a Corefile that CoreDNS does not load": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.corefiles[0].Text = "corp.test {\n log\n" },
			"cluster-domain", Unknown, "ConfigMap kube-system/coredns:2 - Syntax error", []Check{"custom-zones"},
		},
		"a Corefile of which a part names the zone": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.corefiles[0].Text += "corp.test {\n" },
			"custom-zones", Unknown, "ConfigMap kube-system/coredns:", nil,
		},
		"a domain that is a variable of CoreDNS's container": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles[0].Text = ". {\n kubernetes {$DOMAIN} in-addr.arpa\n}\n"
			},
			"cluster-domain", Unknown, "the zone {$DOMAIN} is a variable", []Check{"custom-zones"},
		},
		"a domain that the replicas found": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "domain: cluster.local, ", "")
				f.say(t, 0, `{"discovered": {"Domain": "k8s.test", "contradictions": []}}`)
			},
			"cluster-domain", Fail, "the replicas found k8s.test, the cluster DNS serves cluster.local", nil,
		},
		"a domain that nobody knows yet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "domain: cluster.local, ", "") },
			"cluster-domain", Pass, "leaves it to the replicas", nil,
		},
		"contradictions": {
			func(t *testing.T, f *Facts) {
				f.say(t, 0, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
				f.say(t, 1, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
			},
			"cluster-dns", Warn, "resolv.conf has another domain", nil,
		},
		"custom zones in a server block": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, corefile.File{From: "ConfigMap kube-system/coredns-custom", Snippet: false, Text: "corp.test {\n forward . 192.0.2.1\n}\n"})
			},
			"custom-zones", Warn, "asks the upstream resolvers (__PILLAR__UPSTREAM__SERVERS__) for corp.test, which only the cluster DNS knows (ConfigMap kube-system/coredns-custom)", nil,
		},
		"a snippet that forwards a zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, corefile.File{From: "x", Snippet: true, Text: "forward corp.test 192.0.2.1"})
			},
			"custom-zones", Warn, "for corp.test", nil,
		},
		"the cache forwards to the cluster DNS": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"corp.test"}
				f.cache().corefiles[0].Text = ". {\n forward . 10.0.0.10\n}\n"
			},
			"custom-zones", Pass, "corp.test", nil,
		},
		"the cache forwards to a variable of its container": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"corp.test"}
				f.cache().corefiles[0].Text = ". {\n forward . {$UPSTREAM}\n}\n"
			},
			"custom-zones", Unknown, "asks {$UPSTREAM} for corp.test, which only its container knows", nil,
		},
		"the cache has a block for the zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"eu.corp.test"}
				f.cache().corefiles[0].Text += "corp.test {\n forward . 192.0.2.1\n}\n"
			},
			"custom-zones", Pass, "eu.corp.test", nil,
		},
		"stub domains that the cache reads": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains, f.cache().readsStubDomains = []string{"corp.test"}, true
			},
			"custom-zones", Pass, "corp.test", nil,
		},
		"stub domains that the cache does not read": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.stubDomains = []string{"corp.test"} },
			"custom-zones", Warn, "stubDomains", nil,
		},
	}
}
