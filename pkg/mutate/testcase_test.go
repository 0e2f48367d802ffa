package mutate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/cases/<what happens, in words>.txtar. The text before
// the first section says what the case is about. The sections:
//
//	policy.yaml           the policy
//	namespace.yaml        labels and annotations of the pod's namespace, or "unknown: true"; left out: none
//	request.yaml          what differs from the creation of a pod in namespace "shop": see caseRequest
//	pod.yaml              the pod as the user wrote it
//	advice.yaml           workloads of the advice in force, as in spec.workloads; left out: no advice
//	earlier-policy.yaml   the policy of an earlier review of the pod; left out: policy.yaml
//	between.yaml          JSON Patch that somebody else applied after that earlier review
//	decision.yaml         expected: action and reason of each feature, warnings, reason of the record
//	patch.json            expected: the operations
//
// There is an earlier review only where earlier-policy.yaml or between.yaml is
// there. It was of the pod's creation, in a namespace without labels, with
// nothing wrong. `go test ./pkg/mutate -run TestCases -update` rewrites what is
// expected.
const (
	sectionPolicy        = "policy.yaml"
	sectionNamespace     = "namespace.yaml"
	sectionRequest       = "request.yaml"
	sectionPod           = "pod.yaml"
	sectionAdvice        = "advice.yaml"
	sectionEarlierPolicy = "earlier-policy.yaml"
	sectionBetween       = "between.yaml"
	sectionDecision      = "decision.yaml"
	sectionPatch         = "patch.json"

	caseDirectory = "testdata/cases"
)

// caseRequest is the section request.yaml.
type caseRequest struct {
	Operation policy.Operation `json:"operation,omitzero"`
	Namespace string           `json:"namespace,omitzero"`
	// OwnNamespace is the namespace that Shorthop runs in.
	OwnNamespace string `json:"ownNamespace,omitzero"`
	// ObjectSize replaces the size of the pod's JSON.
	ObjectSize int `json:"objectSize,omitzero"`
	// Padding is the length of an annotation that the pod gets.
	Padding int         `json:"padding,omitzero"`
	OldPod  *policy.Pod `json:"oldPod,omitzero"`
	// Closed are the health gates that are closed: host:port of a service
	// host, namespace/name of a DaemonSet. Left out: there are no gates.
	Closed []string `json:"closed,omitzero"`
	// Upstream is the reason that every upstream has, where gates are known.
	Upstream policy.Reason `json:"upstream,omitzero"`
	// PublicNamespace as in policy.Gates.
	PublicNamespace bool `json:"publicNamespace,omitzero"`
	// Discovered is what the server found out. Left out: nothing.
	Discovered *policy.Discovered `json:"discovered,omitzero"`
}

// gates has all gates of the policy open but those that are closed.
func (r *caseRequest) gates(compiled *policy.Compiled) *policy.Gates {
	if r.Closed == nil && r.Upstream == "" && !r.PublicNamespace {
		return nil
	}
	gates := reviewtest.Gates(compiled, r.Closed, r.Upstream)
	gates.PublicNamespace = r.PublicNamespace
	return gates
}

// caseNamespace is the section namespace.yaml.
type caseNamespace struct {
	Labels      map[string]string `json:"labels,omitzero"`
	Annotations map[string]string `json:"annotations,omitzero"`
	Unknown     bool              `json:"unknown,omitzero"`
}

// testCase is a case file whose sections are read.
type testCase struct {
	*testfile.Case
	compiled  *policy.Compiled
	earlier   *policy.Compiled // nil: no earlier review
	between   json.RawMessage
	namespace caseNamespace
	request   caseRequest
	pod       []byte // JSON
	advice    *policy.Advice
}

// caseFiles reads the case files. Anything else in the directory, also another
// directory, is a mistake.
func caseFiles(t testing.TB) []*testfile.Case {
	t.Helper()
	files := testfile.ReadCases(t, caseDirectory)
	if entries, err := os.ReadDir(caseDirectory); err != nil || len(entries) != len(files) {
		t.Errorf("%s has %d entries, of which %d are case files: %v", caseDirectory, len(entries), len(files), err)
	}
	return files
}

