package integration_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// scopeLabel is on every namespace that a test creates. Its value is the name of the test's scope.
const scopeLabel = "example.com/scope"

var scopes atomic.Int32

// scope keeps a test to itself: what it registers acts on no namespaces but its own.
type scope struct {
	t    *testing.T
	name string
	// auditFrom is where the scope's events begin in the audit log.
	auditFrom int64
}

func newScope(t *testing.T) *scope {
	return &scope{t, fmt.Sprintf("scope-%d", scopes.Add(1)), auditLogSize()}
}

// in returns the scope for a subtest.
func (s *scope) in(t *testing.T) *scope {
	sub := *s
	sub.t = t
	return &sub
}

// labels returns the labels that make a namespace belong to the scope, with further ones.
func (s *scope) labels(further map[string]string) map[string]string {
	labels := map[string]string{scopeLabel: s.name}
	maps.Copy(labels, further)
	return labels
}

// namespace creates a namespace with further labels and returns its name, which begins with prefix.
func (s *scope) namespace(prefix string, labels map[string]string) string {
	s.t.Helper()
	name := prefix + "-" + s.name
	if err := shared.CreateNamespace(s.t.Context(), name, s.labels(labels)); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// confine returns a copy of the configuration whose entries select only namespaces of the scope, or those of them that
// have further labels.
func (s *scope) confine(config *admissionv1.MutatingWebhookConfiguration, further map[string]string) *admissionv1.MutatingWebhookConfiguration {
	config = config.DeepCopy()
	for i := range config.Webhooks {
		webhook := &config.Webhooks[i]
		if webhook.NamespaceSelector == nil {
			webhook.NamespaceSelector = &metav1.LabelSelector{}
		}
		webhook.NamespaceSelector.MatchLabels = s.labels(further)
	}
	return config
}

// register registers a configuration, confined to the scope, for the rest of the test. The API server acts on it a
// moment later.
func (s *scope) register(config *admissionv1.MutatingWebhookConfiguration) {
	s.t.Helper()
	s.registerAsIs(s.confine(config, nil))
}

// registerAsIs is for configurations that are confined already.
func (s *scope) registerAsIs(config *admissionv1.MutatingWebhookConfiguration) {
	s.t.Helper()
	if err := cluster.RegisterWebhook(s.t.Context(), shared.Client, config); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		// The test's context has ended by now. A second deletion finds nothing.
		_ = shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(
			context.WithoutCancel(s.t.Context()), config.Name, metav1.DeleteOptions{})
	})
}

// registerAndWait registers a configuration and returns once the API server acts on it, which shows in what effective
// says of a pod that is created in the namespace as a trial.
func (s *scope) registerAndWait(config *admissionv1.MutatingWebhookConfiguration, namespace string, effective func(*corev1.Pod) bool) {
	s.t.Helper()
	s.register(config)
	s.wait(namespace, effective)
}

// wait creates trial pods until effective is true of one. Nothing of them is stored.
func (s *scope) wait(namespace string, effective func(*corev1.Pod) bool) {
	s.t.Helper()
	err := cluster.WaitEffective(s.t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := shared.Client.CoreV1().Pods(namespace).Create(ctx, plainPod("trial"), dryRun)
		if err != nil {
			return false, err
		}
		return effective(pod), nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// dryRun makes the API server do everything but store the object.
var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// plainPod is the smallest pod there is.
func plainPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
}

// create creates a pod, which must succeed.
func (s *scope) create(namespace string, pod *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	created, err := shared.Client.CoreV1().Pods(namespace).Create(s.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatalf("creating a pod: %v", err)
	}
	return created
}

// objectName makes an object's name of a sentence.
func objectName(sentence string) string {
	words := strings.FieldsFunc(strings.ToLower(sentence), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	name := strings.Join(words, "-")
	return name[:min(len(name), 50)]
}
