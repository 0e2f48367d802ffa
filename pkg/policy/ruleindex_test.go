package policy

import (
	"math/rand/v2"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The index must find the rule that asking one after the other finds.
func TestTheIndexFindsTheFirstRuleThatMatches(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	matched, unmatched := 0, 0
	for range 2000 {
		matches := make([]*Match, rng.IntN(12))
		rules := make([]rule, len(matches))
		for i := range matches {
			matches[i] = randomMatch(rng)
			compiled, err := compileMatch(matches[i])
			if err != nil {
				t.Fatal(err)
			}
			rules[i].matcher = compiled
		}
		index := newRuleIndex(rules, matches)
		for range 10 {
			request := randomRequest(rng)
			var want *settings
			if i := slices.IndexFunc(rules, func(r rule) bool { return r.match(request) }); i >= 0 {
				want, matched = &rules[i].settings, matched+1
			} else {
				unmatched++
			}
			if got := index.first(request); got != want {
				t.Fatalf("seed %d: the index finds another rule than asking in order\nrequest %+v\npod %+v\nrules %+v", seed, request, request.Pod, matches)
			}
		}
	}
	if matched < 1000 || unmatched < 1000 {
		t.Errorf("%d requests matched a rule and %d did not: the test has lost its subject", matched, unmatched)
	}
}

var indexNames = []string{"a", "ab", "abc", "b", "ba", "default"}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

func randomMatch(rng *rand.Rand) *Match {
	patterns := func() []string {
		list := make([]string, 1+rng.IntN(2))
		for i := range list {
			list[i] = pick(rng, append(indexNames, "*", "a*", "ab*", "*b", "?b")...)
		}
		return list
	}
	selector := func() *metav1.LabelSelector {
		s := &metav1.LabelSelector{}
		for range rng.IntN(3) {
			metav1.AddLabelToSelector(s, pick(rng, "k", "l"), pick(rng, indexNames...))
		}
		if rng.IntN(4) == 0 {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: "k", Operator: metav1.LabelSelectorOpDoesNotExist})
		}
		return s
	}
	var m Match
	if rng.IntN(3) == 0 {
		m.Namespaces = patterns()
	}
	if rng.IntN(3) == 0 {
		m.PodSelector = selector()
	}
	if rng.IntN(3) == 0 {
		m.NamespaceSelector = selector()
	}
	if rng.IntN(3) == 0 {
		m.ServiceAccounts = patterns()
	}
	if rng.IntN(3) == 0 {
		owner := Owner{Kind: pick(rng, "", "ReplicaSet", "Deployment", "Job")}
		if owner.Kind == "" || rng.IntN(2) == 0 {
			owner.Name = patterns()[0]
		}
		m.Owners = []Owner{owner}
	}
	return &m
}

func randomRequest(rng *rand.Rand) *Request {
	labels := func() map[string]string {
		m := map[string]string{}
		for range rng.IntN(3) {
			m[pick(rng, "k", "l", labelPodTemplateHash)] = pick(rng, indexNames...)
		}
		return m
	}
	pod := &Pod{Metadata: PodMetadata{Name: pick(rng, indexNames...), Labels: labels()}}
	if rng.IntN(2) == 0 {
		pod.Spec.ServiceAccountName = pick(rng, indexNames...)
	}
	if rng.IntN(2) == 0 {
		pod.Metadata.OwnerReferences = []OwnerReference{{
			Kind: pick(rng, "ReplicaSet", "Job"), Name: pick(rng, "a-b", "ab-a", "a-12345678", "b", "ab"), Controller: true,
		}}
	}
	return &Request{Namespace: pick(rng, indexNames...), NamespaceLabels: labels(), NamespaceKnown: true, Pod: pod}
}
