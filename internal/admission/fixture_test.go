package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// policyNodeLocal uses everything there is. Other policies are made by adding
// lines to its spec.
const policyNodeLocal = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: api.example.com}
  dns:
    mode: NodeLocal
    options: [{name: timeout, value: "1"}, {name: attempts, value: "2"}]
    nodeLocal: {servers: [169.254.20.10]}
`

const (
	policyDeny   = policyNodeLocal + "  onError: Deny\n"
	policyDryRun = policyNodeLocal + "  mode: DryRun\n"
	policyOff    = policyNodeLocal + "  mode: \"Off\"\n"
)

func compile(t testing.TB, document string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, document, "shorthop")
}

// namespaceLabels is a Namespaces that knows labels.
type namespaceLabels func(ctx context.Context, namespace string) (map[string]string, bool)

func (f namespaceLabels) Get(ctx context.Context, name string) (policy.Namespace, bool) {
	labels, ok := f(ctx, name)
	return policy.Namespace{Labels: labels}, ok
}

func unlabelled(context.Context, string) (map[string]string, bool) { return nil, true }

func unknown(context.Context, string) (map[string]string, bool) { return nil, false }

// server is a Handler with what its tests look at.
type server struct {
	*admission.Handler
	registry *prometheus.Registry
}

// newServer returns a server under a policy, none if the document is empty,
// whose namespaces have no labels. options may change that.
func newServer(t testing.TB, document string, options ...func(*admission.Options)) *server {
	t.Helper()
	var compiled *policy.Compiled
	if document != "" {
		compiled = compile(t, document)
	}
	registry := prometheus.NewRegistry()
	o := admission.Options{
		Policy:     func() *policy.Compiled { return compiled },
		Namespaces: namespaceLabels(unlabelled),
		Metrics:    metrics.New(registry),
		Log:        logr.Discard(),
	}
	for _, option := range options {
		option(&o)
	}
	return &server{admission.New(o), registry}
}

func withNamespaces(f namespaceLabels) func(*admission.Options) {
	return func(o *admission.Options) { o.Namespaces = f }
}

func withLog(log logr.Logger) func(*admission.Options) {
	return func(o *admission.Options) { o.Log = log }
}

// serve answers a request without a network.
func (s *server) serve(req *http.Request) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, req)
	return recorder
}

// post sends a body as the API server does.
func (s *server) post(body []byte) *httptest.ResponseRecorder { return s.serve(newRequest(body)) }

func newRequest(body []byte) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/mutate-v1-pod?timeout=2s", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return req
}

// counts returns the counters that are not zero, named as
// name{label values}.
func (s *server) counts(t testing.TB) map[string]int {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetCounter().GetValue() == 0 {
				continue
			}
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			counts[strings.TrimPrefix(family.GetName(), "shorthop_")+"{"+strings.Join(values, " ")+"}"] = int(metric.GetCounter().GetValue())
		}
	}
	return counts
}

// capturedReview is the review of a Deployment's pod, as kube-apiserver
// v1.36.3 sent it.
func capturedReview(t testing.TB) []byte {
	t.Helper()
	review, err := os.ReadFile("testdata/review-web-pod.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(review)
}

// capturedUID is the UID of capturedReview.
const capturedUID = "f4d31134-df2a-4a3e-bebc-fc5fce824258"

// capturedUpTo is the captured review, cut off where a text begins.
func capturedUpTo(t testing.TB, text string) []byte {
	t.Helper()
	head, _, found := bytes.Cut(capturedReview(t), []byte(text))
	if !found {
		t.Fatalf("the captured review has no %s", text)
	}
	return head
}

// edited is the captured review with parts of its text replaced: old, new,
// old, new and so on. Text is what faults are made of; a typed review has
// none.
func edited(t testing.TB, oldNew ...string) []byte {
	t.Helper()
	text := string(capturedReview(t))
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("the captured review has no %s", oldNew[i])
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	return []byte(text)
}

// decodeReview reads an answer with the API server's own type.
func decodeReview(t testing.TB, body []byte) *admissionv1.AdmissionReview {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var review admissionv1.AdmissionReview
	if err := decoder.Decode(&review); err != nil {
		t.Fatalf("answer cannot be decoded: %v\n%s", err, body)
	}
	return &review
}

// apply applies a JSON Patch with the library of the API server.
func apply(t testing.TB, object, patch []byte) []byte {
	t.Helper()
	return reviewtest.Patch(t, object, patch)
}

func decodePod(t testing.TB, object []byte) *corev1.Pod {
	t.Helper()
	pod := jsontest.Decode[corev1.Pod](t, object)
	return &pod
}
