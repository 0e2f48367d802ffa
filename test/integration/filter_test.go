package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// The aliases, which the tests write out so that a mistake in the defaults does not hide in them.
const (
	aliasGardener = "apiserver-proxy.networking.gardener.cloud/inject" // service-host, knows only disable
	aliasNodeDNS  = "node-local-dns-injection"
	aliasLocalDNS = "localdns-injector"
)

// Other spellings of a label's values, and values that are none.
var (
	onSpellings  = []string{"enabled", "enable", "true"}
	offSpellings = []string{"disabled", "disable", "false"}
	noSpellings  = []string{"", "Enabled", "Disabled", "yes", "no", "0", "off", "NodeLocal"}
)

// filterPolicies decide as differently as labels allow: a filter that passes what one of them would change is not enough.
var filterPolicies = []string{
	`{serviceHost: {host: api.example.com}, dns: {ndots: 2}}`,
	`{serviceHost: {host: api.example.com, enabled: false}, dns: {ndots: 2, enabled: false}}`,
}

// recorder is a webhook that changes nothing and remembers for which pods it was called.
type recorder struct {
	mu    sync.Mutex
	calls map[recordedCall]int
}

type recordedCall struct{ operation, namespace, name string }

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review struct {
		Request struct{ Operation, Namespace, Name, UID string }
	}
	if err := json.Unmarshal(body, &review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	if r.calls == nil {
		r.calls = map[recordedCall]int{}
	}
	r.calls[recordedCall{review.Request.Operation, review.Request.Namespace, review.Request.Name}]++
	r.mu.Unlock()
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, review.Request.UID)
}

// calledFor reports whether the recorder was called for an operation on a pod.
func (r *recorder) calledFor(operation, namespace, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[recordedCall{operation, namespace, name}] > 0
}

// filterTest is a recorder that is registered as we are, for one way of namespaceOptOut.
type filterTest struct {
	*scope
	recorder recorder
	optOut   policy.NamespaceOptOut
	policies []*policy.Compiled
}

// newFilterTest takes what is excluded besides the default's names.
func newFilterTest(t *testing.T, optOut policy.NamespaceOptOut, excluded ...string) *filterTest {
	t.Helper()
	f := &filterTest{scope: newScope(t), optOut: optOut}
	for _, spec := range filterPolicies {
		document := parse(t, fmt.Sprintf(policyWithSpec, spec))
		document.Spec.NamespaceOptOut = optOut
		document.Spec.ExcludedNamespaces = append(document.Spec.ExcludedNamespaces, excluded...)
		compiled, err := policy.Compile(document, ownNamespace)
		if err != nil {
			t.Fatal(err)
		}
		f.policies = append(f.policies, compiled)
	}
	f.register(configuration(f.name, f.policies[0].Document(), serve(t, &f.recorder)))
	ready := f.namespace("ready", nil)
	f.wait(ready, func(*corev1.Pod) bool { return f.recorder.calledFor("CREATE", ready, "trial") })
	return f
}

// namespaces creates a namespace for every value of its label shorthop.dev/inject. The value "-" stands for no label.
func (f *filterTest) namespaces(values ...string) map[string]string {
	f.t.Helper()
	byValue := map[string]string{}
	for i, value := range values {
		var labels map[string]string
		if value != "-" {
			labels = map[string]string{policy.LabelInject: value}
		}
		byValue[value] = f.namespace(fmt.Sprintf("filter-%d", i), labels)
	}
	return byValue
}

// changes reports whether we would change the pod if its namespace had this value of shorthop.dev/inject and any other
// labels, under any of the policies.
func (f *filterTest) changes(request policy.Request, inject string) bool {
	for _, others := range namespaceLabelSets {
		labels := maps.Clone(others)
		if inject != "-" {
			labels[policy.LabelInject] = inject
		}
		request.NamespaceLabels, request.NamespaceKnown = labels, true
		for _, compiled := range f.policies {
			if result := mutate.Review(compiled, request); len(result.Operations) > 0 {
				return true
			}
		}
	}
	return false
}

