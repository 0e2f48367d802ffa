package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// answers has the case files of TestAnswers.
const answers = "testdata/answers/"

// policyHash stands in case files for the policy's hash, which changes with every new default.
const policyHash = "POLICY-HASH"

// goldenPatch is the patch for the captured review under policyNodeLocal.
func goldenPatch(t testing.TB) []byte {
	t.Helper()
	operations := bytes.TrimSpace(testfile.ReadCase(t, answers+"a-pod-is-injected.txtar").Section("patch"))
	patch := "[" + strings.ReplaceAll(string(operations), "\n", ",") + "]"
	return []byte(strings.ReplaceAll(patch, policyHash, compile(t, policyNodeLocal).Hash()))
}

// allowed is the answer that lets a pod pass as it is.
func allowed(audit map[string]string, warnings ...string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: capturedUID, Allowed: true, AuditAnnotations: audit, Warnings: warnings}
}

// patched is the answer that injects.
func patched(patch []byte, audit map[string]string, warnings ...string) *admissionv1.AdmissionResponse {
	answer := allowed(audit, warnings...)
	answer.Patch, answer.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	return answer
}

func denied(stage, message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{
		UID:              capturedUID,
		Result:           &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: message},
		AuditAnnotations: map[string]string{"error": stage},
	}
}

// both is the audit of a decision that is the same for service host and DNS.
// Without spec.resolvers fall-through has no other than that to skip, and neither
// has advice without dns.advice.
func both(outcome string) map[string]string {
	through, advice := outcome, outcome
	if !strings.HasPrefix(outcome, "skip") {
		through, advice = "skip resolver_unknown", "skip not_configured"
	}
	return map[string]string{"service_host": outcome, "dns": outcome, "fallthrough": through, "advice": advice}
}

func withRule(rule string, audit map[string]string) map[string]string {
	audit["rule"] = rule
	return audit
}

// TestAnswers has the rows of the outcome table that end in an answer to the
// review. Case files: testdata/answers/<what happens, in words>.txtar. The sections:
//
//	spec.yaml    what the spec of policyNodeLocal has besides
//	edits        what is different about the captured review: a text behind "-", and what stands in its place behind "+" in the
//	             next line; {p*100} is a hundred p
//	ends-before  where the review breaks off
//	namespace    its labels, or "unknown", or "lost" where to ask for them panics
//	answer.yaml, patch, metrics, log   expected: of the patch an operation in a line
//
// `go test ./internal/admission -run TestAnswers -update` rewrites what is expected.
func TestAnswers(t *testing.T) {
	t.Parallel()
	testfile.Each(t, answers, func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "spec.yaml", "edits", "ends-before", "namespace", "answer.yaml", "patch", "metrics", "log")
		var log logLines
		document := policyNodeLocal + string(c.Section("spec.yaml"))
		s := newServer(t, document, withLog(log.logger()), withNamespaces(namespaceOf(t, c)))
		recorder := s.post(reviewOf(t, c))
		if recorder.Code != http.StatusOK {
			t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
		}
		if diff := cmp.Diff(http.Header{"Content-Type": {"application/json"}}, recorder.Header()); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		answer := decodeReview(t, recorder.Body.Bytes())
		var patch, counts []string
		if answer.Response.Patch != nil {
			for _, operation := range jsontest.Decode[[]json.RawMessage](t, answer.Response.Patch) {
				patch = append(patch, strings.ReplaceAll(string(operation), compile(t, document).Hash(), policyHash))
			}
			answer.Response.Patch = nil
		}
		for name, n := range s.counts(t) {
			counts = append(counts, fmt.Sprintf("%s %d", name, n))
		}
		slices.Sort(counts)
		for i := range log.lines { // of a panic, TestLogOfPanic has the rest
			log.lines[i], _, _ = strings.Cut(log.lines[i], ` "stack"=`)
		}
		c.Expect(t, "answer.yaml", jsontest.YAML(t, answer))
		c.Expect(t, "patch", lines(patch))
		c.Expect(t, "metrics", lines(counts))
		c.Expect(t, "log", lines(log.lines))
	})
}

// lines has each of the texts in a line.
func lines(texts []string) (all []byte) {
	for _, text := range texts {
		all = fmt.Appendln(all, text)
	}
	return all
}

// namespaceOf knows the labels of a case's namespace.
func namespaceOf(t *testing.T, c *testfile.Case) namespaceLabels {
	t.Helper()
	section := c.Section("namespace")
	switch strings.TrimSpace(string(section)) {
	case "":
		return unlabelled
	case "unknown":
		return unknown
	case "lost":
		return func(context.Context, string) (map[string]string, bool) { panic("lost the cache") }
	}
	var labels map[string]string
	if err := yaml.UnmarshalStrict(section, &labels); err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, namespace string) (map[string]string, bool) {
		return labels, namespace == "default"
	}
}

// repeated is a character and a number.
var repeated = regexp.MustCompile(`\{(.)\*(\d+)\}`)

// reviewOf is the captured review as a case has it.
func reviewOf(t *testing.T, c *testfile.Case) []byte {
	t.Helper()
	var oldNew []string
	for line := range strings.Lines(string(c.Section("edits"))) {
		mark, text := line[:1], strings.TrimPrefix(strings.TrimSuffix(line[1:], "\n"), " ")
		if want := []string{"-", "+"}[len(oldNew)%2]; mark != want {
			t.Fatalf("edits: %q does not begin with %q", line, want)
		}
		oldNew = append(oldNew, repeated.ReplaceAllStringFunc(text, func(match string) string {
			words := repeated.FindStringSubmatch(match)
			n, _ := strconv.Atoi(words[2])
			return strings.Repeat(words[1], n)
		}))
	}
	if end := c.Section("ends-before"); end != nil {
		return capturedUpTo(t, strings.TrimSpace(string(end)))
	}
	return edited(t, oldNew...)
}

