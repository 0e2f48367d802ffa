package detect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// corefilesOf are those of a DaemonSet.
func (o *Objects) corefilesOf(set *appsv1.DaemonSet) []corefile.File {
	var files []corefile.File
	for _, name := range nodecache.Corefiles(&set.Spec.Template.Spec) {
		if m := o.configMap(set.Namespace, name); m != nil {
			files = append(files, corefile.OfConfigMap(m)...)
		}
	}
	return files
}

// What becomes of a cache:
//
//	the cache                                          mode       because
//	kubelets tell pods its address                     Options    pods ask it already
//	has the cluster DNS's address on its node, and     Options    pods ask it already
//	  kube-proxy leaves that to it (nodecache.Proxy)
//	Cilium redirects the cluster DNS's Service to it   Options    pods ask it already
//	an address that no node owns and nobody redirects  Options    pods would ask nobody; a problem
//	on addresses of its own                            NodeLocal  only pods that are told do
//	an address that is not link-local, and may be      Options    whether pods ask it already is unknown
//	  the cluster DNS's: no Service of that is known
//	several at different addresses, or in different    Options    one policy cannot name them; unknown
//	  namespaces
//	none                                               Options
//
// Its address and DaemonSet are in the values wherever pods could ask it, for
// rules and annotations that choose mode NodeLocal; where there is no such
// cache, or pods would have nobody to fall back to, annotations may not.
func (d *dns) judgeCaches(r *Result, flavour string) {
	d.managed(r, flavour)
	if len(d.caches) == 0 && d.o.isUnread("daemonsets") {
		r.unknown(aboutCache, "DaemonSets cannot be read", "look for one with the image k8s-dns-node-cache or the argument -localip")
		d.options(r, "whether there is a cache is not known", false)
		return
	}
	if len(d.caches) == 0 {
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.About == aboutManaged }) {
			r.found(aboutCache, "there is none: no DaemonSet has node-cache or its arguments, or serves DNS at a link-local address of its nodes")
		}
		d.options(r, "no DaemonSet of a cache is there to point pods at", false)
		return
	}
	for i := range d.caches {
		c := &d.caches[i]
		d.tell(r, c)
		if len(c.Unread) > 0 {
			r.unknown(aboutCache, fmt.Sprintf("DaemonSet %s has %s among its addresses, which only its containers know", name(c), strings.Join(c.Unread, " and ")),
				"on a node: ip address show nodelocaldns, or whatever the interface of the cache is called")
		}
	}
	own := d.own(&d.caches[0])
	for i := range d.caches {
		c := &d.caches[i]
		if c.Namespace != d.caches[0].Namespace || len(without(own, d.own(c))) > 0 || len(without(d.own(c), own)) > 0 {
			r.unknown(aboutCache, fmt.Sprintf("%d DaemonSets of caches have different addresses or namespaces", len(d.caches)),
				"give each pool a rule with dns.nodeLocal of its own")
			d.options(r, "one address for all nodes is not known", false)
			return
		}
	}
	for i := range d.caches {
		nobodys := d.caches[i].Nobodys(own, d.redirects)
		own = without(own, nobodys)
		if len(nobodys) > 0 && len(d.already()) == 0 {
			r.problem(aboutCache, "%s of DaemonSet %s: no node owns it and no CiliumLocalRedirectPolicy leads to it, so nobody listens there",
				strings.Join(nobodys, " and "), name(&d.caches[i]))
		}
	}
	already, perhaps := d.already(), d.perhapsClusterDNS(own)
	if already == "" {
		d.tellBypassed(r, own)
	}
	own = without(own, perhaps)
	switch {
	case already == "" && len(perhaps) > 0:
		r.unknown(aboutCache, fmt.Sprintf("DaemonSet %s listens on %s, and no Service of the cluster DNS is known that may have that address, so it is not known whether pods ask the cache already",
			name(&d.caches[0]), strings.Join(perhaps, " and ")), "compare with the nameserver in /etc/resolv.conf of a pod: --resolv-conf")
		d.options(r, "whether pods ask the cache already is not known", false)
		return
	case already == "" && len(own) == 0:
		d.options(r, "no address of the cache is known that pods could ask", false)
		return
	case already == "" && d.discovered.Domain == "" && !hasPath(r, "policy", "cluster", "domain"):
		d.options(r, "mode NodeLocal needs the domain, which is not known", len(own) > 0)
	case already == "":
		d.nodeLocal(r)
	case d.fallsBackToItself():
		d.options(r, already+": nothing to do in pods", false)
		return
	default:
		d.options(r, already+": nothing to do in pods", len(own) > 0)
	}
	d.place(r, own)
}

