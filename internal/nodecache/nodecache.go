// Package nodecache reads the objects of node-local caches: the arguments of their
// containers, and the policies of Cilium that redirect an address to them.
package nodecache

import (
	"iter"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/corefile"
)

// Cache is what the pod template of a DaemonSet tells of a cache.
//
//	argument of node-cache     tells
//	-localip                   the addresses that it listens on, and that it gives to an interface of its own
//	-setupinterface=false      that it makes no such interface
//	-upstreamsvc               the Service, in its namespace, through which it asks the cluster DNS; kube-dns
//	                           where it is left out
type Cache struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// LocalIPs are those of -localip, the addresses of the cluster DNS among them
	// where kube-proxy uses iptables.
	LocalIPs []string `json:"localIPs,omitzero"`
	// Unread are parts of -localip that only the container knows: variables whose value
	// is not in its template.
	Unread []string `json:"unread,omitzero"`
	// Upstream is the name of a Service in its namespace, empty where it is not
	// named.
	Upstream string `json:"upstream,omitzero"`
	// Unowned is true where no node owns the addresses that the cache listens on: it
	// runs in the pod network, and its arguments say that it makes no interface. Only
	// a redirect leads to it.
	Unowned bool `json:"unowned,omitzero"`
}

// Of reads a DaemonSet. found is true where it is recognised as a cache: by the image
// of node-cache, by the argument -upstreamsvc, which no other program has, or by
// other arguments of node-cache in a container that serves DNS. cache is filled in all
// the same where it is not: a policy may name that DaemonSet.
func Of(set *appsv1.DaemonSet) (cache Cache, found bool) {
	cache = Cache{Namespace: set.Namespace, Name: set.Name}
	pod := &set.Spec.Template.Spec
	noInterface := false
	for i := range pod.Containers {
		container := &pod.Containers[i]
		arguments := Arguments(container)
		found = found || strings.Contains(container.Image, "k8s-dns-node-cache")
		addresses, unread := localIPs(arguments)
		for _, address := range addresses {
			if !slices.Contains(cache.LocalIPs, address) {
				cache.LocalIPs = append(cache.LocalIPs, address)
			}
		}
		cache.Unread = append(cache.Unread, unread...)
		if name := Flag(arguments, "upstreamsvc"); name != "" {
			cache.Upstream, found = name, true
		}
		// A boolean flag of Go has its value, if any, behind an equals sign.
		makesInterface, err := strconv.ParseBool(joined(words(arguments), "setupinterface"))
		saysNoInterface := err == nil && !makesInterface
		noInterface = noInterface || saysNoInterface
		if (saysNoInterface || len(addresses)+len(unread) > 0) && servesDNS(container, arguments) {
			found = true
		}
	}
	cache.Unowned = noInterface && !reachesNode(pod)
	return cache, found
}

// OfServer is like Of, but takes more for a cache: also any DNS server on the network of
// its nodes whose Corefiles bind it to link-local addresses. CoreDNS itself can be run as
// a cache in that way.
func OfServer(set *appsv1.DaemonSet, corefiles []corefile.File) (cache Cache, found bool) {
	cache, found = Of(set)
	if found || !OnNode(set) {
		return cache, found
	}
	blocks, _ := corefile.Read(corefiles) // what cannot be read binds nothing
	for _, text := range Binds(blocks) {
		if address, err := netip.ParseAddr(text); err == nil && address.Unmap().IsLinkLocalUnicast() {
			cache.LocalIPs, found = append(cache.LocalIPs, text), true
		}
	}
	return cache, found
}

// Binds are the addresses that server blocks are bound to, each once.
func Binds(blocks []corefile.Block) []string {
	var all []string
	for i := range blocks {
		for _, arguments := range blocks[i].All("bind") {
			for _, address := range Addresses(strings.Join(arguments, " ")) {
				if !slices.Contains(all, address) {
					all = append(all, address)
				}
			}
		}
	}
	return all
}

// OnNode reports whether a DaemonSet serves DNS on the network of its nodes, so
// that it may be a cache of which only its Corefile tells the addresses.
func OnNode(set *appsv1.DaemonSet) bool {
	pod := &set.Spec.Template.Spec
	return pod.HostNetwork && slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return servesDNS(&c, Arguments(&c)) })
}

// servesDNS reports whether a container serves DNS, by its program, its Corefile or
// its port.
func servesDNS(container *corev1.Container, arguments []string) bool {
	program := func(name string) bool {
		return strings.Contains(container.Image, name) || slices.ContainsFunc(words(arguments), func(word string) bool { return path.Base(word) == name })
	}
	return program("node-cache") || program("coredns") || strings.HasSuffix(Flag(arguments, "conf"), "Corefile") ||
		slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == portDNS || p.HostPort == portDNS })
}

const portDNS = 53

