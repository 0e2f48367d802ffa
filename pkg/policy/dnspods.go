package policy

import "slices"

// DNSPodLabel is a label by which pods that serve DNS are known.
type DNSPodLabel struct {
	Key string
	// Cache and Cluster are its values on pods of a node-local cache and of the
	// cluster DNS. Neither: any value, of the cluster DNS.
	Cache, Cluster []string
}

// dnsPodLabels are those of the manifests of kubeadm, kOps, kubespray, CCE, RKE2
// and OpenShift.
var dnsPodLabels = []DNSPodLabel{
	{"k8s-app", []string{"node-local-dns", "nodelocaldns"}, []string{"kube-dns", "coredns"}},
	{"app.kubernetes.io/name", []string{"node-local-dns"}, []string{"coredns", "rke2-coredns"}},
	{"dns.operator.openshift.io/daemonset-dns", nil, nil},
}

// DNSPodLabels returns the labels by which pods that serve DNS are known: any of
// them is enough. The caller must not change it.
func DNSPodLabels() []DNSPodLabel { return dnsPodLabels }

// DNSContainers returns the names of the containers that serve DNS in these pods, those
// of CoreDNS and its charts, of node-local-dns and of OpenShift, and parts of the names
// of their images. Beside them are proxies and exporters of metrics.
func DNSContainers() (names, images []string) {
	return []string{"coredns", "rke2-coredns", "node-cache", "node-local-dns", "nodelocaldns", "dns"}, []string{"coredns", "node-cache"}
}

// isDNSPod recognises the cluster DNS and the node-local cache.
func isDNSPod(pod *Pod) bool {
	if len(pod.Metadata.Labels) == 0 {
		return false
	}
	for i := range dnsPodLabels {
		label := &dnsPodLabels[i]
		value, found := pod.Metadata.Labels[label.Key]
		if found && (slices.Contains(label.Cache, value) || slices.Contains(label.Cluster, value) || len(label.Cache)+len(label.Cluster) == 0) {
			return true
		}
	}
	return false
}
