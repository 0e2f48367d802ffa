package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
)

// nodeLocalUse is a place of the policy that points pods at a node-local
// cache.
type nodeLocalUse struct {
	at        string
	servers   []string
	fallback  []string
	daemonSet string
	// fallbackSet: the policy names fallback servers, or that there are none.
	fallbackSet    bool
	maxUnavailable *intstr.IntOrString
}

// nodeLocalUses are the policy's own fields and the rules whose mode is
// NodeLocal, a rule with what it takes over.
func nodeLocalUses(spec *policy.Spec) []nodeLocalUse {
	var uses []nodeLocalUse
	add := func(at string, blocks ...*policy.DNS) {
		use, mode := nodeLocalUse{at: at}, policy.DNSModeOptions
		for _, block := range blocks {
			if block == nil {
				continue
			}
			if block.Mode != "" {
				mode = block.Mode
			}
			local := &block.NodeLocal
			if local.Servers != nil {
				use.servers = local.Servers
			}
			if local.FallbackServers != nil {
				use.fallback, use.fallbackSet = local.FallbackServers, true
			}
			if local.DaemonSet != nil {
				use.daemonSet = *local.DaemonSet
			}
			if local.MaxUnavailable != nil {
				use.maxUnavailable = local.MaxUnavailable
			}
		}
		if mode == policy.DNSModeNodeLocal {
			uses = append(uses, use)
		}
	}
	add("spec.dns", spec.DNS)
	for i := range spec.Rules {
		if spec.Rules[i].DNS != nil {
			add("rule "+spec.Rules[i].Name, spec.DNS, spec.Rules[i].DNS)
		}
	}
	return uses
}

// daemonSetNames are those that the policy watches.
func daemonSetNames(uses []nodeLocalUse) []string {
	var names []string
	for i := range uses {
		if name := uses[i].daemonSet; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

const notUsed = "no rule of the policy points pods at a node-local cache"

// judgeNodeLocalCache goes by the DaemonSet's status and settings. Whether the
// cache answers shows only on the nodes.
func judgeNodeLocalCache(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(errNoPolicy)
	}
	uses := nodeLocalUses(&known.document.Spec)
	if len(uses) == 0 {
		return passed(notUsed)
	}
	j := passed("")
	var fine []string
	for _, name := range daemonSetNames(uses) {
		found := f.daemonSets[name]
		if found.err != nil {
			j.lacks(found.err)
			continue
		}
		if found.value == nil {
			j.fail("install the node-local cache, or name its DaemonSet in dns.nodeLocal.daemonSet", "there is no DaemonSet %s: new pods keep the cluster DNS", name)
			continue
		}
		if text := judgeRollout(j, name, found.value, uses); text != "" {
			fine = append(fine, text)
		}
		judgeAddresses(j, name, f.cacheConfig[name], uses)
	}
	for i := range uses {
		if uses[i].daemonSet == "" {
			fine = append(fine, fmt.Sprintf("%s names no DaemonSet, so nothing is known about its cache", uses[i].at))
		}
	}
	if j.status == Pass {
		j.found = strings.Join(fine, "; ") + "; whether it answers can be seen only on the nodes"
	}
	return j
}

// judgeRollout returns what is said where it is fine.
func judgeRollout(j *judgement, name string, set *appsv1.DaemonSet, uses []nodeLocalUse) string {
	status := &set.Status
	desired, unavailable := int(status.DesiredNumberScheduled), int(status.NumberUnavailable)
	doLook := "kubectl -n " + set.Namespace + " rollout status daemonset " + set.Name
	if status.ObservedGeneration < set.Generation {
		j.warn(doLook, "DaemonSet %s: its status is not up to date with its settings yet", name)
	}
	if desired == 0 {
		j.fail("look at its node selector and tolerations", "DaemonSet %s runs on no node: new pods keep the cluster DNS", name)
		return ""
	}
	allowed := desired
	for i := range uses {
		if uses[i].daemonSet != name {
			continue
		}
		// Rounded up, as the DaemonSet controller does.
		limit := uses[i].maxUnavailable
		if limit == nil {
			limit = new(intstr.FromString("10%"))
		}
		if n, err := intstr.GetScaledValueFromIntOrPercent(limit, desired, true); err == nil {
			allowed = min(allowed, n)
		}
	}
	switch {
	case unavailable > allowed:
		j.fail(doLook, "DaemonSet %s: not available on %d of %s, %d allowed: new pods keep the cluster DNS, pods on those nodes have only their fallback servers",
			name, unavailable, counted(desired, "node"), allowed)
	case unavailable > 0:
		j.warn(doLook, "DaemonSet %s: not available on %d of %s, which is within maxUnavailable; pods there have only their fallback servers", name, unavailable, counted(desired, "node"))
	default:
		return fmt.Sprintf("DaemonSet %s is available on %s", name, counted(desired, "node"))
	}
	return ""
}

// judgeAddresses compares what the cache is told to listen on with what pods
// are told to ask.
func judgeAddresses(j *judgement, name string, found fact[*cacheConfig], uses []nodeLocalUse) {
	if found.err != nil {
		j.lacks(found.err)
		return
	}
	listens := found.value.addresses()
	if len(listens) == 0 {
		j.warn("look at the addresses it listens on", "DaemonSet %s: neither -localip nor a bind in its Corefile tells the addresses it listens on", name)
		return
	}
	for i := range uses {
		if uses[i].daemonSet != name {
			continue
		}
		for _, server := range uses[i].servers {
			if !containsAddress(listens, server) {
				j.fail("set dns.nodeLocal.servers to an address of the cache", "DaemonSet %s listens on %s, and %s points pods at %s", name, strings.Join(listens, ", "), uses[i].at, server)
			}
		}
	}
}

// addresses are those that a cache listens on: node-cache's -localip, and
// what its Corefiles bind.
func (c *cacheConfig) addresses() []string {
	if c == nil {
		return nil
	}
	var all []string
	add := func(text string) {
		for address := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
			if _, err := netip.ParseAddr(address); err == nil && !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	for i, arg := range c.args {
		flag, value, found := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case flag != "localip" || !strings.HasPrefix(arg, "-"):
		case found:
			add(value)
		case i+1 < len(c.args):
			add(c.args[i+1])
		}
	}
	for _, corefile := range c.corefiles {
		for _, block := range parseCorefile(corefile.text) {
			for _, arguments := range block.all("bind") {
				add(strings.Join(arguments, " "))
			}
		}
	}
	return all
}

func containsAddress(list []string, address string) bool {
	wanted, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(list, func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Unmap() == wanted.Unmap()
	})
}
