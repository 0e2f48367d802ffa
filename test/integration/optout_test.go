package integration_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// optOutFeature is one of the two features, by the labels that it has.
type optOutFeature struct {
	label, alias string
	// deaf says that the alias knows only to disable.
	deaf bool
	// injected reports whether a pod has the feature.
	injected func(*corev1.Pod) bool
}

var optOutTable = map[string]optOutFeature{
	"service host": {
		label: policy.LabelServiceHost, alias: aliasGardener, deaf: true,
		injected: hasServiceHost,
	},
	"dns": {
		label: policy.LabelDNS, alias: aliasNodeDNS,
		injected: hasNdots(2),
	},
}

func hasServiceHost(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == policy.EnvServiceHost })
}

// labelSets are all that the three labels of a feature can say together: each is enabled, disabled or unset.
func (f *optOutFeature) labelSets() []map[string]string {
	var sets []map[string]string
	for _, inject := range []string{"", "enabled", "disabled"} {
		for _, own := range []string{"", "enabled", "disabled"} {
			for _, alias := range []string{"", "enabled", "disabled"} {
				set := map[string]string{}
				for key, value := range map[string]string{policy.LabelInject: inject, f.label: own, f.alias: alias} {
					if value != "" {
						set[key] = value
					}
				}
				sets = append(sets, set)
			}
		}
	}
	return sets
}

// wanted asks, in the order of the design, who has a say about a feature. The first that says something decides.
func (f *optOutFeature) wanted(pod, namespace map[string]string, final, byDefault bool) bool {
	const enabled, disabled = "enabled", "disabled"
	either := []string{enabled, disabled}
	ofAlias := either
	if f.deaf {
		ofAlias = []string{disabled}
	}
	type voice struct {
		labels  map[string]string
		key     string
		listens []string
	}
	order := []voice{
		{pod, f.label, either},
		{pod, f.alias, ofAlias},
		{pod, policy.LabelInject, either},
		{namespace, policy.LabelInject, []string{disabled}},
		{namespace, f.label, either},
		{namespace, f.alias, ofAlias},
		{namespace, policy.LabelInject, []string{enabled}},
	}
	if final {
		order = slices.Insert(order, 0, voice{namespace, policy.LabelInject, []string{disabled}})
	}
	for _, v := range order {
		if said := v.labels[v.key]; slices.Contains(v.listens, said) {
			return said == enabled
		}
	}
	return byDefault
}

// TestEveryOptOutThroughTheAPIServer has the whole precedence, 27 pods in each of 27 namespaces for each feature under four
// policies, through the API server's selectors and conditions and the real program behind them. A pod that the filter
// keeps from us and that we would change comes back without what it should have.
func TestEveryOptOutThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	for _, optOut := range []policy.NamespaceOptOut{policy.NamespaceOptOutOverridable, policy.NamespaceOptOutFinal} {
		for _, enabled := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, enabled %t", optOut, enabled), func(t *testing.T) {
				t.Parallel()
				s := newScope(t)
				document := fmt.Sprintf(policyWithSpec, fmt.Sprintf(
					"{namespaceOptOut: %s, serviceHost: {hostFrom: NodeIP, enabled: %[2]t}, dns: {ndots: 2, enabled: %[2]t}}", optOut, enabled))
				file := filepath.Join(t.TempDir(), "policy.yaml")
				replaceFile(t, file, document)
				webhook := s.startWebhook(file)
				s.register(configuration(s.name, parse(t, document), webhook.endpoint))
				s.wait(s.namespace("ready", map[string]string{policy.LabelInject: "enabled"}), hasServiceHost)

				for name, f := range optOutTable {
					injected := s.tryEveryOptOut(name, &f, optOut == policy.NamespaceOptOutFinal, enabled)
					t.Logf("%s: %d of %d pods injected, of a third of them under -short", name, injected, 27*27)
					if injected == 0 || injected == 27*27 {
						t.Errorf("%s: %d pods injected: this test has lost its subject", name, injected)
					}
				}
			})
		}
	}
}

