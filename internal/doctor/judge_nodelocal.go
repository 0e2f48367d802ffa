package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// judgeUses adds what is wrong with a cache: a failure, but a warning where only
// annotations point pods at it. kept says which pods keep the cluster DNS.
func judgeUses(j *judgement, uses []nodeLocalUse) (add func(do, format string, args ...any), kept string) {
	if slices.ContainsFunc(uses, func(u nodeLocalUse) bool { return !u.asked }) {
		return j.fail, "new pods keep the cluster DNS"
	}
	return j.warn, "new pods that ask for mode NodeLocal by annotation keep the cluster DNS"
}

const notUsed = "no rule of the policy points pods at a node-local cache"

// judgeNodeLocalCache goes by the DaemonSet's status and settings. Whether the
// cache answers shows only on the nodes.
func judgeNodeLocalCache(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(f.noPolicy())
	}
	uses := nodeLocalUses(&known.document.Spec)
	if len(uses) == 0 {
		return passed(notUsed)
	}
	j := passed("")
	var fine []string
	for _, target := range daemonSetNames(uses) {
		if text := judgeCache(j, f, target, ofDaemonSet(uses, target)); text != "" {
			fine = append(fine, text)
		}
	}
	judgeNodes(j, f, uses)
	for i := range uses {
		if uses[i].cache.DaemonSet == "" {
			fine = append(fine, fmt.Sprintf("%s names no DaemonSet, so nothing is known about its cache", uses[i].at))
		}
	}
	if j.status == Pass {
		j.found = strings.Join(fine, "; ") + "; whether it answers can be seen only on the nodes"
	}
	return j
}

// judgeCache judges one that the policy watches, a DaemonSet or those of a selector.
// It returns what is said where it is rolled out.
func judgeCache(j *judgement, f *Facts, target string, uses []nodeLocalUse) string {
	add, kept := judgeUses(j, uses)
	selected, isSelector := f.selected[target]
	if err := errors.Join(selected.err, f.daemonSets[target].err); err != nil {
		j.lacks(err)
		return ""
	}
	names := f.found(target)
	switch {
	case len(names) == 0 && isSelector:
		add("install the node-local cache, or select its DaemonSets in dns.nodeLocal.daemonSetSelector"+f.others(), "no DaemonSet is selected by %s: %s", target, kept)
		return ""
	case len(names) == 0:
		add("install the node-local cache, or name its DaemonSet in dns.nodeLocal.daemonSet"+f.others(), "there is no DaemonSet %s: %s", target, kept)
		return ""
	}
	text := judgeRollout(j, f, target, names, uses)
	for _, name := range names {
		judgeAddresses(j, f, name, uses)
	}
	return text
}

