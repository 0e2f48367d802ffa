package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/shorthop/shorthop/internal/clusterread"
)

// namespaces reads all namespaces, the policies that restrict egress, and of the
// pods that they select those that they cut off.
func (c *collector) namespaces(ctx context.Context) {
	c.Progress("namespaces and NetworkPolicies")
	f := c.facts
	f.namespaces = list(ctx, "namespaces", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Namespace, string, error) {
		found, err := c.client.CoreV1().Namespaces().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	f.egress = c.egressPolicies(ctx)
	if len(f.egress.value) == 0 || f.egress.err != nil {
		return
	}
	c.apiAddresses(ctx)
	known := f.inForce()
	said := map[string]bool{} // what is unclear about all pods is kept once
	for _, namespace := range namespacesOf(f.egress.value) {
		c.Progress("pods that policies isolate")
		pods := c.pods(namespace)
		found := list(ctx, "pods", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Pod, string, error) {
			page, next, err := pods(ctx, o)
			page = slices.DeleteFunc(page, func(pod corev1.Pod) bool { // few are left
				cuts, admitted, unclear := f.cuts(&pod, known)
				keep := len(cuts) > 0 || unclear != "" && !said[unclear]
				if said[unclear] = true; !keep {
					f.admitted += admitted
				}
				return !keep
			})
			return page, next, err
		})
		if found.err != nil {
			f.cutOff.err = found.err
			return
		}
		f.cutOff.value = append(f.cutOff.value, found.value...)
	}
}

// namespacesOf are those with policies, or all where one is for all.
func namespacesOf(policies []egressPolicy) []string {
	var all []string
	for i := range policies {
		if policies[i].namespace == "" {
			return []string{metav1.NamespaceAll}
		}
		if !slices.Contains(all, policies[i].namespace) {
			all = append(all, policies[i].namespace)
		}
	}
	return all
}

// egressPolicies reads those of Kubernetes, and of network plugins where the
// cluster has their kinds.
func (c *collector) egressPolicies(ctx context.Context) fact[[]egressPolicy] {
	all := list(ctx, "networkpolicies", "", func(ctx context.Context, o metav1.ListOptions) ([]egressPolicy, string, error) {
		found, err := c.client.NetworkingV1().NetworkPolicies(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return egressOf(found.Items), found.Continue, nil
	})
	if all.err != nil {
		return all
	}
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return fact[[]egressPolicy]{err: err}
	}
	// Who may not list a kind is told so whether it exists or not: its group says.
	groups, err := clusterread.Get(ctx, "get", "/apis", func(context.Context) (*metav1.APIGroupList, error) {
		return c.client.Discovery().ServerGroups()
	})
	if err != nil {
		return fact[[]egressPolicy]{err: err}
	}
	if groups == nil { // an API server that has none but the core group
		return all
	}
	for _, kind := range pluginKinds {
		if !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == kind.resource.Group }) {
			continue
		}
		found := list(ctx, kind.resource.GroupResource().String(), "", func(ctx context.Context, o metav1.ListOptions) ([]egressPolicy, string, error) {
			objects, err := client.Resource(kind.resource).List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			var read []egressPolicy
			for i := range objects.Items {
				read = append(read, kind.read(kind.kind, &objects.Items[i])...)
			}
			return read, objects.GetContinue(), nil
		})
		if found.err != nil {
			return found
		}
		all.value = append(all.value, found.value...)
	}
	return all
}

func egressOf(policies []networkingv1.NetworkPolicy) (all []egressPolicy) {
	for i := range policies {
		if p, ok := ofKubernetes(&policies[i]); ok {
			all = append(all, p)
		}
	}
	return all
}

// apiAddresses looks up the hosts that the policy injects, and what is behind the
// Service kubernetes. Pods may be told other addresses of a name than we are
// here; a host that is not found here is left to the check api-host.
func (c *collector) apiAddresses(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	for e := range known.document.Spec.Effective() {
		h := e.ServiceHost
		if h == nil || h.Host == "" || slices.ContainsFunc(f.hosts, func(a apiAddresses) bool { return a.host == h.Host }) {
			continue
		}
		found := apiAddresses{host: h.Host, port: 443}
		if h.Port != nil {
			found.port = *h.Port
		}
		if address, err := netip.ParseAddr(h.Host); err == nil {
			found.addresses = []netip.Addr{address}
		} else {
			lookup, cancel := context.WithTimeout(ctx, requestTimeout)
			found.addresses, _ = net.DefaultResolver.LookupNetIP(lookup, "ip", h.Host)
			cancel()
		}
		if len(found.addresses) > 0 {
			f.hosts = append(f.hosts, found)
		}
	}
	service, err := clusterread.One(ctx, "services", "kubernetes", c.client.CoreV1().Services(metav1.NamespaceDefault).Get)
	behind := list(ctx, "endpointslices", discoveryv1.LabelServiceName+"=kubernetes", func(ctx context.Context, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
		found, err := c.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	switch {
	case err != nil:
		f.apiService.err = err
	case behind.err != nil:
		f.apiService.err = behind.err
	case service == nil:
		f.apiService.err = fmt.Errorf("there is no Service default/kubernetes")
	default:
		f.apiService.value = newAPIService(service, behind.value)
	}
}

func newAPIService(service *corev1.Service, endpoints []discoveryv1.EndpointSlice) *apiService {
	found := &apiService{}
	add := func(text string, port int32) {
		if address, err := netip.ParseAddr(text); err == nil {
			found.endpoints = append(found.endpoints, netip.AddrPortFrom(address.Unmap(), uint16(port)))
		}
	}
	for _, ip := range service.Spec.ClusterIPs {
		for i := range service.Spec.Ports {
			add(ip, service.Spec.Ports[i].Port)
		}
	}
	for i := range endpoints {
		for k := range endpoints[i].Endpoints {
			for _, address := range endpoints[i].Endpoints[k].Addresses {
				for _, port := range endpoints[i].Ports {
					add(address, valueOf(port.Port))
				}
			}
		}
	}
	return found
}