// perhapsClusterDNS are the addresses of a cache that may be those of the cluster
// DNS: no Service of it is known, and only link-local ones are none of a Service.
func (d *dns) perhapsClusterDNS(own []string) []string {
	if len(d.addresses) > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(own), func(text string) bool {
		address, err := netip.ParseAddr(text)
		return err == nil && address.Unmap().IsLinkLocalUnicast()
	})
}

// fallsBackToItself: pods that ask the cache at an address of its own would have
// no other server to fall back to than the cache, at the cluster DNS's address.
func (d *dns) fallsBackToItself() bool {
	return d.bypass == "" && len(d.discovered.UpstreamServers) == 0 && slices.ContainsFunc(d.caches, func(c nodecache.Cache) bool {
		return len(shared(c.LocalIPs, d.discovered.DNSServers)) > 0
	})
}

func hasPath(r *Result, path ...string) bool {
	return slices.ContainsFunc(r.Settings, func(s Setting) bool { return slices.Equal(s.Path, path) })
}

func name(c *nodecache.Cache) string { return c.Namespace + "/" + c.Name }

// own are the addresses of a cache besides those of the cluster DNS.
func (d *dns) own(c *nodecache.Cache) []string {
	own := without(c.LocalIPs, d.addresses)
	if len(c.LocalIPs) > 0 {
		return own
	}
	for _, redirect := range d.redirects { // a cache that listens on every address of its pod
		if redirect.Namespace == c.Namespace {
			own = append(own, redirect.Address.String())
		}
	}
	return own
}

// already says why pods ask a cache without being told, "" where they do not.
func (d *dns) already() string {
	for i := range d.caches {
		c := &d.caches[i]
		if asked := d.allAsk(d.own(c)); len(asked) > 0 {
			return "kubelets already point pods at " + strings.Join(asked, " and ") + ", which is the cache"
		}
		if has := shared(c.LocalIPs, d.addresses); len(has) > 0 && !c.Unowned && d.bypass == "" {
			return "the cache listens on the cluster DNS's address " + strings.Join(has, " and ") + " too"
		}
		for k := range d.o.Redirects {
			namespace, service, ok := nodecache.RedirectedService(&d.o.Redirects[k])
			if ok && slices.ContainsFunc(d.cluster, func(s discovery.Service) bool { return s.Namespace == namespace && s.Name == service }) {
				return fmt.Sprintf("Cilium redirects the Service %s/%s to the cache", namespace, service)
			}
		}
	}
	return ""
}

// tellBypassed says that a cache listens on the cluster DNS's address in vain. Pods
// that are told an address of its own ask it all the same.
func (d *dns) tellBypassed(r *Result, own []string) {
	for i := range d.caches {
		has := shared(d.caches[i].LocalIPs, d.addresses)
		if d.bypass == "" || len(has) == 0 || d.caches[i].Unowned {
			continue
		}
		text := fmt.Sprintf("DaemonSet %s listens on the cluster DNS's address %s too, in vain: %s takes the packets to that Service first",
			name(&d.caches[i]), strings.Join(has, " and "), d.bypass)
		if len(own) > 0 {
			r.found(aboutCache, "%s, so only pods that are told %s ask the cache", text, strings.Join(own, " and "))
			continue
		}
		r.problem(aboutCache, "%s, so no pod asks the cache; give it an address of its own (-localip)", text)
	}
}

// tell says what is known of a cache.
func (d *dns) tell(r *Result, c *nodecache.Cache) {
	text := "DaemonSet " + name(c)
	if len(c.LocalIPs) > 0 {
		text += " on " + strings.Join(c.LocalIPs, " and ")
	}
	if c.Upstream != "" {
		text += ", asks Service " + c.Upstream
	}
	set := d.o.daemonSet(c.Namespace, c.Name)
	if status := &set.Status; status.DesiredNumberScheduled > 0 {
		text += fmt.Sprintf(", available on %d of %d nodes that it is for", status.NumberAvailable, status.DesiredNumberScheduled)
	}
	r.found(aboutCache, "%s", text)
}

