package advisor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// RulePrefix begins the names of the rules that are made here.
const RulePrefix = "advised-"

// exactRules is up to how many rules may name their workloads exactly.
const exactRules = 20

// bundle is workloads that get the same from one rule: every owner in every
// namespace.
type bundle struct {
	ndots      int
	namespaces map[string]bool
	owners     map[policy.Owner]bool
}

// Rules makes rules of the recommendations that pay. Workloads with the same
// recommendation share one: first those of a namespace, then namespaces with the
// same workloads. If that leaves more than twenty, rules are also joined where a
// workload of one namespace is named for others that have none of that name in the
// list of pods; all says which workloads there are. taken are names that rules must
// not have.
func Rules(r *Report, all []WorkloadKey, taken []string) []policy.Rule {
	byNamespace := make(map[int]map[string]*bundle)
	for i := range r.Workloads {
		w := &r.Workloads[i]
		if w.Recommendation == nil || !w.Recommendation.Apply {
			continue
		}
		ndots := w.Recommendation.Ndots
		if byNamespace[ndots] == nil {
			byNamespace[ndots] = make(map[string]*bundle)
		}
		b := byNamespace[ndots][w.Namespace]
		if b == nil {
			b = &bundle{ndots, map[string]bool{w.Namespace: true}, map[policy.Owner]bool{}}
			byNamespace[ndots][w.Namespace] = b
		}
		b.owners[ownerOf(w.WorkloadKey)] = true
	}
	var bundles []*bundle
	for _, ndots := range slices.Sorted(maps.Keys(byNamespace)) {
		same := make(map[string]*bundle)
		for _, namespace := range slices.Sorted(maps.Keys(byNamespace[ndots])) {
			b := byNamespace[ndots][namespace]
			key := fmt.Sprint(b.sortedOwners())
			if other := same[key]; other != nil {
				other.namespaces[namespace] = true
				continue
			}
			same[key] = b
			bundles = append(bundles, b)
		}
	}
	if len(bundles) > exactRules {
		bundles = joined(bundles, all)
	}
	var rules []policy.Rule
	names := slices.Clone(taken)
	for _, b := range bundles {
		rule := policy.Rule{
			Match: policy.Match{Namespaces: slices.Sorted(maps.Keys(b.namespaces)), Owners: b.sortedOwners()},
			DNS:   &policy.DNS{Ndots: new(int32(b.ndots))},
		}
		base := fmt.Sprintf("%sndots-%d", RulePrefix, b.ndots)
		rule.Name = base
		for n := 2; slices.Contains(names, rule.Name); n++ {
			rule.Name = fmt.Sprintf("%s-%d", base, n)
		}
		names = append(names, rule.Name)
		rules = append(rules, rule)
	}
	return rules
}

// ownerOf is how a rule names a workload. A generateName stands for all its pods.
func ownerOf(k WorkloadKey) policy.Owner { return policy.Owner{Kind: k.Kind, Name: k.Name} }

func (b *bundle) sortedOwners() []policy.Owner {
	return slices.SortedFunc(maps.Keys(b.owners), func(x, y policy.Owner) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Name, y.Name))
	})
}

// joined puts bundles together that reach no further workload of the list.
func joined(bundles []*bundle, all []WorkloadKey) []*bundle {
	exists := make(map[WorkloadKey]bool, len(all))
	for _, k := range all {
		exists[k] = true
	}
	reaches := func(into, b *bundle) bool {
		for namespace := range b.namespaces {
			for o := range into.owners {
				if !b.owners[o] && exists[WorkloadKey{namespace, o.Kind, o.Name}] {
					return true
				}
			}
		}
		return false
	}
	var result []*bundle
next:
	for _, b := range bundles {
		for _, into := range result {
			if into.ndots == b.ndots && !reaches(into, b) && !reaches(b, into) {
				maps.Copy(into.namespaces, b.namespaces)
				maps.Copy(into.owners, b.owners)
				continue next
			}
		}
		result = append(result, b)
	}
	return result
}

// Workloads lists the workloads of all pods.
func (c *Clients) Workloads() []WorkloadKey {
	var all []WorkloadKey
	for i := range c.groups {
		if k := c.groups[i].workload; !slices.Contains(all[max(0, len(all)-1):], k) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, WorkloadKey.compare)
	return slices.Compact(all)
}
