package detect

import (
	"slices"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/nodecache"
)

// clusterFiles are the Corefiles of the cluster DNS that were read.
func (d *dns) clusterFiles() []corefile.File {
	var files []corefile.File
	for _, at := range corefile.ClusterDNS() {
		if m := d.o.configMap(at[0], at[1]); m != nil {
			files = append(files, corefile.OfConfigMap(m)...)
		}
	}
	return files
}

// cacheFiles are those of a cache.
func (d *dns) cacheFiles(c *nodecache.Cache) []corefile.File {
	return d.o.corefilesOf(d.o.daemonSet(c.Namespace, c.Name))
}

// judgeTemplate says whether the cluster DNS and the caches answer names that end in
// svc themselves, as far as their Corefiles tell: dns.fallthrough waits for that.
func (d *dns) judgeTemplate(r *Result, flavour string) {
	judge := func(what string, files []corefile.File, cache bool) {
		blocks, _ := corefile.Read(files) // what cannot be read, dns-logs tells
		outside := slices.DeleteFunc(blocks, func(b corefile.Block) bool { return !slices.Contains(b.Zones, ".") })
		switch {
		case len(outside) == 0:
		case slices.ContainsFunc(outside, func(b corefile.Block) bool { return b.HasTemplate() }):
			r.found(aboutOutside, "%s answers names that end in svc itself", what)
		case flavour == openShift && !cache:
			r.found(aboutOutside, "%s asks the outside about names that end in svc, and policy.dns.fallthrough waits until it answers them itself; its Corefile is the operator's, so let spec.servers of dns.operator/default forward the zone svc to a server that does", what)
		case flavour == microShift && !cache:
			r.found(aboutOutside, "%s asks the outside about names that end in svc, and policy.dns.fallthrough waits until it answers them itself; its Corefile is MicroShift's, which writes it again when it starts: leave policy.dns.fallthrough out, or have the node's own resolver answer the zone svc", what)
		default:
			r.found(aboutOutside, "%s asks the outside about names that end in svc, and policy.dns.fallthrough waits until it answers them itself: %s", what, corefile.TemplatePlace(cache))
			r.Findings[len(r.Findings)-1].Block = corefile.TemplateBlock()
		}
	}
	judge("the cluster DNS", d.clusterFiles(), false)
	for i := range d.caches {
		judge("the cache (DaemonSet "+name(&d.caches[i])+")", d.cacheFiles(&d.caches[i]), true)
	}
}
