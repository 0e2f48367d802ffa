package doctor

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// failureIsOld is after which time controllers have tried again: they wait a
// little over a quarter of an hour at most.
const failureIsOld = 20 * time.Minute

// judgeFailedCreates repeats what controllers were told when the webhook kept them
// from creating pods: under failurePolicy Ignore it never does.
func judgeFailedCreates(f *Facts, _ *knownPolicy) *judgement {
	if f.failedCreates.err != nil {
		return unknown(f.failedCreates.err)
	}
	j := passed("the events of workloads, which last an hour or so, tell of no pod that the webhook kept from being created")
	for i := range f.failedCreates.value {
		e := &f.failedCreates.value[i]
		const words = "namespace %s: %s could not create a pod, last %s: %s"
		message := printable.Cut(e.message, printable.MaxLine/2)
		if f.now.Sub(e.last) > failureIsOld {
			j.warn("if its pods are there now, there is nothing to do", words, printable.Name(e.namespace), e.workload, at(e.last), message)
			continue
		}
		j.fail("set failurePolicy to Ignore (`webhook-configuration` says where), and see `serving-certificate` and `replicas` for why no review was answered; "+
			"to create pods at once, delete the webhook configuration and install it again later",
			words, printable.Name(e.namespace), e.workload, at(e.last), message)
	}
	return j
}

// serversThere are the nameservers that somebody has, as far as the policy and the
// cluster tell.
func (f *Facts) serversThere(known *knownPolicy) []string {
	spec := &known.document.Spec
	all := slices.Clone(spec.Cluster.DNSServers)
	discovered := f.discovered()
	if discovered != nil {
		all = slices.Concat(all, discovered.DNSServers, discovered.UpstreamServers)
	}
	for _, use := range nodeLocalUses(spec) {
		all = slices.Concat(all, spec.Cluster.FallbackServers(use.local, discovered))
		// Whether the cache has them, node-local-cache says; nobody has those of one that
		// is not there.
		if use.cache.DaemonSet == "" || f.notFound(use.cache.DaemonSet) == nil {
			all = append(all, use.local.Servers...)
		}
	}
	for i := range f.dnsServices.value {
		all = append(all, f.dnsServices.value[i].ClusterIPs...)
	}
	for _, c := range f.caches() {
		all = append(all, c.LocalIPs...)
	}
	for i := range f.cachesThere.value {
		all = append(all, f.cachesThere.value[i].LocalIPs...)
	}
	if f.dnsOnNodes.value || f.dnsOnNodes.err != nil { // they may answer at those of idle Services too
		return all
	}
	return slices.DeleteFunc(all, func(server string) bool {
		return slices.ContainsFunc(f.idleServices, func(s discovery.Service) bool { return containsAddress(s.ClusterIPs, server) })
	})
}

// lost reports how many of a pod's nameservers, from the first on, nobody has.
// It asks about pods whose DNS an earlier review pointed at a cache: others name
// whom they like.
func (f *Facts) lost(pod *audit.Pod, there []string) (servers []string, all, looked bool) {
	if pod.LeftOut() != "" || pod.Metadata.Labels[policy.LabelPinned] != policy.PinnedNodeLocal || pod.Spec.DNSPolicy != "None" {
		return nil, false, false
	}
	if pod.Spec.DNSConfig == nil || len(pod.Spec.DNSConfig.Nameservers) == 0 {
		return nil, true, true
	}
	for _, server := range pod.Spec.DNSConfig.Nameservers {
		if containsAddress(there, server) {
			return servers, false, true
		}
		servers = append(servers, server)
	}
	return servers, true, true
}

// judgePinnedPods finds running pods that an earlier policy pointed at a cache that
// is gone: dnsPolicy None is for a pod's life.
func judgePinnedPods(f *Facts, known *knownPolicy) *judgement {
	switch {
	case known == nil:
		return unknown(f.noPolicy())
	case f.pinned.err != nil:
		return unknown(f.pinned.err)
	}
	j := passed("every pod whose dnsPolicy is None because of Shorthop has a nameserver that is there")
	if len(f.pinned.value) == 0 {
		return j
	}
	if f.dnsServices.err != nil {
		return unknown(f.dnsServices.err)
	}
	if f.cachesThere.err != nil {
		return unknown(f.cachesThere.err)
	}
	for _, use := range nodeLocalUses(&known.document.Spec) { // one that cannot be read may have the addresses
		target := use.cache.DaemonSet
		if err := errors.Join(f.selected[target].err, f.daemonSets[target].err); err != nil {
			return unknown(err)
		}
	}
	const do = "create these pods again, with `kubectl rollout restart` for example: they then get what the policy has now"
	there := f.serversThere(known)
	type group struct {
		where, servers string
		all            bool
	}
	pods := map[group][]string{}
	var groups []group
	for i := range f.pinned.value {
		pod := &f.pinned.value[i]
		servers, all, looked := f.lost(pod, there)
		if !looked || len(servers) == 0 && !all {
			continue
		}
		w := pod.Workload()
		g := group{pod.Pod.Metadata.Namespace + ": " + w.QualifiedKind() + " " + printable.Name(w.Name), strings.Join(servers, ", "), all}
		if len(pods[g]) == 0 {
			groups = append(groups, g)
		}
		pods[g] = append(pods[g], pod.Pod.Metadata.Name)
	}
	for _, g := range groups {
		slices.Sort(pods[g])
		switch who := counted(len(pods[g]), "pod") + ", " + some(pods[g]); {
		case g.servers == "":
			j.fail(do, "namespace %s has dnsPolicy None and no nameserver: %s", g.where, who)
		case g.all:
			j.fail(do, "namespace %s has dnsPolicy None, and nobody in the cluster has its nameservers, %s: %s", g.where, g.servers, who)
		default:
			j.warn(do, "namespace %s asks %s first, which nobody in the cluster has: every lookup waits for the next one: %s", g.where, g.servers, who)
		}
	}
	return j
}
