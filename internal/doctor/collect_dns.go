package doctor

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
)

// nodeLocal reads the DaemonSets that the policy names, and their settings.
func (c *collector) nodeLocal(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	c.Progress("the node-local cache")
	for _, use := range nodeLocalUses(&known.document.Spec) {
		namespace, name, selector := use.cache.Find()
		switch {
		case use.cache.DaemonSet == "":
		case selector != "":
			c.selectedCaches(ctx, use.cache.DaemonSet, namespace, selector)
		default:
			c.cache(ctx, use.cache.DaemonSet, one(ctx, "daemonsets", name, c.client.AppsV1().DaemonSets(namespace).Get))
		}
	}
	if slices.ContainsFunc(daemonSetNames(nodeLocalUses(&known.document.Spec)), func(target string) bool {
		return len(f.found(target)) == 0
	}) {
		for i, sets := 0, c.daemonSets(ctx, metav1.NamespaceSystem, "").value; i < len(sets); i++ {
			if looksLikeOne, found := nodecache.Of(&sets[i]); found {
				f.otherCaches = append(f.otherCaches, looksLikeOne)
			}
		}
	}
	c.proxy(ctx)
}

// proxy finds out how Services reach their pods, where there are caches. An object
// that cannot be read may be the one that tells it: then it is not known.
func (c *collector) proxy(ctx context.Context) {
	if len(c.facts.daemonSets) == 0 {
		return
	}
	sets := c.daemonSets(ctx, metav1.NamespaceSystem, "")
	if sets.err != nil {
		return
	}
	var configMaps []corev1.ConfigMap
	for _, name := range nodecache.ProxyConfigs(sets.value) {
		found := one(ctx, "configmaps", name, c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get)
		if found.err != nil {
			return
		}
		if found.value != nil {
			configMaps = append(configMaps, *found.value)
		}
	}
	c.facts.proxy = nodecache.ProxyOf(sets.value, configMaps)
}