func readCase(t testing.TB, file *testfile.Case) *testCase {
	t.Helper()
	c := &testCase{Case: file}
	c.OnlyHas(t, sectionPolicy, sectionNamespace, sectionRequest, sectionPod, sectionAdvice,
		sectionEarlierPolicy, sectionBetween, sectionDecision, sectionPatch)

	c.unmarshal(t, sectionRequest, &c.request)
	c.unmarshal(t, sectionNamespace, &c.namespace)
	if c.request.Operation == "" {
		c.request.Operation = policy.OperationCreatePod
	}
	if c.request.Namespace == "" {
		c.request.Namespace = "shop"
	}
	c.compiled = c.compile(t, sectionPolicy)
	if c.Section(sectionEarlierPolicy) != nil {
		c.earlier = c.compile(t, sectionEarlierPolicy)
	}
	var err error
	if text := c.Section(sectionBetween); text != nil {
		if c.between, err = yaml.YAMLToJSONStrict(text); err != nil {
			t.Fatalf("%s: %v", sectionBetween, err)
		}
		if c.earlier == nil {
			c.earlier = c.compiled
		}
	}
	if text := c.Section(sectionAdvice); text != nil {
		c.advice = adviceOf(t, text)
	}
	if c.pod, err = yaml.YAMLToJSONStrict(c.Section(sectionPod)); err != nil {
		t.Fatalf("%s: %v", sectionPod, err)
	}
	if n := c.request.Padding; n > 0 {
		c.pod = apply(t, c.pod, fmt.Appendf(nil, `[{"op":"add","path":"/metadata/annotations","value":{"padding":%q}}]`, strings.Repeat("p", n)))
	}
	return c
}

