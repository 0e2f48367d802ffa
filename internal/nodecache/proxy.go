package nodecache

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// CiliumInPlace stands for the mode of kube-proxy where there is none.
const CiliumInPlace = "cilium"

// ciliumConfig is the ConfigMap of Cilium's agents.
const ciliumConfig = "cilium-config"

// Proxy is what leads packets for the address of a Service to its pods: the mode of
// kube-proxy, "" for its default, and what tells it; From is "" where nothing does.
type Proxy struct{ Mode, From string }

// Bypasses says what takes packets for the address of a Service away before they
// reach a process on the node that listens on that address, "" for nothing. In mode
// iptables or nftables the cache keeps its packets out of connection tracking, and so
// out of kube-proxy's hands; IPVS and Cilium do not go by that.
func (p Proxy) Bypasses() string {
	switch p.Mode {
	case "ipvs":
		return "kube-proxy in mode ipvs"
	case CiliumInPlace:
		return "Cilium in the place of kube-proxy"
	}
	return ""
}

// ProxyOf goes by DaemonSets, and by the ConfigMaps of kube-system that ProxyConfigs
// names.
func ProxyOf(sets []appsv1.DaemonSet, configMaps []corev1.ConfigMap) Proxy {
	configMap := func(name string) map[string]string {
		for i := range configMaps {
			if configMaps[i].Namespace == metav1.NamespaceSystem && configMaps[i].Name == name {
				return configMaps[i].Data
			}
		}
		return nil
	}
	if replaces := configMap(ciliumConfig)["kube-proxy-replacement"]; replaces == "true" || replaces == "strict" {
		return Proxy{CiliumInPlace, "ConfigMap kube-system/" + ciliumConfig}
	}
	for i := range sets { // an argument is stronger than a file
		set := &sets[i]
		for k := range set.Spec.Template.Spec.Containers {
			c := &set.Spec.Template.Spec.Containers[k]
			if mode := Flag(slices.Concat(c.Command, c.Args), "proxy-mode"); mode != "" && isKubeProxy(set) {
				return Proxy{mode, "DaemonSet " + set.Namespace + "/" + set.Name}
			}
		}
	}
	for _, name := range ProxyConfigs(sets) {
		data := configMap(name)
		for _, key := range slices.Sorted(maps.Keys(data)) {
			var config struct{ Kind, Mode string }
			if yaml.Unmarshal([]byte(data[key]), &config) == nil && config.Kind == "KubeProxyConfiguration" {
				return Proxy{config.Mode, "ConfigMap kube-system/" + name}
			}
		}
	}
	return Proxy{}
}

// isKubeProxy goes by names: of one DaemonSet, or of one for each pool.
func isKubeProxy(set *appsv1.DaemonSet) bool {
	return set.Namespace == metav1.NamespaceSystem && strings.HasPrefix(set.Name, "kube-proxy")
}

// ProxyConfigs are the ConfigMaps of kube-system that may configure kube-proxy or what
// takes its place: those of kubeadm, of EKS and of Cilium, and what the DaemonSets
// mount.
func ProxyConfigs(sets []appsv1.DaemonSet) []string {
	names := []string{"kube-proxy", "kube-proxy-config", ciliumConfig}
	for i := range sets {
		if !isKubeProxy(&sets[i]) {
			continue
		}
		for k := range sets[i].Spec.Template.Spec.Volumes {
			if volume := sets[i].Spec.Template.Spec.Volumes[k].ConfigMap; volume != nil && !slices.Contains(names, volume.Name) {
				names = append(names, volume.Name)
			}
		}
	}
	return names
}
