package doctor

import "slices"

// judgeBootstrapPods finds what an earlier policy, or a pod's earlier
// settings, have left on pods that run: reviews leave these alone, or take it
// out, only when they are created again.
func judgeBootstrapPods(f *Facts, known *knownPolicy) *judgement {
	switch {
	case known == nil:
		return unknown(f.noPolicy())
	case f.bootstrap.err != nil:
		return unknown(f.bootstrap.err)
	}
	j := passed("no pod that the network or DNS may stand on has a host by name from Shorthop")
	type group struct{ workload, host string }
	pods, recorded := map[group][]string{}, map[group]bool{}
	var groups []group
	for i := range f.bootstrap.value {
		pod := &f.bootstrap.value[i]
		host, byRecord := f.waitsForDNS(pod, known)
		if host == "" {
			continue
		}
		w := pod.Workload()
		g := group{pod.Pod.Metadata.Namespace + ": " + w.QualifiedKind() + " " + w.Name, host}
		if len(pods[g]) == 0 {
			groups = append(groups, g)
		}
		pods[g] = append(pods[g], pod.Pod.Metadata.Name)
		recorded[g] = recorded[g] || byRecord
	}
	for _, g := range groups {
		slices.Sort(pods[g])
		if recorded[g] {
			j.fail("create these pods again, with `kubectl rollout restart` for example; do it before all nodes start at once, as after a power cut: "+
				"then these pods wait for a DNS that waits for them",
				"namespace %s finds the API server by the name %s, and the network or DNS may stand on it: %s, %s", g.workload, g.host, counted(len(pods[g]), "pod"), some(pods[g]))
		} else {
			j.warn("if their author did not write that host, take it out; an address does not need DNS",
				"namespace %s has the policy's host %s without a record, asks the cluster DNS for it, and the network or DNS may stand on it: %s, %s", g.workload, g.host, counted(len(pods[g]), "pod"), some(pods[g]))
		}
	}
	return j
}