func (c *collector) daemonSets(ctx context.Context, namespace, selector string) fact[[]appsv1.DaemonSet] {
	return list(ctx, "daemonsets", selector, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.DaemonSet, string, error) {
		found, err := c.client.AppsV1().DaemonSets(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
}

// selectedCaches reads all DaemonSets of a selector.
func (c *collector) selectedCaches(ctx context.Context, target, namespace, selector string) {
	if _, done := c.facts.selected[target]; done {
		return
	}
	sets := c.daemonSets(ctx, namespace, selector)
	names := fact[[]string]{err: sets.err}
	for i := range sets.value {
		name := namespace + "/" + sets.value[i].Name
		names.value = append(names.value, name)
		c.cache(ctx, name, fact[*appsv1.DaemonSet]{value: &sets.value[i]})
	}
	setFact(&c.facts.selected, target, names)
}

// cache keeps a DaemonSet and reads what it is configured with.
func (c *collector) cache(ctx context.Context, name string, set fact[*appsv1.DaemonSet]) {
	f := c.facts
	if _, done := f.daemonSets[name]; done {
		return
	}
	setFact(&f.daemonSets, name, set)
	if set.value == nil {
		return
	}
	namespace := set.value.Namespace
	setFact(&f.cacheConfig, name, c.cacheConfigOf(ctx, namespace, &set.value.Spec.Template.Spec))
	if _, done := f.redirects[namespace]; !done && !set.value.Spec.Template.Spec.HostNetwork {
		setFact(&f.redirects, namespace, c.redirects(ctx, namespace))
	}
}

// redirects reads Cilium's local redirect policies; there are none where the
// cluster does not know them.
func (c *collector) redirects(ctx context.Context, namespace string) fact[[]nodecache.Redirect] {
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return fact[[]nodecache.Redirect]{err: err}
	}
	return list(ctx, "ciliumlocalredirectpolicies", "", func(ctx context.Context, o metav1.ListOptions) ([]nodecache.Redirect, string, error) {
		objects, err := client.Resource(nodecache.Redirects).Namespace(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		var found []nodecache.Redirect
		for i := range objects.Items {
			if r, ok := nodecache.RedirectOf(&objects.Items[i]); ok {
				found = append(found, r)
			}
		}
		return found, objects.GetContinue(), nil
	})
}

func setFact[T any](all *map[string]fact[T], name string, value fact[T]) {
	if *all == nil {
		*all = map[string]fact[T]{}
	}
	(*all)[name] = value
}

// endpoints counts those of the Services of a namespace; nil where they cannot be
// read.
func (c *collector) endpoints(ctx context.Context, namespace string) map[string]behind {
	found := list(ctx, "endpointslices", "", func(ctx context.Context, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
		found, err := c.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	if found.err != nil {
		return nil // a Service counts as one that somebody is behind
	}
	counts, seen := map[string]behind{}, map[string]bool{}
	for i := range found.value {
		service := found.value[i].Labels[discoveryv1.LabelServiceName]
		for k := range found.value[i].Endpoints {
			// With two families, a pod is in a slice of each.
			endpoint := &found.value[i].Endpoints[k]
			of := service + "/" + strings.Join(endpoint.Addresses, ",")
			if pod := endpoint.TargetRef; pod != nil {
				of = service + "/" + pod.Kind + "/" + pod.Name
			}
			if !seen[of] {
				seen[of] = true
				count := counts[service]
				count.all++
				if ready := endpoint.Conditions.Ready; ready == nil || *ready { // where it is not said, it is to be taken for ready
					count.ready++
				}
				counts[service] = count
			}
		}
	}
	return counts
}

func (c *collector) cacheConfigOf(ctx context.Context, namespace string, pod *corev1.PodSpec) fact[*cacheConfig] {
	found := &cacheConfig{}
	for i := range pod.Containers {
		found.args = append(found.args, nodecache.Arguments(&pod.Containers[i])...)
	}
	for i := range pod.Volumes {
		if source := pod.Volumes[i].ConfigMap; source != nil && source.Name == kubeDNSConfigMap {
			found.readsStubDomains = true
		}
	}
	for _, name := range nodecache.Corefiles(pod) {
		if name == kubeDNSConfigMap {
			continue
		}
		corefiles, err := c.corefiles(ctx, namespace, name)
		if err != nil {
			return fact[*cacheConfig]{err: err}
		}
		found.corefiles = append(found.corefiles, corefiles...)
	}
	return fact[*cacheConfig]{value: found}
}

// corefiles returns those of a ConfigMap.
func (c *collector) corefiles(ctx context.Context, namespace, name string) ([]corefile.File, error) {
	found := one(ctx, "configmaps", name, c.client.CoreV1().ConfigMaps(namespace).Get)
	if found.err != nil || found.value == nil {
		return nil, found.err
	}
	return corefile.OfConfigMap(found.value), nil
}

// clusterDNS reads the Services and the settings of the cluster DNS, where
// installers are known to put them.
func (c *collector) clusterDNS(ctx context.Context) {
	c.Progress("the cluster DNS")
	f := c.facts
	for _, namespace := range discovery.Namespaces() {
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
		var all []discovery.Service
		for i := range services.value {
			all = append(all, discovery.ServiceOf(&services.value[i]))
		}
		if found := c.endpoints(ctx, namespace); found != nil {
			counts := map[string]int{}
			for name, n := range found {
				counts[name] = n.all
				if f.endpoints == nil {
					f.endpoints = map[string]behind{}
				}
				f.endpoints[namespace+"/"+name] = n
			}
			discovery.MarkIdle(all, counts)
		}
		clusterDNS, upstream := discovery.DNSServices(all, f.caches())
		f.dnsServices.value = slices.Concat(f.dnsServices.value, clusterDNS, upstream)
		for _, service := range all {
			if service.Idle {
				f.idleServices = append(f.idleServices, service)
			}
		}
	}
	if len(f.idleClusterDNS()) > 0 {
		f.dnsOnNodes = c.dnsOnNodes(ctx)
	}
	dns := &clusterDNSConfig{}
	for _, at := range corefile.ClusterDNS() {
		corefiles, err := c.corefiles(ctx, at[0], at[1])
		if err != nil && at[0] == metav1.NamespaceSystem {
			f.clusterDNS.err = err
			return
		}
		dns.corefiles = append(dns.corefiles, corefiles...)
	}
	stub := one(ctx, "configmaps", kubeDNSConfigMap, c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get)
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

// dnsOnNodes reports whether all nodes answer at the address of the cluster DNS
// themselves, so that its Service needs no endpoints.
func (c *collector) dnsOnNodes(ctx context.Context) fact[bool] {
	nodes := c.nodes(ctx)
	return fact[bool]{err: nodes.err, value: len(nodes.value) > 0 && !slices.ContainsFunc(nodes.value, func(n metav1.PartialObjectMetadata) bool {
		return !isVirtual(n.Labels) && !discovery.AnswersDNS(n.Labels)
	})}
}
