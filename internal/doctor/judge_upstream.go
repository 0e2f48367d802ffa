package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
)

const upstreamGate = gates.KindUpstream

// judgeUpstreamDNS says what the servers that pods ask answer about names
// outside the cluster, as the replicas see it.
func judgeUpstreamDNS(f *Facts, known *knownPolicy) *judgement {
	switch {
	case known == nil:
		return unknown(f.noPolicy())
	case !known.compiled.FallsThrough():
		return passed("not needed: spec.resolvers knows no image whose resolver falls through, or no lower ndots is given")
	case f.replicas.err != nil:
		return unknown(f.replicas.err)
	}
	j := passed("")
	var asked, public []string
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if r.debug.value == nil {
			continue
		}
		for _, gate := range r.debug.value.Gates {
			if gate.Gate != upstreamGate {
				continue
			}
			target := oneLine(gate.Target)
			if !slices.Contains(asked, target) {
				asked = append(asked, target)
			}
			for _, name := range gate.PublicNamespaces {
				if !slices.Contains(public, name) {
					public = append(public, name)
				}
			}
			switch {
			case gate.Reason == policy.ReasonServiceNotLocal && gate.Open:
				j.tell("%s asks the outside about names that end in svc, which the policy allows (requireLocal: false)", target)
			case gate.Reason == policy.ReasonServiceNotLocal:
				j.warn(corefile.TemplatePlace(gate.Upstream != policy.UpstreamCluster), "%s asks the outside about names that end in svc: containers keep the ndots of resolv.conf", target)
				j.block = corefile.TemplateBlock()
			case !gate.Open:
				j.warn("mend what it says; meanwhile new pods keep the ndots of resolv.conf",
					"%s: %s (%s): %s", r, target, gate.Reason, gate.LastError)
			}
		}
	}
	if len(public) > 0 {
		j.warn("rename the namespace, or have its Services called with .svc at the end and set dns.fallthrough.ndots to 3: with 2, \"pod.service.namespace\" is asked outside first",
			"%s with a headless Service known outside as a name, so fallthrough.ndots counts as 3 and names with two dots take the search list first: %s",
			plural(len(public), "namespace", "namespaces"), strings.Join(public, ", "))
	}
	if len(asked) == 0 && j.status == Pass {
		j.found = "the replicas report no gate: the policy has no probe, or they are of an older version"
	} else if j.status == Pass {
		j.found = fmt.Sprintf("answered as it must be by %s", strings.Join(asked, ", "))
	}
	return j
}
