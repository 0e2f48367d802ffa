package doctor

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeLocal reads the DaemonSets that the policy names, and their settings.
func (c *collector) nodeLocal(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	c.Progress("the node-local cache")
	for _, name := range daemonSetNames(nodeLocalUses(&known.document.Spec)) {
		namespace, short, _ := strings.Cut(name, "/")
		set := one(ctx, "daemonsets", short, c.client.AppsV1().DaemonSets(namespace).Get)
		setFact(&f.daemonSets, name, set)
		if set.value != nil {
			setFact(&f.cacheConfig, name, c.cacheConfigOf(ctx, namespace, &set.value.Spec.Template.Spec))
		}
	}
}

func setFact[T any](all *map[string]fact[T], name string, value fact[T]) {
	if *all == nil {
		*all = map[string]fact[T]{}
	}
	(*all)[name] = value
}

func (c *collector) cacheConfigOf(ctx context.Context, namespace string, pod *corev1.PodSpec) fact[*cacheConfig] {
	found := &cacheConfig{}
	for i := range pod.Containers {
		found.args = slices.Concat(found.args, pod.Containers[i].Command, pod.Containers[i].Args)
	}
	for i := range pod.Volumes {
		source := pod.Volumes[i].ConfigMap
		if source == nil {
			continue
		}
		if source.Name == labelDNSValue {
			found.readsStubDomains = true
			continue
		}
		corefiles, err := c.corefiles(ctx, namespace, source.Name)
		if err != nil {
			return fact[*cacheConfig]{err: err}
		}
		found.corefiles = append(found.corefiles, corefiles...)
	}
	return fact[*cacheConfig]{value: found}
}

// corefiles returns those of a ConfigMap: Corefile, Corefile.base, and
// coredns-custom's *.server and *.override.
func (c *collector) corefiles(ctx context.Context, namespace, name string) ([]namedCorefile, error) {
	found := one(ctx, "configmaps", name, c.client.CoreV1().ConfigMaps(namespace).Get)
	if found.err != nil || found.value == nil {
		return nil, found.err
	}
	var corefiles []namedCorefile
	for _, key := range slices.Sorted(maps.Keys(found.value.Data)) {
		snippet := strings.HasSuffix(key, ".override")
		if snippet || strings.HasPrefix(key, "Corefile") || strings.HasSuffix(key, ".server") {
			corefiles = append(corefiles, namedCorefile{"ConfigMap " + namespace + "/" + name, snippet, found.value.Data[key]})
		}
	}
	return corefiles, nil
}

// clusterDNS reads the Services and the settings of the cluster DNS, where
// installers are known to put them.
func (c *collector) clusterDNS(ctx context.Context) {
	c.Progress("the cluster DNS")
	f := c.facts
	for _, namespace := range []string{metav1.NamespaceSystem, openShiftDNS} {
		services := list(ctx, "services", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Service, string, error) {
			found, err := c.client.CoreV1().Services(namespace).List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Continue, nil
		})
		if services.err != nil && namespace == metav1.NamespaceSystem {
			f.dnsServices.err = services.err
		}
		for i := range services.value {
			if isDNSService(&services.value[i]) {
				f.dnsServices.value = append(f.dnsServices.value, services.value[i])
			}
		}
	}
	dns := &clusterDNSConfig{}
	for _, at := range []struct{ namespace, name string }{
		{metav1.NamespaceSystem, "coredns"},
		{metav1.NamespaceSystem, "coredns-custom"},
		{metav1.NamespaceSystem, "rke2-coredns-rke2-coredns"},
		{openShiftDNS, openShiftName},
	} {
		corefiles, err := c.corefiles(ctx, at.namespace, at.name)
		if err != nil && at.namespace == metav1.NamespaceSystem {
			f.clusterDNS.err = err
			return
		}
		dns.corefiles = append(dns.corefiles, corefiles...)
	}
	stub := one(ctx, "configmaps", labelDNSValue, c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get)
	if stub.err != nil {
		f.clusterDNS.err = stub.err
		return
	}
	if stub.value != nil {
		var domains map[string][]string
		if json.Unmarshal([]byte(stub.value.Data["stubDomains"]), &domains) == nil {
			dns.stubDomains = slices.Sorted(maps.Keys(domains))
		}
	}
	f.clusterDNS.value = dns
}