// namespaceLabelSets are what a namespace can say of the features.
var namespaceLabelSets = func() []map[string]string {
	sets := []map[string]string{{}}
	for _, key := range []string{policy.LabelServiceHost, policy.LabelDNS, aliasGardener, aliasNodeDNS, aliasLocalDNS} {
		for _, set := range slices.Clone(sets) {
			for _, value := range []string{"enabled", "disabled"} {
				next := maps.Clone(set)
				next[key] = value
				sets = append(sets, next)
			}
		}
	}
	return sets
}()

// podLabelSets are all combinations of values of the labels that open and close a pod: each is enabled, disabled, unset
// or something else, in one spelling or another. Of the aliases, which are alike, at most two are set.
func podLabelSets() []map[string]string {
	spelling := 0
	spell := func(kind string) string {
		spelling++
		switch kind {
		case "on":
			return onSpellings[spelling%len(onSpellings)]
		case "off":
			return offSpellings[spelling%len(offSpellings)]
		}
		return noSpellings[spelling%len(noSpellings)]
	}
	with := func(sets []map[string]string, key string) []map[string]string {
		for _, set := range slices.Clone(sets) {
			for _, kind := range []string{"on", "off", "other"} {
				next := maps.Clone(set)
				next[key] = spell(kind)
				sets = append(sets, next)
			}
		}
		return sets
	}
	aliases := []map[string]string{
		{},
		{aliasNodeDNS: "enabled", aliasLocalDNS: "disabled"},
		{aliasGardener: "disable", aliasLocalDNS: "enabled"},
	}
	for _, key := range []string{aliasGardener, aliasNodeDNS, aliasLocalDNS} {
		aliases = append(aliases, with([]map[string]string{{}}, key)[1:]...)
	}
	return with(with(with(aliases, policy.LabelInject), policy.LabelServiceHost), policy.LabelDNS)
}

// asksFor reports whether a pod's own labels enable something, and so may reopen a closed namespace.
func asksFor(labels map[string]string) bool {
	for _, key := range []string{policy.LabelInject, policy.LabelServiceHost, policy.LabelDNS, aliasNodeDNS, aliasLocalDNS} {
		if slices.Contains(onSpellings, labels[key]) {
			return true
		}
	}
	return false
}

