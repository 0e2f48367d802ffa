package discovery

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// DNSPodSelectors are label selectors of the pods that serve DNS, in Namespaces:
// those of node-local caches, and those of the cluster DNS. A pod may be selected
// by more than one.
func DNSPodSelectors() (cache, cluster []string) {
	add := func(selectors *[]string, key string, values []string) {
		if len(values) > 0 {
			*selectors = append(*selectors, fmt.Sprintf("%s in (%s)", key, strings.Join(values, ",")))
		}
	}
	for _, label := range policy.DNSPodLabels() {
		add(&cache, label.Key, label.Cache)
		add(&cluster, label.Key, label.Cluster)
		if len(label.Cache)+len(label.Cluster) == 0 {
			cluster = append(cluster, label.Key)
		}
	}
	return cache, cluster
}

// DNSContainers are the containers of a pod whose logs may have queries: those that are
// known by name, else by image, else all.
func DNSContainers(pod *corev1.Pod) []string {
	dnsNames, dnsImages := policy.DNSContainers()
	for _, known := range []func(*corev1.Container) bool{
		func(c *corev1.Container) bool { return slices.Contains(dnsNames, c.Name) },
		func(c *corev1.Container) bool {
			return slices.ContainsFunc(dnsImages, func(part string) bool { return strings.Contains(c.Image, part) })
		},
		func(*corev1.Container) bool { return true },
	} {
		var names []string
		for i := range pod.Spec.Containers {
			if c := &pod.Spec.Containers[i]; known(c) {
				names = append(names, c.Name)
			}
		}
		if len(names) > 0 {
			return names
		}
	}
	return nil
}