// TestWhatIsDiscoveredAndAdvisedCounts has neither the domain nor the servers in the policy.
func TestWhatIsDiscoveredAndAdvisedCounts(t *testing.T) {
	t.Parallel()
	document, err := policy.ParseAdvice([]byte(`{"apiVersion":"shorthop.dev/v1alpha1","kind":"DNSAdvice","spec":{"workloads":[
{"namespace":"default","kind":"Pod","name":"web-0","needed":{"5":"2026-11-29"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	advice, err := policy.CompileAdvice(document)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, strings.Replace(policyNodeLocal, "cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}", "mode: DryRun", 1)+"    advice: Apply\n",
		func(o *admission.Options) {
			o.Discovered = func() *policy.Discovered {
				return &policy.Discovered{Domain: "cluster.local", DNSServers: []string{"10.0.0.10"}}
			}
			o.Advice = func() *policy.Advice { return advice }
		})
	answer := decodeReview(t, s.post(edited(t, `"generateName":"web-7c97fff775-"`, `"name":"web-0"`)).Body.Bytes())
	want := withRule("default", both("dry_run enabled_by_policy"))
	want["advice"] = "dry_run advised"
	if diff := cmp.Diff(want, answer.Response.AuditAnnotations); diff != "" {
		t.Errorf("audit annotations (-want +got):\n%s", diff)
	}
}

// annotated is a Namespaces whose namespaces have annotations.
type annotated map[string]string

func (a annotated) Get(context.Context, string) (policy.Namespace, bool) {
	return policy.Namespace{Annotations: a}, true
}

// TestANamespacesAnnotationsAndClosedGatesCount has a namespace that wants another ndots, and gates that have nothing to say.
func TestANamespacesAnnotationsAndClosedGatesCount(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal, func(o *admission.Options) {
		o.Namespaces = annotated{policy.AnnotationNdots: "3"}
		o.Gates = func() *policy.Gates { return &policy.Gates{} }
	})
	answer := decodeReview(t, s.post(capturedReview(t)).Body.Bytes())
	want := withRule("default", both("inject enabled_by_policy"))
	want["service_host"], want["dns"] = "skip service_host_unhealthy", "inject node_local_unhealthy"
	want["fallthrough"] = "skip ndots_set" // by the namespace
	if diff := cmp.Diff(want, answer.Response.AuditAnnotations); diff != "" {
		t.Errorf("audit annotations (-want +got):\n%s", diff)
	}
}

// Bytes that are not UTF-8 may be there, in what is not read.
func TestBytesThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	want := patched(goldenPatch(t), withRule("default", both("inject enabled_by_policy")))
	body := edited(t, `"echo"`, "\"\xff\"")
	if diff := cmp.Diff(want, decodeReview(t, newServer(t, policyNodeLocal).post(body).Body.Bytes()).Response); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// TestUIDIsEscaped repeats whatever the API server sends as UID.
func TestUIDIsEscaped(t *testing.T) {
	t.Parallel()
	for _, uid := range []string{`a"b`, `a\b`, "a\nb", "a\u2028<b>", "\x00", `","allowed":false,"x":"`, strings.Repeat("u", 253)} {
		quoted, err := json.Marshal(uid)
		if err != nil {
			t.Fatal(err)
		}
		body := edited(t, `"`+capturedUID+`"`, string(quoted))
		want := patched(goldenPatch(t), withRule("default", both("inject enabled_by_policy")))
		want.UID = types.UID(uid)
		got := decodeReview(t, newServer(t, policyNodeLocal).post(body).Body.Bytes()).Response
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("UID %q (-want +got):\n%s", uid, diff)
		}
	}
}

// TestNoPodIsDecidedWithTheGatesOfAnotherPolicy changes the policy, and with it the gates, at every moment of a review.
func TestNoPodIsDecidedWithTheGatesOfAnotherPolicy(t *testing.T) {
	t.Parallel()
	type inForce struct {
		policy *policy.Compiled
		gates  *policy.Gates
	}
	under := func(host string) inForce {
		compiled := compile(t, strings.Replace(policyNodeLocal, "api.example.com", host, 1))
		gates := &policy.Gates{ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}}
		for _, probe := range compiled.HostProbes() {
			gates.ServiceHosts[probe.Endpoint] = true
		}
		for _, cache := range compiled.Caches() {
			gates.Caches[cache] = true
		}
		return inForce{compiled, gates}
	}
	before, after := under("one.example.com"), under("two.example.com")
	moments := 1
	for moment := 0; moment < moments; moment++ {
		now, asked := before, 0
		passes := func() {
			if asked == moment {
				now = after
			}
			asked++
		}
		server := newServer(t, policyNodeLocal, func(o *admission.Options) {
			o.Policy = func() *policy.Compiled { passes(); return now.policy }
			o.Gates = func() *policy.Gates { passes(); return now.gates }
			o.Namespaces = namespaceLabels(func(context.Context, string) (map[string]string, bool) { passes(); return nil, true })
		})
		if decodeReview(t, server.post(capturedReview(t)).Body.Bytes()).Response.Patch == nil {
			t.Errorf("changed at moment %d: no patch", moment)
		}
		want := []string{"decisions_total{inject dns enabled_by_policy}", "decisions_total{inject service_host enabled_by_policy}"}
		counts := server.counts(t)
		for _, decision := range want {
			if counts[decision] != 1 {
				t.Errorf("changed at moment %d: %v, want %s", moment, counts, decision)
			}
		}
		moments = max(moments, asked+1)
	}
}
