package advisor

import (
	"net/netip"
	"slices"
	"strings"
)

// clusterNames are the namespaces and Services that are known.
type clusterNames struct {
	namespaces map[string]bool
	// services are by namespace: Services, serviceName of StatefulSets, and
	// subdomain of pods.
	services map[string]map[string]bool
}

func newClusterNames() clusterNames {
	return clusterNames{namespaces: make(map[string]bool), services: make(map[string]map[string]bool)}
}

func (n *clusterNames) addService(namespace, name string) {
	if namespace == "" || name == "" {
		return
	}
	if n.services[namespace] == nil {
		n.services[namespace] = make(map[string]bool)
	}
	n.namespaces[namespace], n.services[namespace][name] = true, true
}

func (n *clusterNames) addPod(p *Pod) {
	n.namespaces[p.Metadata.Namespace] = true
	n.addService(p.Metadata.Namespace, p.Spec.Subdomain)
}

func (n *clusterNames) addObject(p *Pod) {
	switch p.Kind {
	case "Namespace":
		n.namespaces[p.Metadata.Name] = true
	case "Service":
		n.addService(p.Metadata.Namespace, p.Metadata.Name)
	case "StatefulSet":
		n.addService(p.Metadata.Namespace, p.Spec.ServiceName)
	}
}

// known tells whether a name, as a pod of a namespace looks it up, is one of the
// cluster by what is known: x.y.svc, x.namespace, pod.x.namespace, pod.service.
func (n *clusterNames) known(name, own string) bool {
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	switch count := len(labels); {
	case count < 2:
		return false
	case last == "svc":
		return count >= 3
	case n.namespaces[last] && count <= 3:
		return true
	}
	return len(labels) == 2 && n.services[own][last]
}

// serviceToBe tells whether a name that has an answer outside is service.namespace, or
// pod.service.namespace, of what is known.
func (n *clusterNames) serviceToBe(name string) bool {
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	return len(labels) == 2 && n.namespaces[last] || len(labels) == 3 && n.services[last][labels[1]]
}

// mayBe tells whether a name that nobody has an answer for may be one of the
// cluster that is not ready: a pod of a StatefulSet that has not started, a Service
// that is still to come. What ends in a domain of the Internet is none, unless a
// namespace is called so or may be, and neither is what has the cluster's domain, or a search
// domain, written out.
func (n *clusterNames) mayBe(name, own string, suffixes []string) bool {
	if !strings.Contains(name, ".") || n.known(name, own) {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	for _, suffix := range suffixes {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if !publicSuffix(last) {
		return true
	}
	// A namespace may be called like a domain of the Internet, and not be known. Few
	// dots, or a pod's number, tell it.
	dots := strings.Count(name, ".")
	return !slices.Contains(neverNamespaces(), last) && (dots == 1 || dots == 2 && ordinal(name[:strings.IndexByte(name, '.')]))
}

// neverNamespaces are domains that names without an answer end in most of the time,
// and that nobody calls a namespace.
func neverNamespaces() []string { return []string{"com", "net", "org", "edu", "gov", "arpa"} }

// ordinal tells whether a label ends in a number, as the pods of a StatefulSet do.
func ordinal(label string) bool {
	dash := strings.LastIndexByte(label, '-')
	return dash > 0 && dash+1 < len(label) && strings.Trim(label[dash+1:], "0123456789") == ""
}

// Limits of what is noted of a workload's containers.
const (
	maxHosts     = 64
	maxHostBytes = 4 << 10 // of a value that is looked at
	maxHostName  = 253
)

// mention notes the names in a pod's commands, arguments and variables: those that
// an application will look up, though the log may not have it.
func (g *group) mention(p *Pod) {
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, word := range slices.Concat(container.Command, container.Args) {
			g.hostsIn(word)
		}
		for _, variable := range container.Env {
			g.hostsIn(variable.Value)
		}
	}
}

// hostsIn finds what may be a host with a dot in a text: an address, a list of
// them, a URL.
func (g *group) hostsIn(text string) {
	text = text[:min(len(text), maxHostBytes)]
	inName := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.'
	}
	for i := 0; i < len(text); i++ {
		start := i
		for i < len(text) && inName(text[i]) {
			i++
		}
		host := strings.Trim(text[start:i], "-.")
		if dots := strings.Count(host, "."); dots == 0 || dots >= maxNdots || len(host) > maxHostName || strings.Contains(host, "..") {
			continue
		}
		if g.hosts == nil {
			g.hosts = make(map[string]bool)
		}
		if len(g.hosts) < maxHosts {
			g.hosts[host] = true
		}
	}
}

// mentioned are those of a group's hosts that are names of the cluster, sorted.
func (n *clusterNames) mentioned(g *group) []string {
	var hosts []string
	for host := range g.hosts {
		if n.known(host, g.workload.Namespace) {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// resOptions are the options that RES_OPTIONS adds in the pod's containers: those of
// the container whose ndots is lowest, since a name may be looked up in any.
func (p *Pod) resOptions() string {
	found := ""
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, variable := range container.Env {
			if variable.Name == "RES_OPTIONS" && strings.Contains(variable.Value, "ndots:") {
				found = strings.Join(strings.Fields(variable.Value), " ")
			}
		}
	}
	return found
}
