package detect

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/nodecache"
)

// flavour is how a cluster was made or is run. signs are tried in this order: a
// platform before the tools that it is made with.
//
//	flavour       a label of its nodes                  in kubelet's version   else
//	MicroShift    -                                                            the ConfigMap kube-public/microshift-version
//	OpenShift     node.openshift.io/os_id                                      the Service openshift-dns/dns-default
//	GKE           cloud.google.com/gke-nodepool         -gke.
//	AKS           kubernetes.azure.com/cluster
//	EKS           eks.amazonaws.com/nodegroup,          -eks-
//	              eks.amazonaws.com/compute-type
//	ACK           alibabacloud.com/nodepool-id          -aliyun.
//	CCE           cce.cloud.com/cce-nodepool            -CCE
//	TKE           cloud.tencent.com/node-instance-id    -tke.
//	DigitalOcean  doks.digitalocean.com/node-pool
//	Gardener      worker.gardener.cloud/pool
//	Deckhouse     node.deckhouse.io/group
//	IKS           ibm-cloud.kubernetes.io/worker-id     +IKS
//	kOps          kops.k8s.io/instancegroup
//	Kapsule       k8s.scaleway.com/kapsule
//	MicroK8s      microk8s.io/cluster
//	minikube      minikube.k8s.io/name
//	RKE2          -                                     +rke2
//	k3s           -                                     +k3s
//	k0s           -                                     +k0s
//	Talos         -                                                            the image of its nodes
//	kubespray     -                                                            a cache on 169.254.25.10
//	kubeadm       -                                                            the ConfigMap kube-system/kubeadm-config
var signs = []struct {
	flavour string
	labels  []string
	version string
	other   func(*Objects) string
}{
	{microShift, nil, "", func(o *Objects) string {
		if o.configMap(microShiftVersion[0], microShiftVersion[1]) != nil {
			return "there is the ConfigMap " + strings.Join(microShiftVersion[:], "/")
		}
		return ""
	}},
	{openShift, []string{"node.openshift.io/os_id"}, "", func(o *Objects) string {
		for i := range o.Services {
			if s := &o.Services[i]; s.Namespace == "openshift-dns" && s.Name == "dns-default" {
				return "there is the Service openshift-dns/dns-default"
			}
		}
		return ""
	}},
	{gke, []string{"cloud.google.com/gke-nodepool"}, "-gke.", nil},
	{aks, []string{"kubernetes.azure.com/cluster"}, "", nil},
	{eks, []string{"eks.amazonaws.com/nodegroup", eksComputeType}, "-eks-", nil},
	{ack, []string{"alibabacloud.com/nodepool-id"}, "-aliyun.", nil},
	{"CCE", []string{"cce.cloud.com/cce-nodepool"}, "-CCE", nil},
	{"TKE", []string{"cloud.tencent.com/node-instance-id"}, "-tke.", nil},
	{"DigitalOcean", []string{"doks.digitalocean.com/node-pool"}, "", nil},
	{"Gardener", []string{"worker.gardener.cloud/pool"}, "", nil},
	{"Deckhouse", []string{"node.deckhouse.io/group"}, "", nil},
	{"IKS", []string{"ibm-cloud.kubernetes.io/worker-id"}, "+IKS", nil},
	{"kOps", []string{"kops.k8s.io/instancegroup"}, "", nil},
	{"Kapsule", []string{"k8s.scaleway.com/kapsule"}, "", nil},
	{"MicroK8s", []string{"microk8s.io/cluster"}, "", nil},
	{"minikube", []string{"minikube.k8s.io/name"}, "", nil},
	{"RKE2", nil, "+rke2", nil},
	{"k3s", nil, "+k3s", nil},
	{"k0s", nil, "+k0s", nil},
	{talos, nil, "", func(o *Objects) string {
		for i := range o.Nodes {
			if image := o.Nodes[i].Status.NodeInfo.OSImage; strings.HasPrefix(image, "Talos") {
				return "the image of its nodes is " + image
			}
		}
		return ""
	}},
	{"kubespray", nil, "", func(o *Objects) string {
		for i := range o.DaemonSets {
			if cache, is := nodecache.Of(&o.DaemonSets[i]); is && contains(cache.LocalIPs, kubesprayAddress) {
				return "DaemonSet " + cache.Namespace + "/" + cache.Name + " has its address " + kubesprayAddress
			}
		}
		return ""
	}},
	{"kubeadm", nil, "", func(o *Objects) string {
		if o.configMap("kube-system", "kubeadm-config") != nil {
			return "there is the ConfigMap kube-system/kubeadm-config"
		}
		return ""
	}},
}

const (
	openShift = "OpenShift"
	// microShift has the namespaces and nodes of OpenShift, and none of its operators.
	microShift = "MicroShift"
	gke        = "GKE"
	aks        = "AKS"
	eks        = "EKS"
	ack        = "ACK"
	talos      = "Talos"

	eksComputeType = "eks.amazonaws.com/compute-type"
	// kubesprayAddress is where kubespray puts its cache, and nobody else does.
	kubesprayAddress = "169.254.25.10"
)

// microShiftVersion is the ConfigMap by which MicroShift tells its version.
var microShiftVersion = [2]string{"kube-public", "microshift-version"}

// flavour is a platform and what told it; empty where nothing did.
type flavour struct{ name, from string }

func flavourOf(o *Objects) flavour {
	for i := range signs {
		s := &signs[i]
		for k := range o.Nodes {
			for _, label := range s.labels {
				if _, has := o.Nodes[k].Labels[label]; has {
					return flavour{s.flavour, "its nodes have the label " + label}
				}
			}
			if version := o.Nodes[k].Status.NodeInfo.KubeletVersion; s.version != "" && strings.Contains(version, s.version) {
				return flavour{s.flavour, "its kubelets are " + version}
			}
		}
		if s.other != nil {
			if from := s.other(o); from != "" {
				return flavour{s.flavour, from}
			}
		}
	}
	return flavour{}
}

// platformNamespaces are those that a platform runs itself, names and beginnings
// of names, besides the system's own.
var platformNamespaces = map[string][]string{
	openShift:  {"openshift", "openshift-*"},
	microShift: {"openshift-*"},
	gke:        {"gke-*", "gmp-*"},
	aks:        {"gatekeeper-system", "calico-system", "tigera-operator", "app-routing-system", "aks-*"},
	ack:        {"arms-prom", "security-inspector", "ack-csi-fuse"},
}

// platformNames are the namespaces that are there of a platform.
func platformNames(o *Objects, name string) []string {
	var found []string
	for _, namespace := range o.Namespaces {
		if slices.ContainsFunc(platformNamespaces[name], func(pattern string) bool {
			prefix, isPrefix := strings.CutSuffix(pattern, "*")
			return namespace == pattern || isPrefix && strings.HasPrefix(namespace, prefix)
		}) {
			found = append(found, namespace)
		}
	}
	slices.Sort(found)
	return found
}
