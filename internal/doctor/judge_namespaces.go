package doctor

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// judgeNamespacesOptedOut lists them: an opt-out is somebody's choice.
func judgeNamespacesOptedOut(f *Facts, known *knownPolicy) *judgement {
	if f.namespaces.err != nil {
		return unknown(f.namespaces.err)
	}
	labels := []string{policy.LabelInject, policy.LabelServiceHost, policy.LabelDNS}
	if known != nil {
		for _, alias := range known.document.Spec.LabelAliases {
			labels = append(labels, alias.Label)
		}
	}
	j := passed("none of %s", counted(len(f.namespaces.value), "namespace"))
	for i := range f.namespaces.value {
		n := &f.namespaces.value[i]
		if known != nil && known.compiled.Excludes(n.Name) {
			continue
		}
		var off []string
		for _, label := range labels {
			if slices.Contains(policy.DisablingValues(), n.Labels[label]) {
				off = append(off, label+"="+n.Labels[label])
			}
		}
		if len(off) > 0 {
			j.items = append(j.items, n.Name+" ("+strings.Join(off, ", ")+")")
		}
	}
	if len(j.items) > 0 {
		j.found = fmt.Sprintf("%d of %s", len(j.items), counted(len(f.namespaces.value), "namespace"))
	}
	return j
}

// judgeNamespaceNames finds namespaces whose name is a public top-level
// domain: "web.dev" is a Service there and a host on the internet.
func judgeNamespaceNames(f *Facts, _ *knownPolicy) *judgement {
	if f.namespaces.err != nil {
		return unknown(f.namespaces.err)
	}
	names := topLevel(f.namespaces.value)
	if len(names) == 0 {
		return passed("none is named like a public top-level domain")
	}
	j := passed("")
	j.warn("keep ndots at 2 or more for pods that call Services there by \"service.namespace\": with 1 these names are asked on the internet first",
		"%s named like a public top-level domain: %s", plural(len(names), "namespace is", "namespaces are"), strings.Join(names, ", "))
	return j
}

func topLevel(namespaces []corev1.Namespace) []string {
	var names []string
	for i := range namespaces {
		name := namespaces[i].Name
		// For a single label the suffix is the name itself, listed or not.
		if _, listed := publicsuffix.PublicSuffix(name); listed {
			names = append(names, name)
		}
	}
	return names
}

// judgeUnpatchedPods repeats what the API server counts.
func judgeUnpatchedPods(f *Facts, _ *knownPolicy) *judgement {
	config, err := f.configuration()
	if err != nil {
		return unknown(err)
	}
	if f.failOpen.err != nil {
		return unknown(f.failOpen.err)
	}
	j := passed("the API server that answered got every review answered since it started; others count for themselves")
	for i := range config.Webhooks {
		if n := f.failOpen.value[config.Webhooks[i].Name]; n > 0 {
			j.warn("list pods that are not as the policy wants them with `kubectl shorthop audit`, and create them again; `serving-certificate` and `replicas` tell why it happens",
				"%s: the API server that answered let %.0f reviews fail open since it started: those pods were created unpatched", config.Webhooks[i].Name, n)
		}
	}
	return j
}
