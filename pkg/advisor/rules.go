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

// AdvisedRule is a rule with its place.
type AdvisedRule struct {
	policy.Rule
	// Before is the rule that it must precede, since that matches the same pods and
	// the first that matches wins. It says all that that one says, but for what is
	// recommended. Empty where no rule matches yet.
	Before string `json:"-"`
	// Confidence is the least of its workloads', and Workloads how many these are.
	Confidence Confidence `json:"-"`
	Workloads  int        `json:"-"`
}

// advice is what a rule says. noFallback stands for an empty list of fallback
// servers, and before for the index of the rule that decides for the pods now, -1
// for none.
type advice struct {
	ndots      int
	noFallback bool
	before     int
}

// name is a rule's, as long as no other has it.
func (a advice) name() string {
	name := fmt.Sprintf("%sndots-%d", RulePrefix, a.ndots)
	if a.noFallback {
		name += "-no-fallback"
	}
	return name
}

// rule is the rule but for its name and match.
func (a advice) rule(existing []policy.Rule) AdvisedRule {
	var rule AdvisedRule
	var dns policy.DNS
	if a.before >= 0 {
		rule.Rule, rule.Before = existing[a.before], existing[a.before].Name
		if rule.DNS != nil {
			dns = *rule.DNS
		}
	}
	dns.Ndots = new(int32(a.ndots))
	if a.noFallback {
		dns.NodeLocal.FallbackServers = []string{}
	}
	rule.DNS = &dns
	return rule
}

func (a advice) compare(other advice) int {
	noFallback := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(a.ndots, other.ndots), cmp.Compare(noFallback[a.noFallback], noFallback[other.noFallback]), cmp.Compare(a.before, other.before))
}

// bundle is workloads that get the same from one rule: every owner in every
// namespace.
type bundle struct {
	advice
	namespaces map[string]bool
	owners     map[policy.Owner]bool
	confidence Confidence // the least
	workloads  int
}

func (b *bundle) trust(c Confidence) {
	if c.below(b.confidence) {
		b.confidence = c
	}
}

// join adds the namespaces of another.
func (b *bundle) join(other *bundle) {
	maps.Copy(b.namespaces, other.namespaces)
	b.workloads += other.workloads
	b.trust(other.confidence)
}

// LeftOut is the workloads that get no rule though a recommendation pays.
type LeftOut struct {
	// NoObject has a kind and name that no object can have. They come from an owner
	// reference, where they may be anything, a pattern for all pods too.
	NoObject []WorkloadKey
	// RulesDiffer is those whose pods are not all decided by one rule that is known.
	RulesDiffer []WorkloadKey
}

// Rules makes rules of the recommendations that pay. Workloads with the same
// recommendation share one: first those of a namespace, then namespaces with the
// same workloads. If that leaves more than twenty, rules are also joined where a
// workload of one namespace is named for others that have none of that name in the
// list of pods; all says which workloads there are. existing are the rules that
// there are: those that decide for the pods now are taken for the others' basis.
func Rules(r *Report, all []WorkloadKey, existing []policy.Rule) (rules []AdvisedRule, leftOut LeftOut) {
	byNamespace := make(map[advice]map[string]*bundle)
	for i := range r.Workloads {
		w := &r.Workloads[i]
		if w.Recommendation == nil || !w.Recommendation.Apply {
			continue
		}
		if named := (policy.Workload{Kind: w.Kind, Name: w.Name}); !named.IsValid() {
			leftOut.NoObject = append(leftOut.NoObject, w.WorkloadKey)
			continue
		}
		if w.RulesDiffer {
			leftOut.RulesDiffer = append(leftOut.RulesDiffer, w.WorkloadKey)
			continue
		}
		fallback := w.Recommendation.Fallback
		what := advice{w.Recommendation.Ndots, fallback != nil && fallback.Drop, slices.IndexFunc(existing, func(rule policy.Rule) bool {
			return slices.Contains(w.Rules, rule.Name)
		})}
		if byNamespace[what] == nil {
			byNamespace[what] = make(map[string]*bundle)
		}
		b := byNamespace[what][w.Namespace]
		if b == nil {
			b = &bundle{advice: what, namespaces: map[string]bool{w.Namespace: true}, owners: map[policy.Owner]bool{}, confidence: w.Recommendation.Confidence}
			byNamespace[what][w.Namespace] = b
		}
		b.owners[ownerOf(w.WorkloadKey)] = true
		b.workloads++
		b.trust(w.Recommendation.Confidence)
	}
	var bundles []*bundle
	for _, what := range slices.SortedFunc(maps.Keys(byNamespace), advice.compare) {
		same := make(map[string]*bundle)
		for _, namespace := range slices.Sorted(maps.Keys(byNamespace[what])) {
			b := byNamespace[what][namespace]
			key := fmt.Sprint(b.sortedOwners())
			if other := same[key]; other != nil {
				other.join(b)
				continue
			}
			same[key] = b
			bundles = append(bundles, b)
		}
	}
	if len(bundles) > exactRules {
		bundles = joined(bundles, all)
	}
	var names []string
	for i := range existing {
		names = append(names, existing[i].Name)
	}
	for _, b := range bundles {
		rule := b.rule(existing)
		rule.Match = policy.Match{Namespaces: slices.Sorted(maps.Keys(b.namespaces)), Owners: b.sortedOwners()}
		base := b.name()
		rule.Name, rule.Confidence, rule.Workloads = base, b.confidence, b.workloads
		for n := 2; slices.Contains(names, rule.Name); n++ {
			rule.Name = fmt.Sprintf("%s-%d", base, n)
		}
		names = append(names, rule.Name)
		rules = append(rules, rule)
	}
	return rules, leftOut
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
			if into.advice == b.advice && !reaches(into, b) && !reaches(b, into) {
				into.join(b)
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