// adviceOf is a document with these workloads.
func adviceOf(t testing.TB, workloads []byte) *policy.Advice {
	t.Helper()
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\nspec:\n  workloads:\n%s", policy.APIVersion, policy.KindAdvice, workloads)
	document, err := policy.ParseAdvice([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", sectionAdvice, err)
	}
	compiled, err := policy.CompileAdvice(document)
	if err != nil {
		t.Fatalf("%s: %v", sectionAdvice, err)
	}
	return compiled
}

func (c *testCase) unmarshal(t testing.TB, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(c.Section(name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (c *testCase) compile(t testing.TB, name string) *policy.Compiled {
	t.Helper()
	return compile(t, c.Section(name), c.request.OwnNamespace)
}

// review reviews a pod as the case asks for, under one of its policies.
func (c *testCase) review(t testing.TB, compiled *policy.Compiled, pod []byte) mutate.Result {
	t.Helper()
	size := c.request.ObjectSize
	if size == 0 {
		size = len(pod)
	}
	return mutate.Review(compiled, policy.Request{
		Operation:            c.request.Operation,
		Namespace:            c.request.Namespace,
		NamespaceLabels:      c.namespace.Labels,
		NamespaceAnnotations: policy.NamespaceAnnotations(c.namespace.Annotations),
		NamespaceKnown:       !c.namespace.Unknown,
		Pod:                  decode(t, pod),
		OldPod:               c.request.OldPod,
		ObjectSize:           size,
		Gates:                c.request.gates(compiled),
		Advice:               c.advice,
		Discovered:           c.request.Discovered,
	})
}

// incoming is the pod of the review under test: the case's pod, after an
// earlier review and what followed it, if the case has one.
func (c *testCase) incoming(t testing.TB) []byte {
	t.Helper()
	pod := c.pod
	if c.earlier == nil {
		return pod
	}
	earlier := mutate.Review(c.earlier, policy.Request{
		Operation: policy.OperationCreatePod, Namespace: c.request.Namespace, NamespaceKnown: true,
		Pod: decode(t, pod), ObjectSize: len(pod), Discovered: c.request.Discovered, Advice: c.advice,
	})
	if len(earlier.Operations) == 0 {
		t.Error("the earlier review does nothing")
	}
	pod = apply(t, pod, patchOf(t, earlier))
	if c.between != nil {
		pod = apply(t, pod, c.between)
	}
	return pod
}

// cameBack lists the reasons for which the case's pod comes back with a record
// of the feature that they are about.
func (c *testCase) cameBack(r *mutate.Result, incoming *policy.Pod) []policy.Reason {
	reading := mutate.ReadRecord(incoming)
	if c.earlier == nil || !reading.Found {
		return nil
	}
	var reasons []policy.Reason
	if reading.ServiceHost != "" || reading.LostServiceHost {
		reasons = append(reasons, r.Decision.ServiceHost.Reason)
		for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
			reasons = append(reasons, target.Reason)
		}
	}
	if reading.DNS != "" || reading.LostDNS {
		reasons = append(reasons, r.Decision.DNS.Reason)
	}
	if reading.ResOptions != "" || reading.LostResOptions {
		reasons = append(reasons, r.Decision.Fallthrough.Reason)
	}
	if reading.Advice != "" || reading.DNS != "" {
		reasons = append(reasons, r.Decision.Advice.Reason)
	}
	return append(reasons, r.RecordReason)
}

// caseDecision is the section decision.yaml.
type caseDecision struct {
	Rule string `json:"rule,omitzero"`
	// ServiceHost is action and reason.
	ServiceHost string `json:"serviceHost"`
	// LeftAlone has the containers that do not get the service host though
	// others do, and why.
	LeftAlone map[string]policy.Reason `json:"leftAlone,omitzero"`
	// DNS is action, reason and mode.
	DNS string `json:"dns"`
	// Fallthrough is action, reason, ndots and carrier. Left out in policies without
	// spec.resolvers.
	Fallthrough string `json:"fallthrough,omitzero"`
	// Advice is action, reason and numbers. Left out where there is no advice.
	Advice string `json:"advice,omitzero"`
	// WithoutResOptions has the containers that do not get RES_OPTIONS though
	// others do, and why.
	WithoutResOptions map[string]policy.Reason `json:"withoutResOptions,omitzero"`
	// Earlier says what becomes of what an earlier review did for features that
	// are skipped now.
	Earlier map[policy.Feature]policy.Earlier `json:"earlier,omitzero"`
	// DryRun is true where the operations are not applied.
	DryRun bool `json:"dryRun,omitzero"`
	// Record is why the record is left out.
	Record   policy.Reason `json:"record,omitzero"`
	Warnings []string      `json:"warnings,omitzero"`
}

func decisionText(t testing.TB, compiled *policy.Compiled, r *mutate.Result) []byte {
	t.Helper()
	d := &r.Decision
	text := caseDecision{
		Rule:        d.Rule,
		ServiceHost: fmt.Sprintf("%s, %s", d.ServiceHost.Action, d.ServiceHost.Reason),
		DNS:         fmt.Sprintf("%s, %s", d.DNS.Action, d.DNS.Reason),
		Record:      r.RecordReason,
		Warnings:    d.Warnings,
		DryRun:      r.DryRun(),
	}
	for f, earlier := range map[policy.Feature]policy.Earlier{policy.FeatureServiceHost: r.ServiceHostEarlier, policy.FeatureDNS: r.DNSEarlier, policy.FeatureFallthrough: r.FallthroughEarlier} {
		if earlier != "" {
			if text.Earlier == nil {
				text.Earlier = map[policy.Feature]policy.Earlier{}
			}
			text.Earlier[f] = earlier
		}
	}
	if d.DNS.Injects() {
		text.DNS += ", " + string(d.DNS.Mode)
	}
	if d.ServiceHost.Injects() {
		for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
			if target.Reason == "" {
				continue
			}
			if text.LeftAlone == nil {
				text.LeftAlone = map[string]policy.Reason{}
			}
			text.LeftAlone[target.Container.Name] = target.Reason
		}
	}
	describeFallthrough(&text, compiled, r)
	if a := &r.Decision.Advice; r.Request.Advice != nil {
		text.Advice = fmt.Sprintf("%s, %s, ndots %d, fallthrough %d", a.Action, a.Reason, a.Ndots, a.Fallthrough)
	}
	return jsontest.YAML(t, text)
}

func describeFallthrough(text *caseDecision, compiled *policy.Compiled, r *mutate.Result) {
	if len(compiled.Document().Spec.Resolvers) == 0 {
		return
	}
	d := &r.Decision.Fallthrough
	text.Fallthrough = fmt.Sprintf("%s, %s", d.Action, d.Reason)
	if d.Injects() {
		text.Fallthrough += fmt.Sprintf(", ndots %d by %s", d.Ndots, d.Carrier)
	}
	if !d.ThroughEnvironment() {
		return
	}
	for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
		reason := compiled.ResOptionsReason(target.Container)
		if reason == "" {
			continue
		}
		if text.WithoutResOptions == nil {
			text.WithoutResOptions = map[string]policy.Reason{}
		}
		text.WithoutResOptions[target.Container.Name] = reason
	}
}

// patchText is the patch as case files have it: indented, and with words for
// the hashes of policies, which would change in all of them with every new
// default.
func (c *testCase) patchText(t testing.TB, r *mutate.Result) string {
	t.Helper()
	var text bytes.Buffer
	if err := json.Indent(&text, patchOf(t, *r), "", "  "); err != nil {
		t.Fatal(err)
	}
	out := strings.ReplaceAll(text.String(), c.compiled.Hash(), "POLICY-HASH")
	if c.earlier != nil {
		out = strings.ReplaceAll(out, c.earlier.Hash(), "EARLIER-HASH")
	}
	return out + "\n"
}
