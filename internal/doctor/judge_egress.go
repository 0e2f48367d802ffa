package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// cut is what policies keep a pod from.
type cut struct {
	// from is the cache or an API host; pinned: the pod asks it now, and not only
	// once it is created again.
	from   string
	pinned bool
	by     []string
	do     string
}

const (
	doAdmitCache = "admit the node-local cache in these namespaces: egress to its address as an ipBlock, UDP and TCP port 53 (the chart's tenant NetworkPolicy does), for Cilium also to the entity host; " +
		"or label pods or namespaces shorthop.dev/dns=disabled"
	doAdmitHost = "admit what the API host resolves to in these namespaces, as they admit the Service's addresses (docs/meshes-and-policies.md); " +
		"or label pods or namespaces shorthop.dev/service-host=disabled"
)

// judgeEgressPolicies finds pods that may not ask the node-local cache, or may not
// reach the API host though they may reach the API server by its Service.
func judgeEgressPolicies(f *Facts, known *knownPolicy) *judgement {
	if f.egress.err != nil {
		return unknown(f.egress.err)
	}
	if f.cutOff.err != nil {
		return unknown(f.cutOff.err)
	}
	j := passed("no policy that restricts egress is about a pod that is pointed at a node-local cache or an API host")
	groups := map[string]*cutGroup{}
	admitted := f.admitted
	for i := range f.cutOff.value {
		pod := &f.cutOff.value[i]
		cuts, ok, unclear := f.cuts(pod, known)
		if unclear != "" {
			j.lacks(fmt.Errorf("namespace %s: %s", pod.Namespace, unclear))
		}
		admitted += ok
		for _, c := range cuts {
			verb := "would cut"
			if c.pinned {
				verb = "cuts"
			}
			key := pod.Namespace + " " + verb + " " + c.from
			g := groups[key]
			if g == nil {
				g = &cutGroup{cut: c, namespace: pod.Namespace}
				groups[key] = g
			}
			g.pods = append(g.pods, pod.Name)
			for _, by := range c.by {
				if !slices.Contains(g.by, by) {
					g.by = append(g.by, by)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		slices.Sort(g.by)
		slices.Sort(g.pods)
		if g.pinned {
			j.fail(g.do, "namespace %s: %s cuts %s off from %s: %s", g.namespace, some(g.by), counted(len(g.pods), "pod"), g.from, some(g.pods))
		} else {
			j.warn(g.do, "namespace %s: %s would cut %s off from %s once created again: %s", g.namespace, some(g.by), counted(len(g.pods), "pod"), g.from, some(g.pods))
		}
	}
	if j.status == Pass && admitted > 0 {
		j.found = fmt.Sprintf("they admit the node-local cache for %s", counted(admitted, "pod"))
	}
	switch {
	case known == nil:
		j.lacks(f.noPolicy())
	case f.namespaces.err != nil:
		j.lacks(f.namespaces.err)
	case len(f.egress.value) > 0 && f.apiService.err != nil:
		j.lacks(f.apiService.err)
	}
	return j
}

type cutGroup struct {
	cut
	namespace string
	pods      []string
}

// cuts says what policies keep a pod from, how often they admit a cache that it
// asks, and what of them is not understood.
func (f *Facts) cuts(pod *corev1.Pod, known *knownPolicy) (cuts []cut, admitted int, unclear string) {
	policies := applying(f.egress.value, pod)
	if len(policies) == 0 || finished(pod) {
		return nil, 0, ""
	}
	var by []string
	for _, p := range policies {
		if text := p.kind + " " + p.name; !slices.Contains(by, text) {
			by = append(by, text)
		}
	}
	server, host, pinned := f.pointedAt(pod, known)
	if address, err := netip.ParseAddr(server); err == nil {
		ok, why := admits(policies, &destination{addresses: []netip.Addr{address}, port: 53, protocol: corev1.ProtocolUDP, onNode: true})
		switch {
		case why != "":
			unclear = why
		case ok:
			admitted++
		default:
			cuts = append(cuts, cut{"the node-local cache", pinned.cache, by, doAdmitCache})
		}
	}
	at := slices.IndexFunc(f.hosts, func(h apiAddresses) bool { return h.host == host })
	if host == "" || at < 0 || f.apiService.value == nil {
		return cuts, admitted, unclear
	}
	h := f.hosts[at]
	to := &destination{host: h.host, addresses: h.addresses, port: h.port, protocol: corev1.ProtocolTCP, apiServers: f.apiService.value.servers()}
	if ok, why := admits(policies, to); !ok && f.reachesService(policies) {
		cuts = append(cuts, cut{"the API host " + net.JoinHostPort(h.host, fmt.Sprint(h.port)), pinned.host, by, doAdmitHost})
	} else if why != "" {
		unclear = why
	}
	return cuts, admitted, unclear
}

// reachesService reports whether policies admit the API server by its Service, at
// its address or behind it: pods that may not, need not reach the host either.
func (f *Facts) reachesService(policies []*egressPolicy) bool {
	for _, e := range f.apiService.value.endpoints {
		ok, _ := admits(policies, &destination{
			addresses: []netip.Addr{e.Addr()}, port: int32(e.Port()), protocol: corev1.ProtocolTCP, apiServers: f.apiService.value.servers(),
		})
		if ok {
			return true
		}
	}
	return false
}

// servers are the addresses behind the Service kubernetes.
func (s *apiService) servers() (all []netip.Addr) {
	for _, e := range s.endpoints {
		all = append(all, e.Addr())
	}
	return all
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// namespace returns what decisions read of a namespace.
func (f *Facts) namespace(name string) (found policy.Namespace, known bool) {
	for i := range f.namespaces.value {
		if n := &f.namespaces.value[i]; n.Name == name {
			all := map[string]string{corev1.LabelMetadataName: name}
			maps.Copy(all, n.Labels)
			return policy.Namespace{Labels: all, Annotations: policy.NamespaceAnnotations(n.Annotations)}, true
		}
	}
	return policy.Namespace{}, false
}

// pinnedNow says what a pod has already, and would not only get if it were
// created again.
type pinnedNow struct{ cache, host bool }

// pointedAt returns the first nameserver of a pod that is pinned to a node-local
// cache, or would be if it were created again, and the same of its API host.
func (f *Facts) pointedAt(pod *corev1.Pod, known *knownPolicy) (server, host string, pinned pinnedNow) {
	if pod.Labels[policy.LabelPinned] == policy.PinnedNodeLocal && pod.Spec.DNSConfig != nil && len(pod.Spec.DNSConfig.Nameservers) > 0 {
		server, pinned.cache = pod.Spec.DNSConfig.Nameservers[0], true
	}
	if known == nil {
		return server, "", pinned
	}
	decoded, size, err := decodePod(pod)
	if err != nil {
		return server, "", pinned
	}
	if recorded := mutate.ReadRecord(&decoded).ServiceHost; recorded != "" {
		host, pinned.host = recorded, true
	}
	decided := f.decide(known, &decoded, size)
	if d := &decided.DNS; server == "" && d.Action == policy.ActionInject && d.Mode == policy.DNSModeNodeLocal && len(d.Servers) > 0 {
		server = d.Servers[0]
	}
	if h := &decided.ServiceHost; host == "" && h.Action == policy.ActionInject {
		host = h.Host
	}
	return server, strings.TrimSuffix(host, "."), pinned
}

// decodePod reads what decisions read of a pod.
func decodePod(pod *corev1.Pod) (decoded policy.Pod, size int, err error) {
	encoded, err := json.Marshal(pod)
	if err == nil {
		err = json.Unmarshal(encoded, &decoded)
	}
	return decoded, len(encoded), err
}

// decide makes the webhook's decision as if the pod were created now.
func (f *Facts) decide(known *knownPolicy, pod *policy.Pod, size int) policy.Decision {
	namespace, namespaceKnown := f.namespace(pod.Metadata.Namespace)
	discovered := f.discovered()
	if discovered == nil {
		discovered = &policy.Discovered{}
		if zones, _ := f.clusterDNS.value.clusterZones(); len(zones) > 0 { // cluster-domain tells the error
			discovered.Domain = zones[0]
		}
	}
	return mutate.Review(known.compiled, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       pod.Metadata.Namespace,
		NamespaceLabels: namespace.Labels, NamespaceAnnotations: namespace.Annotations,
		NamespaceKnown: namespaceKnown,
		Pod:            pod,
		ObjectSize:     size,
		Discovered:     discovered,
	}).Decision
}
