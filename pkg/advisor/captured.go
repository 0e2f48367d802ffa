package advisor

import (
	"slices"
	"strings"
)

// DNS capture of meshes: a proxy answers names of Services itself, and what it does
// not know it asks of the server, from the pod's address and with IDs of its own. So
// the log has names from outside only, and what else the pod looks up cannot be seen;
// nor do the queries show which resolver wrote them. Others pass all queries on, and
// only write them anew:
//
//	mark of a pod                                         what                names hidden  written anew
//	annotation ambient.istio.io/redirection: enabled      Istio, ambient      its own       in the cluster
//	label istio.io/dataplane-mode: ambient                Istio, ambient      its own       in the cluster
//	container istio-proxy                                 Istio, sidecar      its own       in the cluster
//	annotation kuma.io/sidecar-injected, kuma-sidecar     Kuma                its own       in the cluster
//	container consul-dataplane                            Consul              its own       in the cluster
//	label app=ztunnel                                     Istio, ambient      none          in the cluster
//	label k8s-app=cilium, or name cilium-agent            Cilium              none          in the cluster, under
//	                                                                                        rules for DNS
//
// Whether capture is on is a setting of the mesh. Where it is off, names of the
// cluster are in the log, and the marks mean nothing for what is hidden. Cilium writes
// queries anew only under a network policy with rules for DNS. Its policies say so, if
// the lists have them (with any, all are taken to be there); else an agent is enough for
// the hint, which has to be right, and says nothing about hidden names.

// captured tells whether names that a pod asks for may not reach the log.
func (p *Pod) captured() bool {
	annotations := p.Metadata.Annotations
	if annotations["ambient.istio.io/redirection"] == "enabled" || annotations["kuma.io/sidecar-injected"] == "true" || p.Metadata.Labels["istio.io/dataplane-mode"] == "ambient" {
		return true
	}
	return slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c Container) bool {
		return c.Name == "istio-proxy" || c.Name == "kuma-sidecar" || c.Name == "consul-dataplane"
	})
}

// rewritesQueries tells whether a pod is, or has beside it, something that may take
// the queries of pods and write them anew.
func (p *Pod) rewritesQueries() bool {
	return p.captured() || p.Metadata.Labels["app"] == "ztunnel"
}

// isCilium tells whether a pod is Cilium's agent.
func (p *Pod) isCilium() bool {
	return p.Metadata.Labels["k8s-app"] == "cilium" || p.Metadata.Labels["app.kubernetes.io/name"] == "cilium-agent"
}

// captureFloor is the lowest ndots where DNS is captured: it keeps the search list
// for all names of Services and their pods.
const captureFloor = 4

// onlyOutside tells whether no lookup has an answer in the cluster's domain, and
// some have one outside.
func onlyOutside(lookups []lookup, domain string) bool {
	answers := false
	for i := range lookups {
		l := &lookups[i]
		if l.end < 0 && !l.rooted() {
			continue
		}
		name := strings.TrimSuffix(l.name, ".")
		if l.end >= 0 {
			name = l.steps[l.end].name
		}
		if domain != "" && strings.HasSuffix(name, "."+domain) {
			return false
		}
		answers = true
	}
	return answers
}
