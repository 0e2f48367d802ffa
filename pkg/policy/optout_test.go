package policy_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func compile(t testing.TB, document string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, document, "")
}

const header = "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec:\n"

// says is what a label, or everything that is asked about a pod or a
// namespace, has to say about a feature.
type says int

const (
	nothing says = iota
	yes
	no
	nonsense
)

// spellings are the values of a label; what they mean must not depend on which
// of them is used.
var spellings = map[says][]string{
	yes:      {"enabled", "enable", "true"},
	no:       {"disabled", "disable", "false"},
	nonsense: {"", "Enabled", "off", "NodeLocal"},
}

// object is a pod or a namespace, by what its labels say.
type object struct {
	inject, feature says
	aliases         []says // of feature.aliases
	labels          map[string]string
}

// feature is one of the two, with the labels that it has.
type feature struct {
	name    policy.Feature
	label   string
	aliases []string
	// deaf is an alias that knows only to disable.
	deaf string
	// policies have the feature enabled and disabled, by the policy and by a
	// rule; %s is namespaceOptOut.
	policies map[policy.Reason]string
}

var optOutFeatures = []feature{
	{
		name:    policy.FeatureServiceHost,
		label:   "shorthop.dev/service-host",
		aliases: []string{"apiserver-proxy.networking.gardener.cloud/inject", "example.com/api"},
		deaf:    "apiserver-proxy.networking.gardener.cloud/inject",
		policies: map[policy.Reason]string{
			policy.ReasonEnabledByPolicy:  "  serviceHost: {host: api.example.com}\n",
			policy.ReasonDisabledByPolicy: "  serviceHost: {host: api.example.com, enabled: false}\n",
			policy.ReasonEnabledByRule:    "  serviceHost: {host: api.example.com, enabled: false}\n  rules: [{name: all, serviceHost: {enabled: true}}]\n",
			policy.ReasonDisabledByRule:   "  serviceHost: {host: api.example.com}\n  rules: [{name: all, serviceHost: {enabled: false}}]\n",
		},
	},
	{
		name:    policy.FeatureDNS,
		label:   "shorthop.dev/dns",
		aliases: []string{"node-local-dns-injection", "localdns-injector"},
		policies: map[policy.Reason]string{
			policy.ReasonEnabledByPolicy:  "  dns: {}\n",
			policy.ReasonDisabledByPolicy: "  dns: {enabled: false}\n",
			policy.ReasonEnabledByRule:    "  dns: {enabled: false}\n  rules: [{name: all, dns: {enabled: true}}]\n",
			policy.ReasonDisabledByRule:   "  dns: {}\n  rules: [{name: all, dns: {enabled: false}}]\n",
		},
	},
}

// aliasDocument adds an enabling alias to the service host, which by default
// has only Gardener's.
const aliasDocument = `  labelAliases:
  - {label: apiserver-proxy.networking.gardener.cloud/inject, feature: ServiceHost, disableOnly: true}
  - {label: example.com/api, feature: ServiceHost}
  - {label: node-local-dns-injection, feature: DNS}
  - {label: localdns-injector, feature: DNS}
`

// objects are all that the labels of one feature can say together.
func (f *feature) objects() []object {
	var all []object
	spelling := 0
	everything := []says{nothing, yes, no, nonsense}
	for _, inject := range everything {
		for _, own := range everything {
			for _, first := range everything {
				for _, second := range everything {
					o := object{inject: inject, feature: own, aliases: []says{first, second}, labels: map[string]string{"app": "web"}}
					for key, what := range map[string]says{
						"shorthop.dev/inject": inject, f.label: own, f.aliases[0]: first, f.aliases[1]: second,
					} {
						if values := spellings[what]; values != nil {
							o.labels[key] = values[spelling%len(values)]
							spelling++
						}
					}
					all = append(all, o)
				}
			}
		}
	}
	return all
}

// opinion is what an object says about the feature alone: "the canonical label
// wins where both are set; of contradicting aliases, disabled wins", and an
// alias that knows only disable never enables.
func (f *feature) opinion(o *object) says {
	if o.feature == yes || o.feature == no {
		return o.feature
	}
	heard := map[says]bool{}
	for i, what := range o.aliases {
		heard[what] = heard[what] || what == no || f.aliases[i] != f.deaf
	}
	switch {
	case heard[no]:
		return no
	case heard[yes]:
		return yes
	}
	return nothing
}

// voice is one line of the precedence in the design: who speaks, and what.
type voice struct {
	says   says
	reason map[says]policy.Reason
}

var (
	podReasons       = map[says]policy.Reason{yes: policy.ReasonEnabledByPodLabel, no: policy.ReasonDisabledByPodLabel}
	namespaceReasons = map[says]policy.Reason{yes: policy.ReasonEnabledByNamespaceLabel, no: policy.ReasonDisabledByNamespaceLabel}
	closedReason     = map[says]policy.Reason{no: policy.ReasonNamespaceClosed}
)

// only is what is said, if it is one thing.
func only(what, one says) says {
	if what == one {
		return what
	}
	return nothing
}

