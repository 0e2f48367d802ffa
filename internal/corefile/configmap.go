package corefile

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ClusterDNS are the ConfigMaps, namespace and name, with the Corefiles of the
// cluster DNS, where installers are known to put them.
func ClusterDNS() [][2]string {
	return [][2]string{
		{"kube-system", "coredns"},
		{"kube-system", "coredns-custom"},
		{"kube-system", "rke2-coredns-rke2-coredns"},
		{"openshift-dns", "dns-default"},
	}
}

// OfConfigMap returns the Corefiles in a ConfigMap: Corefile, Corefile.base, and
// coredns-custom's *.server and *.override.
func OfConfigMap(m *corev1.ConfigMap) []File {
	var files []File
	for _, key := range slices.Sorted(maps.Keys(m.Data)) {
		snippet := strings.HasSuffix(key, ".override")
		if snippet || strings.HasPrefix(key, "Corefile") || strings.HasSuffix(key, ".server") {
			files = append(files, File{"ConfigMap " + m.Namespace + "/" + m.Name + ", key " + key, snippet, m.Data[key]})
		}
	}
	return files
}