// Arguments are the command and the arguments of a container, with $(NAME) replaced
// by the value of that variable, as kubelet does it. $(NAME) stays where the value is
// not in the template (valueFrom, envFrom).
func Arguments(container *corev1.Container) []string {
	values := map[string]string{}
	for i := range container.Env {
		v := &container.Env[i]
		if v.ValueFrom != nil {
			delete(values, v.Name)
			continue
		}
		values[v.Name] = expanded(v.Value, values)
	}
	var all []string
	for _, argument := range slices.Concat(container.Command, container.Args) {
		all = append(all, expanded(argument, values))
	}
	return all
}

// expanded replaces $(NAME) by its value where it has one; $$ is a dollar sign.
func expanded(text string, values map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		value, known := values[name]
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteString("$")
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed && known:
			b.WriteString(value)
			text = rest
		default:
			b.WriteString("$")
			text = after
		}
	}
}

// stubDomains is where node-cache reads what it takes over from kube-dns.
const stubDomains = "/etc/kube-dns"

// Corefiles are the names of the ConfigMaps in which a pod's Corefile may be: all that
// it has as volumes, except the one for stub domains.
func Corefiles(pod *corev1.PodSpec) []string {
	var names []string
	for i := range pod.Volumes {
		volume := &pod.Volumes[i]
		if volume.ConfigMap == nil || slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume.Name && m.MountPath == stubDomains })
		}) {
			continue
		}
		names = append(names, volume.ConfigMap.Name)
	}
	return names
}

// reachesNode reports whether a pod may use addresses of its node: on its
// network, through ports that the runtime forwards, or with the processes of the
// node in reach. Something else may then have set up the address.
func reachesNode(pod *corev1.PodSpec) bool {
	return pod.HostNetwork || pod.HostPID || slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
	})
}

// Flag is the value of a flag, written -flag=value, --flag=value, or as two arguments; empty
// where it is not there. Of several the last counts. The words of a script count
// too: some run the cache in a shell (KubeOne).
func Flag(arguments []string, flag string) string {
	arguments = words(arguments)
	found := joined(arguments, flag)
	for i, argument := range arguments {
		if i+1 < len(arguments) && (argument == "-"+flag || argument == "--"+flag) {
			found = arguments[i+1]
		}
	}
	return found
}

// words splits an argument that is a shell script at white space, quotes and
// semicolons. Any argument with " -" in it is taken for a script.
func words(arguments []string) []string {
	var all []string
	for _, argument := range arguments {
		if !strings.Contains(argument, " -") { // a list of addresses may have blanks
			all = append(all, argument)
			continue
		}
		all = slices.AppendSeq(all, strings.FieldsFuncSeq(argument, func(r rune) bool { return strings.ContainsRune(" \t\n;'\"", r) }))
	}
	return all
}

// joined is the value of a flag written -flag=value or --flag=value; empty where it is
// not there. Of several the last counts.
func joined(arguments []string, flag string) string {
	found := ""
	for _, argument := range arguments {
		name, text, ok := strings.Cut(argument, "=")
		if ok && (name == "-"+flag || name == "--"+flag) {
			found = text
		}
	}
	return found
}

// LocalIPs are the addresses of -localip, without 0.0.0.0 and ::, which say every
// address of the pod (Cilium's own example has that).
func LocalIPs(arguments []string) []string {
	addresses, _ := localIPs(arguments)
	return addresses
}

// localIPs are LocalIPs, and the variables among them.
func localIPs(arguments []string) (addresses, variables []string) {
	list := Flag(arguments, "localip")
	for part := range listed(list) {
		if strings.Contains(part, "$") {
			variables = append(variables, part)
		}
	}
	return slices.DeleteFunc(Addresses(list), func(text string) bool {
		address, err := netip.ParseAddr(text)
		return err == nil && address.IsUnspecified()
	}), variables
}

// listed are the parts of a list with commas or spaces.
func listed(text string) iter.Seq[string] {
	return strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// Addresses are those of a list with commas or spaces.
func Addresses(text string) []string {
	var all []string
	for address := range listed(text) {
		if _, err := netip.ParseAddr(address); err == nil {
			all = append(all, address)
		}
	}
	return all
}

// Nobodys returns those of the servers that pods would ask at whose address nobody
// answers: the cache is Unowned, the address is link-local, so that no Service can
// have it, and no redirect leads from it to the cache.
func (c *Cache) Nobodys(servers []string, redirects []Redirect) []string {
	if !c.Unowned {
		return nil
	}
	var nobodys []string
	for _, server := range servers {
		address, err := netip.ParseAddr(server)
		if err == nil && address.Unmap().IsLinkLocalUnicast() && !slices.ContainsFunc(redirects, func(r Redirect) bool { return r.Address == address.Unmap() }) {
			nobodys = append(nobodys, server)
		}
	}
	return nobodys
}