// TestTheFilterKeepsNothingFromUsThatWeWouldChange tries every combination of labels on pods, in namespaces of every kind,
// at the real API server. It also pins that the filter keeps out what it is meant to keep out.
func TestTheFilterKeepsNothingFromUsThatWeWouldChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		optOut   policy.NamespaceOptOut
		excluded []string
	}{
		"Overridable": {optOut: policy.NamespaceOptOutOverridable},
		"Final":       {optOut: policy.NamespaceOptOutFinal},
		// A condition in every entry besides those that are there; "filters-" must not reach "filter-".
		"Overridable, prefixes": {policy.NamespaceOptOutOverridable, []string{"filters-*", "excluded-*"}},
		"Final, prefixes":       {policy.NamespaceOptOutFinal, []string{"excluded-*"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			optOut := test.optOut
			f := newFilterTest(t, optOut, test.excluded...)
			sets := podLabelSets()
			var mu sync.Mutex
			tried, called, needed := 0, 0, 0

			var group errgroup.Group
			if len(test.excluded) > 0 {
				group.Go(func() error { return f.checkExcluded("excluded", sets) })
				group.Go(func() error { return f.checkExcluded("excluded-and-closed", sets) })
			}
			for inject, namespace := range f.namespaces("-", "enabled", "disabled", "Disabled") {
				closed := slices.Contains(offSpellings, inject)
				group.Go(func() error {
					for i, labels := range sets {
						pod := plainPod(fmt.Sprintf("pod-%d", i))
						pod.Labels = labels
						if _, err := shared.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, dryRun); err != nil {
							return err
						}
						passes := f.recorder.calledFor("CREATE", namespace, pod.Name)
						changes := f.changes(policy.Request{
							Operation: policy.OperationCreatePod, Namespace: namespace, Pod: policyPod(t, pod),
						}, inject)
						if changes && !passes {
							t.Errorf("namespace inject=%s, pod labels %v: the filter keeps out a pod that we would change", inject, labels)
						}
						if closed && passes != (asksFor(labels) && optOut != policy.NamespaceOptOutFinal) {
							t.Errorf("closed namespace inject=%s, pod labels %v: called is %t", inject, labels, passes)
						}
						mu.Lock()
						tried++
						if passes {
							called++
						}
						if changes {
							needed++
						}
						mu.Unlock()
					}
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d pods: called for %d, of which %d could be changed", tried, called, needed)
		})
	}
}

// checkExcluded tries all pods in a namespace that a prefix excludes: none reaches us, and none would be changed.
func (f *filterTest) checkExcluded(prefix string, sets []map[string]string) error {
	var labels map[string]string
	if prefix != "excluded" {
		labels = map[string]string{policy.LabelInject: "disabled"}
	}
	namespace := f.namespace(prefix, labels)
	for i, labels := range sets {
		pod := plainPod(fmt.Sprintf("pod-%d", i))
		pod.Labels = labels
		if _, err := shared.Client.CoreV1().Pods(namespace).Create(f.t.Context(), pod, dryRun); err != nil {
			return err
		}
		if f.recorder.calledFor("CREATE", namespace, pod.Name) {
			f.t.Errorf("namespace %s, pod labels %v: the filter passes a pod of an excluded namespace", namespace, labels)
		}
		if f.changes(policy.Request{Operation: policy.OperationCreatePod, Namespace: namespace, Pod: policyPod(f.t, pod)}, "-") {
			f.t.Errorf("namespace %s, pod labels %v: we would change a pod of an excluded namespace", namespace, labels)
		}
	}
	return nil
}

// policyPod is what we read of a pod.
func policyPod(t *testing.T, pod *corev1.Pod) *policy.Pod {
	t.Helper()
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var read policy.Pod
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	return &read
}

// TestTheFilterKnowsEverySpelling has what the labels of pods and namespaces may look like, one by one.
func TestTheFilterKnowsEverySpelling(t *testing.T) {
	t.Parallel()
	f := newFilterTest(t, policy.NamespaceOptOutOverridable)
	namespaces := f.namespaces(append(append([]string{"-"}, onSpellings...), append(offSpellings, noSpellings...)...)...)

	type pod struct {
		labels map[string]string
		open   bool // called in an open namespace
		closed bool // called in a closed one
	}
	pods := map[string]pod{
		"no labels":                   {nil, true, false},
		"no labels, but an empty map": {map[string]string{}, true, false},
		"a label of somebody else":    {map[string]string{"app": "web"}, true, false},
	}
	for _, on := range onSpellings {
		for _, key := range []string{policy.LabelInject, policy.LabelServiceHost, policy.LabelDNS, aliasNodeDNS, aliasLocalDNS} {
			pods[key+"="+on] = pod{map[string]string{key: on}, true, true}
			if key != policy.LabelInject {
				pods["off, but "+key+"="+on] = pod{map[string]string{policy.LabelInject: "disabled", key: on}, true, true}
			}
		}
		pods["gardener's alias cannot enable: "+on] = pod{map[string]string{policy.LabelInject: "false", aliasGardener: on}, false, false}
	}
	for _, off := range offSpellings {
		pods["inject="+off] = pod{map[string]string{policy.LabelInject: off}, false, false}
		pods["dns="+off] = pod{map[string]string{policy.LabelDNS: off}, true, false} // the service host is left
	}
	for _, no := range noSpellings {
		pods["inject="+no] = pod{map[string]string{policy.LabelInject: no, policy.LabelDNS: no}, true, false}
	}

	for value, namespace := range namespaces {
		for i, name := range slices.Sorted(maps.Keys(pods)) {
			p, trial := pods[name], plainPod(fmt.Sprintf("pod-%d", i))
			trial.Labels = p.labels
			if _, err := shared.Client.CoreV1().Pods(namespace).Create(t.Context(), trial, dryRun); err != nil {
				t.Fatal(err)
			}
			want := p.open
			if slices.Contains(offSpellings, value) {
				want = p.closed
			}
			if got := f.recorder.calledFor("CREATE", namespace, trial.Name); got != want {
				t.Errorf("namespace inject=%s, pod with %s: called is %t, want %t", value, name, got, want)
			}
		}
	}
}

func TestTheFilterPassesNewEphemeralContainersAsItPassesPods(t *testing.T) {
	t.Parallel()
	for _, optOut := range []policy.NamespaceOptOut{policy.NamespaceOptOutOverridable, policy.NamespaceOptOutFinal} {
		t.Run(string(optOut), func(t *testing.T) {
			t.Parallel()
			f := newFilterTest(t, optOut)
			for inject, namespace := range f.namespaces("-", "disable", "true") {
				closed := slices.Contains(offSpellings, inject)
				for i, labels := range []map[string]string{
					nil,
					{policy.LabelInject: "disabled"},
					{policy.LabelInject: "enable"},
					{policy.LabelInject: "false", policy.LabelServiceHost: "true"},
					{policy.LabelServiceHost: "disabled"},
					{aliasGardener: "disable"},
					{aliasLocalDNS: "enabled", policy.LabelInject: "disabled"},
				} {
					pod := plainPod(fmt.Sprintf("pod-%d", i))
					pod.Labels = labels
					old := f.create(namespace, pod)
					updated := f.addEphemeralContainer(old, "debugger")

					passes := f.recorder.calledFor("UPDATE", namespace, pod.Name)
					changes := f.changes(policy.Request{
						Operation: policy.OperationAddEphemeralContainer, Namespace: namespace,
						Pod: policyPod(t, updated), OldPod: policyPod(t, old),
					}, inject)
					if changes && !passes {
						t.Errorf("namespace inject=%s, pod labels %v: the filter keeps out an ephemeral container that we would change", inject, labels)
					}
					opted := labels[policy.LabelInject] == "disabled" || labels[policy.LabelInject] == "false"
					want := asksFor(labels) && optOut != policy.NamespaceOptOutFinal
					if !closed {
						want = asksFor(labels) || !opted
					}
					if passes != want {
						t.Errorf("namespace inject=%s, pod labels %v: called is %t, want %t", inject, labels, passes, want)
					}
				}
			}
		})
	}
}

// addEphemeralContainer does what kubectl debug does.
func (s *scope) addEphemeralContainer(pod *corev1.Pod, name string) *corev1.Pod {
	s.t.Helper()
	pod = pod.DeepCopy()
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "example.com/debug"},
	})
	updated, err := shared.Client.CoreV1().Pods(pod.Namespace).UpdateEphemeralContainers(s.t.Context(), pod.Name, pod, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatalf("adding an ephemeral container: %v", err)
	}
	return updated
}