// options is mode Options. cache: there is one that annotations may choose.
func (d *dns) options(r *Result, why string, cache bool) {
	r.set(string(policy.DNSModeOptions), why, "policy", "dns", "mode")
	if !cache {
		r.set([]string{string(policy.OverrideNdots), string(policy.OverrideOptions)},
			"pods may not choose mode NodeLocal by annotation: no cache that it could mean is known, with a server to fall back to", "policy", "podOverrides", "allowed")
	}
}

func (d *dns) nodeLocal(r *Result) {
	r.set(string(policy.DNSModeNodeLocal), "the cache has an address of its own, and only pods that are told of it ask it", "policy", "dns", "mode")
	r.set([]map[string]string{{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}},
		"so that the fallback is asked soon where the cache of a node is gone", "policy", "dns", "options")
}

// place sets addresses and DaemonSets of the cache, all at the same addresses.
func (d *dns) place(r *Result, own []string) {
	if len(own) == 0 {
		return
	}
	// At most three nameservers, with those that follow.
	fallback := d.discovered.UpstreamServers
	if len(fallback) == 0 {
		fallback = d.discovered.DNSServers
	}
	most := max(1, 3-len(fallback))
	why := "what the cache listens on"
	if len(own) > most {
		own, why = own[:most], why+"; no more of them, as three nameservers are the most, with the fallback"
	}
	r.set(own, why, "policy", "dns", "nodeLocal", "servers")
	c := &d.caches[0]
	if len(d.caches) == 1 {
		r.set(name(c), "its status is the health gate", "policy", "dns", "nodeLocal", "daemonSet")
		return
	}
	key, value, found := d.selector()
	if !found {
		r.set("", "no gate, see below", "policy", "dns", "nodeLocal", "daemonSet")
		r.unknown(aboutCache, fmt.Sprintf("no label selects the %d DaemonSets of the cache and no other", len(d.caches)),
			"give them a label of their own and select it in policy.dns.nodeLocal.daemonSetSelector")
		return
	}
	r.set(c.Namespace, fmt.Sprintf("one DaemonSet for each pool, %d of them; their status is the health gate", len(d.caches)),
		"policy", "dns", "nodeLocal", "daemonSetSelector", "namespace")
	r.set(map[string]string{key: value}, "selects them and no other", "policy", "dns", "nodeLocal", "daemonSetSelector", "matchLabels")
}

// selector is a label that the DaemonSets of the caches have, and no other of
// their namespace: one by which DNS pods are known, else the first by name.
func (d *dns) selector() (key, value string, found bool) {
	first := d.o.daemonSet(d.caches[0].Namespace, d.caches[0].Name)
	var keys []string
	for _, label := range policy.DNSPodLabels() {
		keys = append(keys, label.Key)
	}
	keys = append(keys, slices.Sorted(maps.Keys(first.Labels))...)
	isCache := func(set *appsv1.DaemonSet) bool {
		return slices.ContainsFunc(d.caches, func(c nodecache.Cache) bool { return c.Namespace == set.Namespace && c.Name == set.Name })
	}
	for _, key := range keys {
		value, has := first.Labels[key]
		if has && !slices.ContainsFunc(d.o.DaemonSets, func(set appsv1.DaemonSet) bool {
			label, labelled := set.Labels[key]
			return set.Namespace == first.Namespace && (labelled && label == value) != isCache(&set)
		}) {
			return key, value, true
		}
	}
	return "", "", false
}

// localDNS are the addresses of AKS's LocalDNS, a service of the node.
var localDNS = []string{"169.254.10.10", "169.254.10.11"}

// managed tells of caches that are no DaemonSet.
func (d *dns) managed(r *Result, flavour string) {
	switch asked := shared(d.asked, localDNS); {
	case len(asked) > 0:
		r.found(aboutManaged, "AKS LocalDNS on %s, a service of the node: pods ask it already, and it needs nothing", strings.Join(asked, " and "))
	case flavour == eks && slices.ContainsFunc(d.o.Nodes, nodeIsAuto):
		r.found(aboutManaged, "EKS Auto Mode has DNS on its nodes: pods ask it already, and it needs nothing")
	case flavour == openShift:
		r.found(aboutManaged, "OpenShift has DNS on every node behind one Service, without an address of its own")
	case flavour == microShift:
		r.found(aboutManaged, "MicroShift has DNS on its node behind one Service, without an address of its own")
	case flavour == talos:
		r.found(aboutManaged, "the host DNS of Talos (169.254.116.108) is for CoreDNS and not for pods")
	}
}
