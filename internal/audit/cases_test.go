package audit_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/cases/<what happens, in words>.txtar. The text before
// the first section says what the case is about. The sections:
//
//	policy.yaml        the policy in force
//	now.yaml           what is known now: see conditions; left out: everything is open
//	pod.yaml           the pod as the user wrote it, in namespace "shop"
//	reviewed-by.yaml   the policy of the review at its creation; left out: none
//	reviewed-at.yaml   what was known then
//	between.yaml       JSON Patch that somebody applied after that review
//	verdict.yaml       expected
//
// `go test ./internal/audit -run TestCases -update` rewrites what is expected.
const caseDirectory = "testdata/cases"

// conditions are the sections now.yaml and reviewed-at.yaml.
type conditions struct {
	NamespaceLabels      map[string]string `json:"namespaceLabels,omitzero"`
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitzero"`
	NamespaceUnknown     bool              `json:"namespaceUnknown,omitzero"`
	// Closed are the gates that are: host:port, or namespace/name.
	Closed []string `json:"closed,omitzero"`
	// Upstream is the reason that every upstream has.
	Upstream        policy.Reason `json:"upstream,omitzero"`
	PublicNamespace bool          `json:"publicNamespace,omitzero"`
	// GatesUnknown: nobody could be asked about the gates.
	GatesUnknown bool               `json:"gatesUnknown,omitzero"`
	Discovered   *policy.Discovered `json:"discovered,omitzero"`
	Installed    time.Time          `json:"installed,omitzero"`
	// Advice is the spec of the advice in force.
	Advice *policy.AdviceSpec `json:"advice,omitzero"`
	// Filter are the selectors of the webhook's one entry; left out: it selects everything.
	Filter *struct {
		Namespace metav1.LabelSelector `json:"namespace,omitzero"`
		Pod       metav1.LabelSelector `json:"pod,omitzero"`
	} `json:"filter,omitzero"`
}