// TestMirrorPodsAndOtherUpdatesStayAsTheyAre: the filter keeps out updates. It passes mirror pods, since a condition would
// be evaluated for every pod; they are ours to skip.
func TestMirrorPodsAndOtherUpdatesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	f := newFilterTest(t, policy.NamespaceOptOutOverridable)
	for inject, namespace := range f.namespaces("-", "disabled") {
		mirror := plainPod("static-web-node-1")
		mirror.Labels = map[string]string{policy.LabelInject: "enabled"}
		mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
		mirror.Spec.NodeName = "node-1" // the API server insists
		f.create(namespace, mirror)
		pod := mirror.DeepCopy()
		pod.Name, pod.Annotations = "no-mirror", map[string]string{"kubernetes.io/config.source": "file"}
		created := f.create(namespace, pod)
		for _, p := range []*corev1.Pod{mirror, pod} {
			if !f.recorder.calledFor("CREATE", namespace, p.Name) {
				t.Errorf("namespace inject=%s: not called for %s", inject, p.Name)
			}
			changes := f.changes(policy.Request{Operation: policy.OperationCreatePod, Namespace: namespace, Pod: policyPod(t, p)}, inject)
			if changes != (p == pod) {
				t.Errorf("namespace inject=%s: we would change %s is %t", inject, p.Name, changes)
			}
		}

		created.Labels["example.com/changed"] = "yes"
		if _, err := shared.Client.CoreV1().Pods(namespace).Update(t.Context(), created, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if f.recorder.calledFor("UPDATE", namespace, pod.Name) {
			t.Errorf("namespace inject=%s: called for an update of a pod", inject)
		}
	}
}