// expected asks in the order of the design: "pod feature label > pod inject >
// namespace inject: disabled > namespace feature label > namespace inject:
// enabled > the policy's (or rule's) enabled"; "under Final not even" a pod's
// own label reopens a closed namespace.
func (f *feature) expected(pod, namespace *object, final bool, byDefault policy.Reason) policy.Reason {
	closed := voice{only(namespace.inject, no), closedReason}
	voices := []voice{
		{f.opinion(pod), podReasons},
		{pod.inject, podReasons},
		closed,
		{f.opinion(namespace), namespaceReasons},
		{only(namespace.inject, yes), namespaceReasons},
	}
	if final {
		voices = append([]voice{closed}, voices...)
	}
	for _, v := range voices {
		if reason, speaks := v.reason[v.says]; speaks {
			return reason
		}
	}
	return byDefault
}

var enabling = map[policy.Reason]bool{
	policy.ReasonEnabledByPolicy: true, policy.ReasonEnabledByRule: true,
	policy.ReasonEnabledByPodLabel: true, policy.ReasonEnabledByNamespaceLabel: true,
}

func (o *object) mistakes() int {
	n := 0
	for _, what := range append([]says{o.inject, o.feature}, o.aliases...) {
		if what == nonsense {
			n++
		}
	}
	return n
}

// TestPrecedenceOfLabels asks about everything that pod and namespace can say
// about one feature, under every default: 2 features x 256 pods x 256
// namespaces x 4 defaults x 2.
func TestPrecedenceOfLabels(t *testing.T) {
	t.Parallel()
	for _, f := range optOutFeatures {
		objects := f.objects()
		for byDefault, document := range f.policies {
			for optOut, final := range map[string]bool{"Overridable": false, "Final": true} {
				t.Run(fmt.Sprintf("%s %s %s", f.name, byDefault, optOut), func(t *testing.T) {
					t.Parallel()
					compiled := compile(t, header+aliasDocument+"  namespaceOptOut: "+optOut+"\n"+document)
					for i := range objects {
						for j := range objects {
							pod, namespace := &objects[i], &objects[j]
							want := f.expected(pod, namespace, final, byDefault)
							got := f.decide(compiled, pod, namespace)
							if got.outcome.Reason != want || got.outcome.Injects() != enabling[want] {
								t.Fatalf("pod %v, namespace %v: %s, %s; want %s", pod.labels, namespace.labels, got.outcome.Action, got.outcome.Reason, want)
							}
							if n := pod.mistakes() + namespace.mistakes(); got.warnings != n {
								t.Fatalf("pod %v, namespace %v: %d warnings, want %d", pod.labels, namespace.labels, got.warnings, n)
							}
						}
					}
				})
			}
		}
	}
}

type optOutDecision struct {
	outcome  policy.Outcome
	warnings int
}

func (f *feature) decide(compiled *policy.Compiled, pod, namespace *object) optOutDecision {
	d := compiled.Decide(&policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       "shop",
		NamespaceLabels: namespace.labels,
		NamespaceKnown:  true,
		Pod: &policy.Pod{
			Metadata: policy.PodMetadata{Labels: pod.labels},
			Spec:     policy.PodSpec{Containers: []policy.Container{{Name: "app"}}},
		},
	})
	outcome := d.DNS.Outcome
	if f.name == policy.FeatureServiceHost {
		outcome = d.ServiceHost.Outcome
	}
	return optOutDecision{outcome, len(d.Warnings)}
}

// A feature that the policy disables is given to nobody, and the other is not
// affected: the same pods, namespaces and defaults.
func TestDisabledFeaturesBeatEveryLabelAndRule(t *testing.T) {
	t.Parallel()
	for i, f := range optOutFeatures {
		name, other := "ServiceHost", &optOutFeatures[1-i]
		if f.name == policy.FeatureDNS {
			name = "DNS"
		}
		objects := f.objects()
		for byDefault, document := range f.policies {
			t.Run(fmt.Sprintf("%s %s", f.name, byDefault), func(t *testing.T) {
				t.Parallel()
				disabled := compile(t, header+aliasDocument+"  disabledFeatures: ["+name+"]\n"+document)
				as := compile(t, header+aliasDocument+document)
				for i := range objects {
					for j := range objects {
						pod, namespace := &objects[i], &objects[j]
						if got := f.decide(disabled, pod, namespace).outcome; got != (policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonFeatureDisabled}) {
							t.Fatalf("pod %v, namespace %v: %s, %s", pod.labels, namespace.labels, got.Action, got.Reason)
						}
						if got, want := other.decide(disabled, pod, namespace), other.decide(as, pod, namespace); got != want {
							t.Fatalf("pod %v, namespace %v: %s is %v, want %v", pod.labels, namespace.labels, other.name, got, want)
						}
					}
				}
			})
		}
	}
}

// A label of one feature never has an effect on the other.
func TestFeaturesAreIndependent(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+aliasDocument+"  serviceHost: {host: api.example.com}\n  dns: {}\n")
	for i, f := range optOutFeatures {
		other := &optOutFeatures[1-i]
		for _, o := range f.objects() {
			if o.inject != nothing {
				continue
			}
			empty := object{}
			for _, pair := range [][2]*object{{&o, &empty}, {&empty, &o}, {&o, &o}} {
				before := maps.Clone(pair[0].labels)
				if got := other.decide(compiled, pair[0], pair[1]).outcome; got.Reason != policy.ReasonEnabledByPolicy {
					t.Fatalf("%s: pod %v, namespace %v: %s", other.name, pair[0].labels, pair[1].labels, got.Reason)
				}
				if !maps.Equal(before, pair[0].labels) {
					t.Fatal("a decision changed the labels")
				}
			}
		}
	}
}