func (c *conditions) called(t testing.TB) func(namespace, pod map[string]string) bool {
	t.Helper()
	if c.Filter == nil {
		return nil
	}
	filter, err := webhookconfig.FilterOf(&admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{
		NamespaceSelector: &c.Filter.Namespace, ObjectSelector: &c.Filter.Pod,
		Rules: []admissionv1.RuleWithOperations{{
			Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return filter.Calls
}

func (c *conditions) advice(t testing.TB) *policy.Advice {
	t.Helper()
	if c.Advice == nil {
		return nil
	}
	document := &policy.DNSAdvice{Spec: *c.Advice}
	document.APIVersion, document.Kind, document.Metadata.Name = policy.APIVersion, policy.KindAdvice, "default"
	text := jsontest.Marshal(t, document)
	return reviewtest.Advice(t, text)
}

func (c *conditions) gates(compiled *policy.Compiled) *policy.Gates {
	if c.GatesUnknown {
		return nil
	}
	gates := reviewtest.Gates(compiled, c.Closed, c.Upstream)
	gates.PublicNamespace = c.PublicNamespace
	return gates
}

// verdict is the section verdict.yaml.
type verdict struct {
	Class       audit.Class `json:"class"`
	ServiceHost string      `json:"serviceHost"`
	DNS         string      `json:"dns"`
	// Fallthrough is left out in policies without spec.resolvers.
	Fallthrough string `json:"fallthrough,omitzero"`
}

func fallthroughText(compiled *policy.Compiled, f audit.Finding) string {
	if len(compiled.Document().Spec.Resolvers) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s", f.Class, f.Reason)
}

func TestCases(t *testing.T) {
	t.Parallel()
	cases := testfile.ReadCases(t, caseDirectory)
	var (
		mu      sync.Mutex
		ran     int
		reached = map[string]bool{}
	)
	t.Run("file", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.Name(), func(t *testing.T) {
				t.Parallel()
				v := runCase(t, c)
				mu.Lock()
				defer mu.Unlock()
				ran++
				for _, f := range []audit.Finding{v.ServiceHost, v.DNS, v.Fallthrough} {
					reached[string(f.Class)], reached[string(f.Reason)] = true, true
				}
			})
		}
	})
	if ran < len(cases) {
		return // -run chose some
	}
	for _, class := range audit.Classes() {
		if !reached[string(class)] {
			t.Errorf("no case reaches class %s", class)
		}
	}
	for _, reason := range []audit.Reason{
		audit.ReasonNotInjected, audit.ReasonBeforeInstall, audit.ReasonOlderPolicy, audit.ReasonChangedSince, audit.ReasonGateClosed,
		audit.ReasonGateWasClosed, audit.ReasonDiscovery, audit.ReasonRolloutInProgress, audit.ReasonDryRun, audit.ReasonRecordEdited,
		audit.ReasonAdviceRaised, audit.ReasonAdviceLower, audit.ReasonFilter, audit.ReasonRecordVersion,
	} {
		if !reached[string(reason)] {
			t.Errorf("no case reaches reason %s", reason)
		}
		if reason.Sentence() == "" {
			t.Errorf("reason %s has no sentence", reason)
		}
	}
}

func runCase(t *testing.T, c *testfile.Case) audit.Verdict {
	t.Helper()
	c.OnlyHas(t, "policy.yaml", "now.yaml", "pod.yaml", "reviewed-by.yaml", "reviewed-at.yaml", "between.yaml", "verdict.yaml")
	toJSON := func(name string) []byte {
		converted, err := yaml.YAMLToJSONStrict(c.Section(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return converted
	}
	var now, then conditions
	for name, into := range map[string]*conditions{"now.yaml": &now, "reviewed-at.yaml": &then} {
		if err := yaml.UnmarshalStrict(c.Section(name), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}

	pod := toJSON("pod.yaml")
	if document := c.Section("reviewed-by.yaml"); document != nil {
		pod = review(t, reviewtest.Compile(t, document, ""), &then, pod)
	}
	if c.Section("between.yaml") != nil {
		pod = reviewtest.Patch(t, pod, toJSON("between.yaml"))
	}
	compiled := reviewtest.Compile(t, c.Section("policy.yaml"), "")
	classifier := audit.NewClassifier(audit.Conditions{
		Policy: compiled, Gates: now.gates(compiled), Discovered: now.Discovered, Installed: now.Installed, Advice: now.advice(t), Called: now.called(t),
	})
	got := classifier.Classify(decode(t, pod), policy.Namespace{Labels: now.NamespaceLabels, Annotations: now.NamespaceAnnotations}, !now.NamespaceUnknown)

	text, err := yaml.Marshal(verdict{
		Class:       got.Class(),
		ServiceHost: fmt.Sprintf("%s, %s", got.ServiceHost.Class, got.ServiceHost.Reason),
		DNS:         fmt.Sprintf("%s, %s", got.DNS.Class, got.DNS.Reason),
		Fallthrough: fallthroughText(compiled, got.Fallthrough),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Expect(t, "verdict.yaml", text)
	return got
}

// decode reads a pod as it comes in a list.
func decode(t testing.TB, pod []byte) *audit.Pod {
	t.Helper()
	decoded := &audit.Pod{}
	jsontest.Unmarshal(t, pod, decoded)
	decoded.Pod.Metadata = decoded.Metadata.PodMetadata
	decoded.Size = len(pod)
	return decoded
}

// review creates the pod through the server's own code.
func review(t testing.TB, compiled *policy.Compiled, at *conditions, pod []byte) []byte {
	t.Helper()
	result := mutate.Review(compiled, policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop",
		NamespaceLabels: at.NamespaceLabels, NamespaceKnown: !at.NamespaceUnknown,
		Pod: &decode(t, pod).Pod, ObjectSize: len(pod),
		Gates: at.gates(compiled), Discovered: at.Discovered, Advice: at.advice(t),
	})
	if len(result.Operations) == 0 {
		t.Error("the review does nothing")
		return pod
	}
	patch, err := mutate.AppendJSON(nil, result.Operations)
	if err != nil {
		t.Fatal(err)
	}
	return reviewtest.Patch(t, pod, patch)
}
