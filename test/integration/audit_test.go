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

func TestTheAuditLogSaysWhatWasDecidedAndWhy(t *testing.T) {
	t.Parallel()
	s, namespace := auditScope(t)
	pods := map[string]struct {
		change func(*corev1.Pod)
		want   map[string]string
	}{
		"everything is injected": {
			func(*corev1.Pod) {},
			map[string]string{"rule": "default", "service_host": "inject enabled_by_policy", "dns": "inject enabled_by_policy"},
		},
		"a rule disables": {
			func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "quiet"} },
			map[string]string{"rule": "quiet", "service_host": "inject enabled_by_policy", "dns": "skip disabled_by_rule"},
		},
		"labels decide": {
			func(pod *corev1.Pod) {
				pod.Labels = map[string]string{policy.LabelServiceHost: "disabled", policy.LabelDNS: "enabled"}
			},
			map[string]string{"rule": "default", "service_host": "skip disabled_by_pod_label", "dns": "inject enabled_by_pod_label"},
		},
		"the pod says it itself": {
			func(pod *corev1.Pod) {
				pod.Spec.HostNetwork = true
				pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: policy.EnvServiceHost, Value: "x"}}
			},
			map[string]string{"rule": "default", "service_host": "skip service_host_set", "dns": "skip host_network"},
		},
		"there is no room for the record": {
			func(pod *corev1.Pod) {
				pod.Annotations = map[string]string{"p": strings.Repeat("p", annotationLimit-1)}
			},
			map[string]string{
				"rule": "default", "service_host": "inject enabled_by_policy", "dns": "inject enabled_by_policy", "record": "skip annotation_budget",
			},
		},
		"a pod that serves DNS": {
			func(pod *corev1.Pod) { pod.Labels = map[string]string{"k8s-app": "kube-dns"} },
			map[string]string{"service_host": "skip dns_pod", "dns": "skip dns_pod"},
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
		"rule": "default", "service_host": "inject enabled_by_policy", "dns": "skip ephemeral_container",
	})
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

func TestWarningsReachWhoeverCreatesThePod(t *testing.T) {
	t.Parallel()
	_, namespace := auditScope(t)
	pods := map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"nothing to say": {func(*corev1.Pod) {}, nil},
		"a value that is no number": {
			func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.AnnotationNdots: "two"} },
			[]string{`annotation shorthop.dev/ndots: "two" is not a number; using 2`},
		},
		"a value that the policy does not allow": {
			func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.AnnotationDNSMode: "NodeLocal"} },
			[]string{`annotation shorthop.dev/dns-mode: "NodeLocal" is not allowed by the policy; using Options`},
		},
		"a value with a line break and an escape sequence": {
			func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.AnnotationNdots: "\x1b[31m2\n"} },
			[]string{`annotation shorthop.dev/ndots: "\x1b[31m2\n" is not a number; using 2`},
		},
		"a label that is neither": {
			func(pod *corev1.Pod) { pod.Labels = map[string]string{policy.LabelDNS: "perhaps"} },
			[]string{`pod label shorthop.dev/dns: "perhaps" is not one of enabled, disabled: ignored`},
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
