package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/pkg/policy"
)

// goldenPatch is the patch for the captured review under policyNodeLocal. The
// file has a word for the policy's hash, which changes with every new default.
func goldenPatch(t testing.TB) []byte {
	t.Helper()
	const file = "testdata/review-web-pod.patch.json"
	hash := compile(t, policyNodeLocal).Hash()
	if *update {
		patch := decodeReview(t, newServer(t, policyNodeLocal).post(capturedReview(t)).Body.Bytes()).Response.Patch
		var indented bytes.Buffer
		if err := json.Indent(&indented, patch, "", "  "); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(indented.String(), hash, "POLICY-HASH") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var patch bytes.Buffer
	if err := json.Compact(&patch, bytes.ReplaceAll(text, []byte("POLICY-HASH"), []byte(hash))); err != nil {
		t.Fatal(err)
	}
	return patch.Bytes()
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

// advised is advice about one workload.
func advised(t testing.TB, workload string) *policy.Advice {
	t.Helper()
	document, err := policy.ParseAdvice([]byte(`{"apiVersion":"shorthop.dev/v1alpha1","kind":"DNSAdvice","spec":{"workloads":[` + workload + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.CompileAdvice(document)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// TestAnswers has the rows of the outcome table that end in an answer to the
// review.
func TestAnswers(t *testing.T) {
	t.Parallel()
	inject := withRule("default", both("inject enabled_by_policy"))
	injected := patched(goldenPatch(t), inject)
	injectedCounts := map[string]int{
		"decisions_total{inject service_host enabled_by_policy}": 1,
		"decisions_total{inject dns enabled_by_policy}":          1,
		"decisions_total{skip fallthrough resolver_unknown}":     1,
		"decisions_total{skip advice not_configured}":            1,
	}
	skipped := func(reason string) map[string]int {
		return map[string]int{
			"decisions_total{skip service_host " + reason + "}": 1,
			"decisions_total{skip dns " + reason + "}":          1,
			"decisions_total{skip fallthrough " + reason + "}":  1,
			"decisions_total{skip advice " + reason + "}":       1,
		}
	}
	plus := func(counts map[string]int, more string) map[string]int {
		counts[more] = 1
		return counts
	}
	undecodable := map[string]string{"error": "object"}
	notDecoded := "shorthop: the pod cannot be decoded, so the pod is left as it is"
	panics := withNamespaces(func(context.Context, string) (map[string]string, bool) { panic("lost the cache") })
	const (
		create           = `"operation":"CREATE"`
		resourcePods     = `"resource":{"group":"","version":"v1","resource":"pods"}`
		ephemeralUpdate  = `"operation":"UPDATE"`
		containersString = `"containers":"s3cr3t","containersWere":[{"name":"web"`
		containers       = `"containers":[{"name":"web"`
	)

	tests := map[string]struct {
		policy  string // default policyNodeLocal
		options []func(*admission.Options)
		body    []byte // default capturedReview
		want    *admissionv1.AdmissionResponse
		// version is that of the answer; default v1.
		version string
		counts  map[string]int
	}{
		"pod injected": {
			want: injected, counts: injectedCounts,
		},
		"v1beta1 is answered in v1beta1": {
			body: edited(t, "admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
			want: injected, version: "admission.k8s.io/v1beta1", counts: injectedCounts,
		},
		"what is discovered and advised counts": {
			policy: strings.Replace(policyNodeLocal, "cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}", "mode: DryRun", 1) + "    advice: Apply\n",
			body:   edited(t, `"generateName":"web-7c97fff775-"`, `"name":"web-0"`),
			options: []func(*admission.Options){func(o *admission.Options) {
				o.Discovered = func() *policy.Discovered {
					return &policy.Discovered{Domain: "cluster.local", DNSServers: []string{"10.0.0.10"}}
				}
				o.Advice = func() *policy.Advice {
					return advised(t, `{"namespace":"default","kind":"Pod","name":"web-0","needed":{"5":"2026-11-29"}}`)
				}
			}},
			want: allowed(withRule("default", map[string]string{
				"service_host": "dry_run enabled_by_policy", "dns": "dry_run enabled_by_policy", "fallthrough": "skip resolver_unknown", "advice": "dry_run advised",
			})),
			counts: map[string]int{
				"decisions_total{dry_run service_host enabled_by_policy}": 1,
				"decisions_total{dry_run dns enabled_by_policy}":          1,
				"decisions_total{skip fallthrough resolver_unknown}":      1,
				"decisions_total{dry_run advice advised}":                 1,
			},
		},
		"a dry run of the API server gets the same patch": {
			body: edited(t, `"dryRun":false`, `"dryRun":true`),
			want: injected, counts: injectedCounts,
		},
		"kind and apiVersion after the request": {
			body: append(edited(t, `"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1",`, "")[:len(capturedReview(t))-len(`"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1",`)-1],
				`,"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`...),
			want: injected, counts: injectedCounts,
		},
		"policy in DryRun decides and patches nothing": {
			policy: policyDryRun,
			want:   allowed(withRule("default", both("dry_run enabled_by_policy"))),
			counts: map[string]int{
				"decisions_total{dry_run service_host enabled_by_policy}": 1,
				"decisions_total{dry_run dns enabled_by_policy}":          1,
				"decisions_total{skip fallthrough resolver_unknown}":      1,
				"decisions_total{skip advice not_configured}":             1,
			},
		},
		"rule in DryRun decides and patches nothing": {
			policy: policyTrialRule,
			want:   allowed(withRule("trial", both("dry_run enabled_by_policy"))),
			counts: map[string]int{
				"decisions_total{dry_run service_host enabled_by_policy}": 1,
				"decisions_total{dry_run dns enabled_by_policy}":          1,
				"decisions_total{skip fallthrough resolver_unknown}":      1,
				"decisions_total{skip advice not_configured}":             1,
			},
		},
		"pod skipped by its label": {
			body:   edited(t, `"app":"web"`, `"app":"web","shorthop.dev/inject":"disabled"`),
			want:   allowed(withRule("default", both("skip disabled_by_pod_label"))),
			counts: skipped("disabled_by_pod_label"),
		},
		"pod skipped by its namespace's label": {
			options: []func(*admission.Options){withNamespaces(func(_ context.Context, namespace string) (map[string]string, bool) {
				return map[string]string{"shorthop.dev/inject": "disabled"}, namespace == "default"
			})},
			want:   allowed(withRule("default", both("skip namespace_closed"))),
			counts: skipped("namespace_closed"),
		},
		"nothing to add": {
			body: edited(t,
				`"env":[{"name":"A","value":"b"}]`, `"env":[{"name":"KUBERNETES_SERVICE_HOST","value":"x"}]`,
				`"env":[{"name":"DB_HOST"`, `"env":[{"name":"KUBERNETES_SERVICE_HOST","value":"x"},{"name":"DB_HOST"`,
				`"image":"envoyproxy/envoy:v1.30"`, `"image":"envoyproxy/envoy:v1.30","env":[{"name":"KUBERNETES_SERVICE_PORT"}]`,
				`"dnsPolicy":"ClusterFirst"`, `"dnsPolicy":"Default"`),
			want: allowed(map[string]string{"rule": "default", "service_host": "skip service_port_set", "dns": "skip dns_policy_default", "fallthrough": "skip dns_policy_default", "advice": "skip dns_policy_default"}),
			counts: map[string]int{
				"decisions_total{skip service_host service_port_set}":  1,
				"decisions_total{skip dns dns_policy_default}":         1,
				"decisions_total{skip fallthrough dns_policy_default}": 1,
				"decisions_total{skip advice dns_policy_default}":      1,
			},
		},
		"label and annotations with bad values": {
			body: edited(t,
				`"app":"web"`, `"app":"web","shorthop.dev/dns":"yes"`,
				`"prometheus.io/port":"8080"`, `"prometheus.io/port":"8080","shorthop.dev/ndots":"many","shorthop.dev/dns-mode":"Turbo"`),
			want: patched(goldenPatch(t), inject,
				`pod label shorthop.dev/dns: "yes" is not one of enabled, disabled: ignored`,
				`annotation shorthop.dev/dns-mode: "Turbo" is not one of Options, NodeLocal; using NodeLocal`,
				`annotation shorthop.dev/ndots: "many" is not a number; using 4`),
			counts: injectedCounts,
		},
		"the record does not fit": {
			body: edited(t, `"prometheus.io/port":"8080"`, `"prometheus.io/port":"8080","padding":"`+strings.Repeat("p", 256<<10-80)+`"`),
			want: patched(goldenPatchWithout(t, "/metadata/annotations/shorthop.dev~1injected"),
				map[string]string{"rule": "default", "service_host": "inject enabled_by_policy", "dns": "inject enabled_by_policy", "fallthrough": "skip resolver_unknown", "advice": "skip not_configured", "record": "skip annotation_budget"}),
			counts: map[string]int{
				"decisions_total{inject service_host enabled_by_policy}": 1,
				"decisions_total{inject dns enabled_by_policy}":          1,
				"decisions_total{skip fallthrough resolver_unknown}":     1,
				"decisions_total{skip advice not_configured}":            1,
				"decisions_total{skip record annotation_budget}":         1,
			},
		},

		"object cannot be decoded": {
			body:   edited(t, containers, containersString),
			want:   allowed(undecodable, notDecoded),
			counts: map[string]int{"errors_total{object}": 1},
		},
		"object cannot be decoded under onError Deny": {
			policy: policyDeny,
			body:   edited(t, containers, containersString),
			want:   denied("object", "shorthop: the pod cannot be decoded; the policy says onError: Deny"),
			counts: map[string]int{"errors_total{object}": 1},
		},
		"truncated after the UID": {
			body:   capturedReview(t)[:len(capturedReview(t))/2],
			want:   allowed(undecodable, notDecoded),
			counts: map[string]int{"errors_total{object}": 1},
		},
		"truncated after the UID under onError Deny": {
			policy: policyDeny,
			body:   capturedReview(t)[:len(capturedReview(t))/2],
			want:   denied("object", "shorthop: the pod cannot be decoded; the policy says onError: Deny"),
			counts: map[string]int{"errors_total{object}": 1},
		},
		"panic": {
			options: []func(*admission.Options){panics},
			want:    allowed(map[string]string{"error": "panic"}, "shorthop: internal error, so the pod is left as it is"),
			counts:  map[string]int{"errors_total{panic}": 1},
		},
		"panic under onError Deny": {
			policy:  policyDeny,
			options: []func(*admission.Options){panics},
			want:    denied("panic", "shorthop: internal error; the policy says onError: Deny"),
			counts:  map[string]int{"errors_total{panic}": 1},
		},

		"namespace labels unknown": {
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip namespace_unknown"), "shorthop: the labels of namespace default could not be read, so the pod is left as it is"),
			counts:  plus(skipped("namespace_unknown"), "errors_total{namespace}"),
		},
		"namespace labels unknown under onError Deny": {
			policy:  policyDeny,
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip namespace_unknown"), "shorthop: the labels of namespace default could not be read, so the pod is left as it is"),
			counts:  plus(skipped("namespace_unknown"), "errors_total{namespace}"),
		},
		"namespace labels are not asked for under mode Off": {
			policy:  policyOff,
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip mode_off")),
			counts:  skipped("mode_off"),
		},
		"namespace labels are not asked for in an excluded namespace": {
			body:    edited(t, `"namespace":"default","operation"`, `"namespace":"kube-system","operation"`),
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip excluded_namespace")),
			counts:  skipped("excluded_namespace"),
		},
		"namespace labels are not asked for in our own namespace": {
			body:    edited(t, `"namespace":"default","operation"`, `"namespace":"shorthop","operation"`),
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip excluded_namespace")),
			counts:  skipped("excluded_namespace"),
		},

		"update of a pod": {
			body:    edited(t, create, ephemeralUpdate),
			options: []func(*admission.Options){withNamespaces(unknown)},
			want:    allowed(both("skip operation")),
			counts:  skipped("operation"),
		},
		"deletion of a pod": {
			body:   edited(t, create, `"operation":"DELETE"`, `"object":{`, `"object":null,"oldObject":{`, `"oldObject":null,`, ``),
			want:   allowed(both("skip operation")),
			counts: skipped("operation"),
		},
		"update of a pod that cannot be decoded, under onError Deny": {
			policy: policyDeny,
			body:   edited(t, create, ephemeralUpdate, containers, containersString),
			want:   allowed(both("skip operation")),
			counts: skipped("operation"),
		},
		"creation of a subresource": {
			body: edited(t, resourcePods, resourcePods+`,"subResource":"binding"`),
			want: allowed(both("skip operation")), counts: skipped("operation"),
		},
		"bytes that are not UTF-8, in what is not read": {
			body: edited(t, `"echo"`, "\"\xff\""),
			want: injected, counts: injectedCounts,
		},
		"names that are there twice, in what is not read": {
			body: edited(t, `"securityContext":{}`, `"securityContext":{"a":1,"a":2}`),
			want: injected, counts: injectedCounts,
		},
		"new ephemeral container": {
			body: edited(t,
				resourcePods, resourcePods+`,"subResource":"ephemeralcontainers"`, create, ephemeralUpdate,
				`"restartPolicy":"Always"`, `"restartPolicy":"Always","ephemeralContainers":[{"name":"old"},{"name":"new","env":[{"name":"A","value":"b"}]}]`,
				`"oldObject":null`, `"oldObject":{"spec":{"ephemeralContainers":[{"name":"old"}]}}`),
			want: patched([]byte(`[{"op":"add","path":"/spec/ephemeralContainers/1/env/0","value":{"name":"KUBERNETES_SERVICE_HOST","value":"api.example.com"}}]`),
				map[string]string{"rule": "default", "service_host": "inject enabled_by_policy", "dns": "skip ephemeral_container", "fallthrough": "skip resolver_unknown", "advice": "skip ephemeral_container"}),
			counts: map[string]int{
				"decisions_total{inject service_host enabled_by_policy}": 1,
				"decisions_total{skip dns ephemeral_container}":          1,
				"decisions_total{skip fallthrough resolver_unknown}":     1,
				"decisions_total{skip advice ephemeral_container}":       1,
			},
		},

		"not about a pod": {
			body: edited(t, resourcePods, `"resource":{"group":"apps","version":"v1","resource":"deployments"}`),
			want: allowed(both("skip operation"),
				"shorthop: reviews pods only, was asked about deployments.apps; check the webhook configuration"),
			counts: skipped("operation"),
		},
		"not about a pod, of no namespace, and nothing like a pod, under onError Deny": {
			policy: policyDeny,
			body: edited(t, resourcePods, `"resource":{"group":"example.com","version":"v1","resource":"pods"}`,
				`"namespace":"default",`, ``, containers, containersString),
			options: []func(*admission.Options){withNamespaces(unknown)},
			want: allowed(both("skip operation"),
				"shorthop: reviews pods only, was asked about pods.example.com; check the webhook configuration"),
			counts: skipped("operation"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.policy == "" {
				test.policy = policyNodeLocal
			}
			if test.body == nil {
				test.body = capturedReview(t)
			}
			if test.version == "" {
				test.version = "admission.k8s.io/v1"
			}
			s := newServer(t, test.policy, test.options...)
			recorder := s.post(test.body)
			if recorder.Code != http.StatusOK {
				t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
			}
			if diff := cmp.Diff(http.Header{"Content-Type": {"application/json"}}, recorder.Header()); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			want := &admissionv1.AdmissionReview{
				TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: test.version},
				Response: test.want,
			}
			if diff := cmp.Diff(want, decodeReview(t, recorder.Body.Bytes())); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.counts, s.counts(t)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

// goldenPatchWithout is the golden patch without the operation at a path.
func goldenPatchWithout(t testing.TB, path string) []byte {
	t.Helper()
	var operations, rest []json.RawMessage
	if err := json.Unmarshal(goldenPatch(t), &operations); err != nil {
		t.Fatal(err)
	}
	for _, operation := range operations {
		if !bytes.Contains(operation, []byte(`"path":"`+path+`"`)) {
			rest = append(rest, operation)
		}
	}
	if len(rest) != len(operations)-1 {
		t.Fatalf("the golden patch has %d operations at %s", len(operations)-len(rest), path)
	}
	patch, err := json.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	return patch
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
