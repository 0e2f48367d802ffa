package webhookconfig_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// parse returns a defaulted policy with the given lines of spec.
func parse(t testing.TB, spec string) *policy.InjectionPolicy {
	t.Helper()
	p, err := policy.Parse([]byte(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec:
  serviceHost: {host: api.example.com}
  dns: {}
` + spec))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// inCluster is where a Helm release puts the server.
var inCluster = webhookconfig.Options{OwnNamespace: "shorthop", Service: "shorthop-webhook", CABundle: []byte("PEM")}

// TestNew has the whole configuration for each kind of policy and place. Case files: testdata/new/<what is special>.txtar. The
// sections:
//
//	spec.yaml           what the policy's spec has besides
//	options.yaml        the options, those of inCluster if there is none
//	configuration.yaml  expected; `go test ./internal/webhookconfig -update` rewrites it
func TestNew(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/new", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "spec.yaml", "options.yaml", "configuration.yaml")
		options := inCluster
		if c.Section("options.yaml") != nil {
			options = webhookconfig.Options{}
			readYAML(t, c, "options.yaml", &options)
		}
		config := webhookconfig.New(parse(t, string(c.Section("spec.yaml"))), options)
		c.Expect(t, "configuration.yaml", jsontest.YAML(t, config))
	})
}

// readYAML reads a section of a case file into a value.
func readYAML(t *testing.T, c *testfile.Case, section string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(c.Section(section), into); err != nil {
		t.Fatalf("%s: %v", section, err)
	}
}

// TestFilterHash changes with what the filters are made from, and with nothing
// else.
func TestFilterHash(t *testing.T) {
	t.Parallel()
	base := webhookconfig.FilterHash(parse(t, ""))
	if len(base) != 12 || strings.Trim(base, "0123456789abcdef") != "" {
		t.Errorf("hash is %q, want 12 hex digits", base)
	}
	for spec, same := range map[string]bool{
		"  mode: Enforce\n":                                           true,
		"  mode: DryRun\n":                                            true,
		"  mode: \"Off\"\n":                                           false,
		"  disabledFeatures: [ServiceHost, DNS]\n":                    true,
		"  rollout: {percent: 5}\n":                                   true,
		"  rules: [{name: a, match: {namespaces: [b]}}]\n":            true,
		"  namespaceOptOut: Overridable\n":                            true,
		"  namespaceOptOut: Final\n":                                  false,
		"  labelAliases: []\n":                                        false,
		"  labelAliases: [{label: a, feature: DNS}]\n":                false,
		"  excludedNamespaces: []\n":                                  false,
		"  excludedNamespaces: [kube-system, kube-public, vault]\n":   false,
		"  excludedNamespaces: [kube-system, kube-public]\n":          false,
		"  excludedNamespaces: [kube-*]\n":                            false,
		"  virtualNodes: {tolerationKeys: [example.com/somewhere]}\n": true,
	} {
		if got := webhookconfig.FilterHash(parse(t, spec)); (got == base) != same {
			t.Errorf("%s: hash is %s, that of the default policy %s", strings.TrimSpace(spec), got, base)
		}
	}
}

// randomPolicy draws what filters are made from.
func randomPolicy(rng *rand.Rand) *policy.InjectionPolicy {
	p := &policy.InjectionPolicy{}
	names := []string{"a", "b", "kube-system", "kube-public", "shorthop", "vault", "default", "kube-*", "a*", "short*"}
	switch rng.IntN(4) {
	case 0: // the default
	case 1:
		p.Spec.ExcludedNamespaces = []string{}
	default:
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		p.Spec.ExcludedNamespaces = slices.Clone(names[:rng.IntN(len(names)+1)])
	}
	if rng.IntN(2) == 0 {
		p.Spec.LabelAliases = []policy.LabelAlias{}
		for _, label := range []string{"example.com/dns", "plain", "a.b/c_d.e"}[:rng.IntN(4)] {
			p.Spec.LabelAliases = append(p.Spec.LabelAliases,
				policy.LabelAlias{Label: label, Feature: policy.FeatureNameDNS, DisableOnly: rng.IntN(2) == 0})
		}
	}
	if rng.IntN(2) == 0 {
		p.Spec.NamespaceOptOut = policy.NamespaceOptOutFinal
	}
	policy.SetDefaults(p)
	return p
}

var injectValues = []string{"", "disabled", "disable", "false", "enabled", "true", "nonsense"}

func off(inject string) bool { return inject == "disabled" || inject == "disable" || inject == "false" }

// TestSelectors holds for every policy: New makes what Validate accepts; pods of
// own and excluded namespaces are selected by no entry, or kept out by a condition
// where a prefix excludes them, every other pod by the one for its namespace's label
// and its own, and by none in a closed namespace under Final.
func TestSelectors(t *testing.T) {
	t.Parallel()
	seeds := uint64(200)
	if testing.Short() {
		seeds /= 10
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := randomPolicy(rng)
		if errs := policy.Validate(p); len(errs) > 0 {
			t.Fatalf("seed %d: the policy itself is invalid: %v", seed, errs)
		}
		own := []string{"", "shorthop", "kube-system", "a"}[rng.IntN(4)]
		config := webhookconfig.New(p, webhookconfig.Options{OwnNamespace: own, Service: "shorthop"})
		if errs := webhookconfig.Validate(config, own, p); len(errs) > 0 {
			t.Errorf("seed %d: New makes what Validate refuses: %v", seed, errs)
		}
		for i := range config.Webhooks {
			// None of its pods may wait for itself, whatever a condition says.
			if s := config.Webhooks[i].NamespaceSelector; own != "" && !slices.Contains(s.MatchExpressions[1].Values, own) {
				t.Errorf("seed %d: no selector of %s has the own namespace", seed, config.Webhooks[i].Name)
			}
		}
		excluded := policy.NewExcluded(p.Spec.ExcludedNamespaces)
		for _, namespace := range append([]string{"", "shorthop", "a", "b", "c", "ab", "kube-system", "kube-flannel", "kubelet"}, excluded.Names...) {
			for _, inject := range injectValues {
				for _, ofPod := range injectValues {
					want := webhookconfig.OpenEntry
					switch {
					case namespace == own && own != "" || slices.ContainsFunc(p.Spec.ExcludedNamespaces, func(entry string) bool {
						beginning, isPrefix := strings.CutSuffix(entry, "*")
						return namespace == entry || isPrefix && strings.HasPrefix(namespace, beginning)
					}):
						want = ""
					case !off(inject) && off(ofPod):
						want = webhookconfig.OptedOutEntry
					case off(inject) && p.Spec.NamespaceOptOut == policy.NamespaceOptOutFinal:
						want = ""
					case off(inject):
						want = webhookconfig.ClosedEntry
					}
					if got := selecting(t, config, namespace, inject, ofPod); got != want {
						t.Errorf("seed %d, own namespace %q: pod labelled %q in namespace %q labelled %q is selected by %q, want %q",
							seed, own, ofPod, namespace, inject, got, want)
					}
				}
			}
		}
	}
}

// selecting names the entries that select a pod in a namespace, by the values of
// shorthop.dev/inject on both.
func selecting(t testing.TB, config *admissionv1.MutatingWebhookConfiguration, namespace, inject, ofPod string) string {
	t.Helper()
	labelled := func(set labels.Set, inject string) labels.Set {
		if inject != "" {
			set["shorthop.dev/inject"] = inject
		}
		return set
	}
	matches := func(selector *metav1.LabelSelector, set labels.Set) bool {
		if selector == nil {
			return true // the API server's default, an empty one
		}
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Matches(set)
	}
	var names []string
	for i := range config.Webhooks {
		if keptOut(t, &config.Webhooks[i], namespace) {
			continue
		}
		if matches(config.Webhooks[i].NamespaceSelector, labelled(labels.Set{"kubernetes.io/metadata.name": namespace}, inject)) &&
			matches(config.Webhooks[i].ObjectSelector, labelled(labels.Set{}, ofPod)) {
			names = append(names, config.Webhooks[i].Name)
		}
	}
	return strings.Join(names, " and ")
}

// keptOut evaluates the one condition that is about the namespace's name. The API
// server's own word for it is in test/integration.
func keptOut(t testing.TB, entry *admissionv1.MutatingWebhook, namespace string) bool {
	t.Helper()
	kept := false
	for _, condition := range entry.MatchConditions {
		if condition.Name != webhookconfig.ConditionExcluded {
			continue
		}
		for term := range strings.SplitSeq(condition.Expression, " && ") {
			var prefix string
			if _, err := fmt.Sscanf(term, "!request.namespace.startsWith('%s", &prefix); err != nil || !strings.HasSuffix(prefix, "')") {
				t.Fatalf("condition %s has the term %s", condition.Expression, term)
			}
			kept = kept || strings.HasPrefix(namespace, strings.TrimSuffix(prefix, "')"))
		}
	}
	return kept
}

// TestPolicyStaysAsItIs makes a configuration without a trace in the policy.
func TestPolicyStaysAsItIs(t *testing.T) {
	t.Parallel()
	p := parse(t, "")
	// Room for one more: appending must not reach into it.
	p.Spec.ExcludedNamespaces = append(make([]string, 0, 9), p.Spec.ExcludedNamespaces...)
	p.Spec.LabelAliases = append(make([]policy.LabelAlias, 0, 9), p.Spec.LabelAliases...)
	webhookconfig.New(p, inCluster)
	if extra := p.Spec.ExcludedNamespaces[:4][3]; extra != "" {
		t.Errorf("%s was written behind the policy's excluded namespaces", extra)
	}
	if diff := cmp.Diff(parse(t, ""), p); diff != "" {
		t.Errorf("policy (-before +after):\n%s", diff)
	}
}
