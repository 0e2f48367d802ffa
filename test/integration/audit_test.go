package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

const auditPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: audit}
spec:
  serviceHost: {host: api.example.com}
  dns: {ndots: 2}
  podOverrides: {allowed: [ndots, options]}
  rules:
  - name: quiet
    match: {podSelector: {matchLabels: {app: quiet}}}
    dns: {enabled: false}
`

// auditScope registers our handler under the policy for audits.
func auditScope(t *testing.T) (s *scope, namespace string) {
	t.Helper()
	s = newScope(t)
	namespace = s.namespace("audit", nil)
	document := parse(t, auditPolicy)
	s.registerAndWait(configuration(s.name, document, serve(t, handler(compile(t, auditPolicy), nil))), namespace, isPatched)
	return s, namespace
}

// TestTheAuditLogSaysWhatWasDecidedAndWhy has what the API server writes down. Which reasons there are, the case files of pkg/mutate
// and internal/admission have.
func TestTheAuditLogSaysWhatWasDecidedAndWhy(t *testing.T) {
	t.Parallel()
	s, namespace := auditScope(t)
	pods := map[string]struct {
		change func(*corev1.Pod)
		want   map[string]string
	}{
		"everything is injected": {
			func(*corev1.Pod) {},
			map[string]string{"rule": "default", "service_host": "inject enabled_by_policy", "dns": "inject enabled_by_policy", "fallthrough": "skip ndots_not_lower", "advice": "skip not_configured"},
		},
		"a rule disables": {
			func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "quiet"} },
			map[string]string{"rule": "quiet", "service_host": "inject enabled_by_policy", "dns": "skip disabled_by_rule", "fallthrough": "skip disabled_by_rule", "advice": "skip disabled_by_rule"},
		},
	}
	for sentence, p := range pods {
		pod := plainPod(objectName(sentence))
		p.change(pod)
		s.create(namespace, pod)
		s.checkAudit(sentence, s.audited(namespace, pod.Name, ""), p.want)
	}

	pod := s.create(namespace, plainPod("debugged"))
	s.addEphemeralContainer(pod, "debugger")
	s.checkAudit("an ephemeral container", s.audited(namespace, pod.Name, "ephemeralcontainers"), map[string]string{
		"rule": "default", "service_host": "inject enabled_by_policy", "dns": "skip ephemeral_container", "fallthrough": "skip ndots_not_lower", "advice": "skip ephemeral_container",
	})
}

// The API's limit for the keys and values of all annotations of an object.
const annotationLimit = 256 << 10

// TestAPodWithTheMostAnnotationsIsStillCreated has pods with little and less room for our own annotation.
func TestAPodWithTheMostAnnotationsIsStillCreated(t *testing.T) {
	t.Parallel()
	s, namespace := auditScope(t)
	const key = "example.com/padding"
	left, kept := 0, 0
	for room := 0; room <= 600; room += 20 {
		pod := plainPod(fmt.Sprintf("room-for-%d-bytes", room))
		pod.Annotations = map[string]string{key: strings.Repeat("p", annotationLimit-len(key)-room)}
		created := s.create(namespace, pod)
		if !isPatched(created) || created.Spec.DNSConfig == nil {
			t.Errorf("room for %d bytes: not patched", room)
		}
		want := map[string]string{"rule": "default", "service_host": "inject enabled_by_policy", "dns": "inject enabled_by_policy", "fallthrough": "skip ndots_not_lower", "advice": "skip not_configured"}
		if record, recorded := created.Annotations[policy.AnnotationInjected]; recorded {
			kept++
			if size := len(policy.AnnotationInjected) + len(record); size > room {
				t.Errorf("room for %d bytes, the record has %d", room, size)
			}
		} else {
			left++
			want["record"] = "skip annotation_budget"
		}
		s.checkAudit(pod.Name, s.audited(namespace, pod.Name, ""), want)
	}
	if left == 0 || kept == 0 {
		t.Errorf("the record was left out %d times and kept %d times, want some of both", left, kept)
	}
}

// checkAudit compares our annotations of an event. They are under the name of the entry that the pod came through.
func (s *scope) checkAudit(sentence string, event *auditEvent, want map[string]string) {
	s.t.Helper()
	got := map[string]string{}
	for key, value := range event.Annotations {
		if name, found := strings.CutPrefix(key, webhookconfig.OpenEntry+"/"); found {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s\nall annotations: %v", sentence, diff, event.Annotations)
	}
}

// TestWarningsReachWhoeverCreatesThePod has those that a header could lose or spoil. What is warned of, the case files of pkg/mutate
// have.
func TestWarningsReachWhoeverCreatesThePod(t *testing.T) {
	t.Parallel()
	_, namespace := auditScope(t)
	pods := map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"nothing to say": {func(*corev1.Pod) {}, nil},
		"a value with a line break and an escape sequence": {
			func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.AnnotationNdots: "\x1b[31m2\n"} },
			[]string{`annotation shorthop.dev/ndots: "\x1b[31m2\n" is not a number; using 2`},
		},
		"two at once": {
			func(pod *corev1.Pod) {
				pod.Annotations = map[string]string{policy.AnnotationNdots: "9", policy.AnnotationDNSOptions: "timeout:1 colour:blue"}
			},
			[]string{
				`annotation shorthop.dev/ndots: "9" is not between 1 and 5; using 2`,
				fmt.Sprintf(`annotation shorthop.dev/dns-options: "colour:blue" is ignored: must be one of %s; using the others`,
					"attempts, timeout, debug, edns0, no-aaaa, no-check-names, no-reload, no-tld-query, rotate, single-request, single-request-reopen, trust-ad, use-vc"),
			},
		},
	}
	for sentence, p := range pods {
		t.Run(sentence, func(t *testing.T) {
			var warnings warningList
			pod := plainPod(objectName(sentence))
			p.change(pod)
			created, err := warnings.client(t).CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !isPatched(created) || created.Spec.DNSConfig == nil {
				t.Error("the pod is not patched")
			}
			if diff := cmp.Diff(p.want, warnings.all()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