// tryEveryOptOut returns how many of the pods were injected.
func (s *scope) tryEveryOptOut(name string, f *optOutFeature, final, byDefault bool) int {
	s.t.Helper()
	sets := f.labelSets()
	counts := make([]int, len(sets))
	var group errgroup.Group
	group.SetLimit(4)
	for i, labels := range sets {
		namespace := s.namespace(fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), i), labels)
		group.Go(func() error {
			for j := range sets {
				pod := plainPod(fmt.Sprintf("pod-%d", j))
				pod.Labels = sets[j]
				created, err := shared.Client.CoreV1().Pods(namespace).Create(s.t.Context(), pod, dryRun)
				if err != nil {
					return err
				}
				got, want := f.injected(created), f.wanted(sets[j], labels, final, byDefault)
				if got != want {
					s.t.Errorf("%s: namespace %v, pod %v: injected is %t, want %t", name, labels, sets[j], got, want)
				}
				if got {
					counts[i]++
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		s.t.Fatal(err)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

// TestTheKillSwitchIsInForceAtTheAPIServer turns off and on what is registered, in front of a server that has not read the
// new policy yet: no pod reaches it, whatever its labels say, and afterwards everything is as before.
func TestTheKillSwitchIsInForceAtTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	var calls recorder
	at := serve(t, &calls)
	on := parse(t, fmt.Sprintf(policyWithSpec, "{dns: {}}"))
	off := parse(t, fmt.Sprintf(policyWithSpec, "{dns: {}, mode: Off}"))
	namespaces := []string{s.namespace("open", nil), s.namespace("closed", map[string]string{policy.LabelInject: "disabled"})}
	trials := 0
	called := func() bool {
		all := true
		for _, namespace := range namespaces {
			trials++
			pod := plainPod(fmt.Sprintf("trial-%d", trials))
			pod.Labels = map[string]string{policy.LabelInject: "enabled"}
			if _, err := shared.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, dryRun); err != nil {
				t.Fatal(err)
			}
			all = all && calls.calledFor("CREATE", namespace, pod.Name)
		}
		return all
	}
	calledForNone := func() bool {
		before := calls.total()
		return !called() && calls.total() == before
	}
	wait := func(effective func() bool) {
		t.Helper()
		s.wait(namespaces[0], func(*corev1.Pod) bool { return effective() })
	}

	s.register(configuration(s.name, on, at))
	wait(called)
	s.register(configuration(s.name, off, at))
	wait(calledForNone)
	for range 20 {
		if !calledForNone() {
			t.Error("called in mode Off")
		}
	}
	s.register(configuration(s.name, on, at))
	wait(called)
}

// total is how often the recorder was called.
func (r *recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, calls := range r.calls {
		n += calls
	}
	return n
}

// The kill switch of everything and of one feature, and a rule on trial, are followed without a restart.
func TestAReloadedPolicyCanSwitchOffEverythingOneFeatureOrRule(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("switch-one", nil)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	with := func(more string) string {
		return fmt.Sprintf(policyWithSpec, "{serviceHost: {hostFrom: NodeIP}, dns: {ndots: 2}"+more+"}")
	}
	replaceFile(t, file, with(""))
	webhook := s.startWebhook(file)
	s.register(configuration(s.name, parse(t, with("")), webhook.endpoint))
	for _, step := range []struct {
		more      string
		host, dns bool
	}{
		{"", true, true},
		{", mode: \"Off\"", false, false},
		{"", true, true},
		{", mode: DryRun", false, false},
		{", disabledFeatures: [DNS]", true, false},
		{", disabledFeatures: [ServiceHost]", false, true},
		{", disabledFeatures: [DNS, ServiceHost]", false, false},
		{"", true, true},
		{", rules: [{name: trial, mode: DryRun, match: {namespaces: [\"switch-*\"]}}]", false, false},
		{", rules: [{name: other, mode: DryRun, match: {namespaces: [\"billing\"]}}]", true, true},
		{", rules: [{name: fragile, mode: Off, match: {namespaces: [\"switch-*\"]}}]", false, false},
	} {
		replaceFile(t, file, with(step.more))
		s.wait(namespace, func(pod *corev1.Pod) bool {
			return hasServiceHost(pod) == step.host && hasNdots(2)(pod) == step.dns
		})
	}
}
