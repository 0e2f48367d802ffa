package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// nodeLocalUse is a place of the policy that points pods at a node-local
// cache.
type nodeLocalUse struct {
	at string
	// asked: only pods with an annotation that asks for it.
	asked bool
	local *policy.NodeLocal
	cache policy.Cache // without a DaemonSet: no gate
}

// nodeLocalUses are the policy's own fields and the rules that point pods at a
// cache, by their mode or where annotations may choose it.
func nodeLocalUses(spec *policy.Spec) []nodeLocalUse {
	var uses []nodeLocalUse
	for e := range spec.Effective() {
		if e.DNS == nil || len(e.DNS.NodeLocal.Servers) == 0 || e.Rule != nil && e.Rule.DNS == nil {
			continue
		}
		asked := e.DNS.Mode != policy.DNSModeNodeLocal
		if asked && !spec.Allows(policy.OverrideMode) {
			continue
		}
		use := nodeLocalUse{at: "spec.dns", asked: asked, local: &e.DNS.NodeLocal}
		if e.Rule != nil {
			use.at = "rule " + e.Rule.Name
		}
		use.cache, _ = use.local.Cache()
		uses = append(uses, use)
	}
	return uses
}

// daemonSetNames are those that the policy watches: namespace/name, or a selector
// of several (policy.Cache).
func daemonSetNames(uses []nodeLocalUse) []string {
	var names []string
	for i := range uses {
		if name := uses[i].cache.DaemonSet; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// ofDaemonSet are the uses that are watched by a DaemonSet.
func ofDaemonSet(uses []nodeLocalUse, name string) []nodeLocalUse {
	var of []nodeLocalUse
	for i := range uses {
		if uses[i].cache.DaemonSet == name {
			of = append(of, uses[i])
		}
	}
	return of
}

// found are the DaemonSets that are there of one that the policy watches, or of a
// selector, by namespace/name.
func (f *Facts) found(target string) []string {
	names := []string{target}
	if selected, isSelector := f.selected[target]; isSelector {
		names = selected.value
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return f.daemonSets[name].value == nil })
}

// notFound is why nothing is known of the DaemonSets of a target, nil where some are
// found.
func (f *Facts) notFound(target string) error {
	switch selected, isSelector := f.selected[target]; {
	case len(f.found(target)) > 0:
		return nil
	case selected.err != nil:
		return selected.err
	case f.daemonSets[target].err != nil:
		return f.daemonSets[target].err
	case isSelector:
		return fmt.Errorf("no DaemonSet is selected by %s (see `node-local-cache`)", target)
	}
	return fmt.Errorf("there is no DaemonSet %s (see `node-local-cache`)", target)
}

// caches are what the DaemonSets of the policy tell of themselves.
func (f *Facts) caches() []nodecache.Cache {
	var all []nodecache.Cache
	for _, name := range slices.Sorted(maps.Keys(f.daemonSets)) {
		if set := f.daemonSets[name].value; set != nil {
			cache, _ := nodecache.Of(set)
			all = append(all, cache)
		}
	}
	return all
}

// listens are the addresses of all caches of a target.
func (f *Facts) listens(target string) []string {
	var all []string
	for _, name := range f.found(target) {
		all = append(all, f.cacheConfig[name].value.addresses()...)
	}
	return all
}

// addresses are those that a cache listens on: node-cache's -localip, and
// what its Corefiles bind.
func (c *cacheConfig) addresses() []string {
	if c == nil {
		return nil
	}
	var all []string
	add := func(addresses []string) {
		for _, address := range addresses {
			if !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	add(nodecache.LocalIPs(c.args))
	blocks, _ := corefile.Read(c.corefiles) // node-local-cache tells the error
	add(nodecache.Binds(blocks))
	return all
}

func containsAddress(list []string, address string) bool {
	wanted, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(list, func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Unmap() == wanted.Unmap()
	})
}