// others says which DaemonSets look like a cache.
func (f *Facts) others() string {
	var all []string
	for i := range f.otherCaches {
		text := f.otherCaches[i].Namespace + "/" + f.otherCaches[i].Name
		if addresses := f.otherCaches[i].LocalIPs; len(addresses) > 0 {
			text += " on " + strings.Join(addresses, " and ")
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return ""
	}
	return " (there is " + strings.Join(all, ", ") + ")"
}

// judgeNodes counts the nodes that no DaemonSet of the policy wants to run on.
// Those of several pools count together: which node has which pods, the policy
// does not say.
func judgeNodes(j *judgement, f *Facts, uses []nodeLocalUse) {
	names, wanted := daemonSetNames(uses), 0
	for _, target := range names {
		sets := f.found(target)
		if len(sets) == 0 {
			return // said already
		}
		for _, name := range sets {
			wanted += int(f.daemonSets[name].value.Status.DesiredNumberScheduled)
		}
	}
	switch {
	case len(names) == 0 || wanted == 0: // nothing to count, or said already
	case f.nodes.err != nil:
		j.lacks(f.nodes.err)
	case wanted < f.nodes.value:
		j.warn("look at the node selector, affinity and tolerations of the DaemonSet, or exclude the pods of those nodes by a rule",
			"%s of %d without a cache (%s): pods there have only their fallback servers", counted(f.nodes.value-wanted, "node"), f.nodes.value, strings.Join(names, ", "))
	}
}

// judgeRollout adds up the DaemonSets of a target. It returns what is said where it
// is fine.
func judgeRollout(j *judgement, f *Facts, target string, names []string, uses []nodeLocalUse) string {
	desired, unavailable := 0, 0
	first := f.daemonSets[names[0]].value
	doLook, what := "kubectl -n "+first.Namespace+" rollout status daemonset "+first.Name, "DaemonSet "+target
	run := "runs"
	if len(names) > 1 {
		_, _, selector := policy.Cache{DaemonSet: target}.Find()
		doLook, what = "kubectl -n "+first.Namespace+" get daemonsets -l "+selector, fmt.Sprintf("the %d DaemonSets of %s", len(names), target)
		run = "run"
	}
	for _, name := range names {
		set := f.daemonSets[name].value
		desired += int(set.Status.DesiredNumberScheduled)
		unavailable += int(set.Status.NumberUnavailable)
		if set.Status.ObservedGeneration < set.Generation {
			j.warn(doLook, "DaemonSet %s: its status is not up to date with its settings yet", name)
		}
	}
	add, kept := judgeUses(j, uses)
	if desired == 0 {
		add("look at its node selector and tolerations", "%s %s on no node: %s", what, run, kept)
		return ""
	}
	allowed := desired
	for i := range uses {
		allowed = min(allowed, uses[i].cache.Allowed(desired))
	}
	switch {
	case unavailable > allowed:
		add(doLook, "%s: not available on %d of %s, %d allowed: %s, pods on those nodes have only their fallback servers",
			what, unavailable, counted(desired, "node"), allowed, kept)
	case unavailable > 0:
		j.warn(doLook, "%s: not available on %d of %s, which is within maxUnavailable; pods there have only their fallback servers", what, unavailable, counted(desired, "node"))
	case len(names) > 1:
		return fmt.Sprintf("%s are available on %s", what, counted(desired, "node"))
	default:
		return fmt.Sprintf("%s is available on %s", what, counted(desired, "node"))
	}
	return ""
}

// judgeAddresses compares what the cache is told to listen on with what pods
// are told to ask:
//
//	the cache                                 an address of the policy            finding
//	owns none (pod network, without an        link-local, and Cilium redirects    fine
//	  interface: nodecache.Cache.Unowned)       it to pods of the node
//	                                          link-local, and nobody does         fails: nobody listens
//	listens on every address of its pod       among -localip, or redirected       fine
//	  (0.0.0.0 or ::)                         any other                           fails
//	listens on addresses                      among them, or redirected           fine
//	                                          any other, and one is a variable    unknown
//	                                            that only its containers know
//	                                          any other                           fails
func judgeAddresses(j *judgement, f *Facts, name string, uses []nodeLocalUse) {
	found, set := f.cacheConfig[name], f.daemonSets[name].value
	if found.err != nil {
		j.lacks(found.err)
		return
	}
	if _, err := corefile.Read(found.value.corefiles); err != nil {
		j.lacks(fmt.Errorf("DaemonSet %s: %w", name, err))
		return // it may listen on more
	}
	cache, _ := nodecache.Of(set)
	redirects := f.redirects[set.Namespace]
	listens := found.value.addresses()
	if containsAddress(listens, "0.0.0.0") || containsAddress(listens, "::") {
		listens = cache.LocalIPs // what it listens on besides is not known
	}
	for i := range uses {
		for _, server := range uses[i].local.Servers {
			r := slices.IndexFunc(redirects.value, func(r nodecache.Redirect) bool { return containsAddress([]string{server}, r.Address.String()) })
			switch {
			case r >= 0:
				j.tell("CiliumLocalRedirectPolicy %s/%s redirects %s", redirects.value[r].Namespace, redirects.value[r].Name, server)
			case len(cache.Nobodys([]string{server}, nil)) > 0 && redirects.err != nil:
				j.lacks(fmt.Errorf("DaemonSet %s: no node has the address %s, and whether Cilium redirects it is not known: %w", name, server, redirects.err))
			case len(cache.Nobodys([]string{server}, nil)) > 0:
				add, kept := judgeUses(j, uses)
				add("take the address of a Service that Cilium redirects to the cache, give a CiliumLocalRedirectPolicy that address (addressMatcher), or use mode Options",
					"DaemonSet %s is in the pod network with -setupinterface=false, so no node has the address %s, and no CiliumLocalRedirectPolicy in %s has it: nobody listens there, and %s", name, server, set.Namespace, kept)
			case len(cache.Unread) > 0 && !containsAddress(listens, server):
				j.lacks(fmt.Errorf("DaemonSet %s has %s in -localip, which only its containers know, so whether it listens on %s is not known", name, strings.Join(cache.Unread, " and "), server))
			case len(listens) == 0:
				j.warn("look at the addresses it listens on", "DaemonSet %s: neither -localip nor a bind in its Corefile tells the addresses it listens on", name)
			case !containsAddress(listens, server):
				j.fail("set dns.nodeLocal.servers to an address of the cache", "DaemonSet %s listens on %s, and %s points pods at %s", name, strings.Join(listens, ", "), uses[i].at, server)
			}
		}
	}
}
