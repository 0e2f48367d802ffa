package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

// outcome is what became of a pod whose webhook misbehaves.
type outcome string

const (
	rejected         outcome = "rejected"
	createdUnpatched outcome = "created unpatched"
	createdPatched   outcome = "created patched"
)

// faultLabel says, on a pod, how the webhook that reviews it behaves.
const faultLabel = "example.com/fault"

// byFault is a webhook with as many behaviours as it has handlers. The pod chooses: its label is the name of a fault.
type byFault struct {
	handlers map[string]http.Handler

	mu    sync.Mutex
	calls map[string]int
}

func (b *byFault) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var review struct {
		Request struct {
			Object struct{ Metadata metav1.ObjectMeta }
		}
	}
	if err := json.Unmarshal(body, &review); err != nil {
		panic(http.ErrAbortHandler)
	}
	fault := review.Request.Object.Metadata.Labels[faultLabel]
	b.mu.Lock()
	if b.calls == nil {
		b.calls = map[string]int{}
	}
	b.calls[fault]++
	b.mu.Unlock()
	req.Body = io.NopCloser(bytes.NewReader(body))
	b.handlers[fault].ServeHTTP(w, req)
}

// count returns how often the webhook was called for pods with this fault.
func (b *byFault) count(fault string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[fault]
}

// faultyPod creates a pod with the fault and says what became of it. Of a pod that was created unpatched the error says
// whether the call of the webhook failed.
func (s *scope) faultyPod(client kubernetes.Interface, namespace, fault, webhook string) (outcome, error) {
	s.t.Helper()
	pod := plainPod(fault)
	pod.Labels = map[string]string{faultLabel: fault}
	created, err := client.CoreV1().Pods(namespace).Create(s.t.Context(), pod, metav1.CreateOptions{})
	switch {
	case err != nil:
		return rejected, err
	case isPatched(created):
		return createdPatched, nil
	}
	// Only the API server knows whether the call failed or the answer was empty.
	if event := s.audited(namespace, fault, ""); !slices.Contains(event.failedOpen(), webhook) {
		return createdUnpatched, errDidNotFail
	}
	return createdUnpatched, nil
}

// errDidNotFail says that the API server took the webhook's answer for a good one.
var errDidNotFail = errors.New("the call of the webhook did not fail")

// isPatched reports whether a pod has the service host or the annotation of the raw webhook.
func isPatched(pod *corev1.Pod) bool {
	return pod.Annotations["example.com/patched"] != "" || serviceHostOf(&pod.Spec.Containers[0]) != ""
}

func serviceHostOf(c *corev1.Container) string {
	for _, v := range c.Env {
		if v.Name == policy.EnvServiceHost {
			return v.Value
		}
	}
	return ""
}

// goodPatch is what raw webhooks answer with where they answer well.
const goodPatch = `[{"op":"add","path":"/metadata/annotations","value":{"example.com/patched":"yes"}}]`

// TestWhatTheAPIServerMakesOfAnswers is the table that the handler's own table rests on: under failurePolicy Ignore a pod
// is still rejected by a denial and by a patch that does not work, and by nothing else.
func TestWhatTheAPIServerMakesOfAnswers(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("answers", nil)

	const noAnswer = "there is no answer within the timeout"
	type behaviour struct {
		answer http.HandlerFunc
		want   outcome
		calls  int // 0: any number
	}
	patch := func(patch string) http.HandlerFunc {
		return respond(func(r *admissionv1.AdmissionResponse) { r.Patch = []byte(patch) })
	}
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if len(header) == 2 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(code)
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	// once answers so the first time and well the second time.
	once := func(first http.HandlerFunc) http.HandlerFunc {
		var mu sync.Mutex
		called := false
		return func(w http.ResponseWriter, req *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if !called {
				called = true
				first(w, req)
				return
			}
			patch(goodPatch)(w, req)
		}
	}
	behaviours := map[string]behaviour{
		"the patch is good": {patch(goodPatch), createdPatched, 1},

		"allowed is false":                       {respond(func(r *admissionv1.AdmissionResponse) { r.Allowed, r.PatchType = false, nil }), rejected, 1},
		"the patch adds below a missing parent":  {patch(`[{"op":"add","path":"/metadata/annotations/a","value":"b"}]`), rejected, 1},
		"the patch removes what is not there":    {patch(`[{"op":"remove","path":"/spec/dnsConfig"}]`), rejected, 1},
		"a test operation of the patch fails":    {patch(`[{"op":"test","path":"/metadata/name","value":"other"}]`), rejected, 1},
		"the patched pod is not valid":           {patch(`[{"op":"add","path":"/spec/dnsPolicy","value":"Bogus"}]`), rejected, 1},
		"the patched pod cannot be decoded":      {patch(`[{"op":"add","path":"/spec/dnsPolicy","value":7}]`), rejected, 1},
		"the patch is not a patch":               {patch(`{"op":"add"}`), createdUnpatched, 1},
		"the patch has no type":                  {respond(func(r *admissionv1.AdmissionResponse) { r.Patch, r.PatchType = []byte(goodPatch), nil }), createdUnpatched, 1},
		"the UID is another":                     {respond(func(r *admissionv1.AdmissionResponse) { r.UID = "another" }), createdUnpatched, 1},
		"the answer is garbage":                  {body("garbage"), createdUnpatched, 1},
		"the answer is another object":           {body(`{"apiVersion":"v1","kind":"Pod"}`), createdUnpatched, 1},
		"the answer is empty":                    {body(""), createdUnpatched, 1},
		"the status is 404":                      {status(http.StatusNotFound), createdUnpatched, 1},
		"the status is 500":                      {status(http.StatusInternalServerError), createdUnpatched, 1},
		"the status is 503 without Retry-After":  {status(http.StatusServiceUnavailable), createdUnpatched, 1},
		"the status is always 503, Retry-After":  {status(http.StatusServiceUnavailable, "Retry-After", "0"), createdUnpatched, 0},
		"the connection is aborted":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, createdUnpatched, 0},
		noAnswer:                                 {func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, createdUnpatched, 1},
		"the status is 503 once, Retry-After":    {once(status(http.StatusServiceUnavailable, "Retry-After", "0")), createdPatched, 2},
		"the status is 429 once, Retry-After":    {once(status(http.StatusTooManyRequests, "Retry-After", "0")), createdPatched, 2},
		"the status is 500 once, no Retry-After": {once(status(http.StatusInternalServerError)), createdUnpatched, 1},
	}
	webhook := &byFault{handlers: map[string]http.Handler{"": patch(goodPatch)}}
	for sentence, b := range behaviours {
		webhook.handlers[objectName(sentence)] = b.answer
	}
	config := bareConfiguration(s.name, serve(t, webhook))
	config.Webhooks = append(config.Webhooks, *config.Webhooks[0].DeepCopy())
	patient, impatient := &config.Webhooks[0], &config.Webhooks[1]
	late := objectName(noAnswer)
	patient.ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: faultLabel, Operator: metav1.LabelSelectorOpNotIn, Values: []string{late}},
	}}
	impatient.Name = "impatient." + impatient.Name
	impatient.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{faultLabel: late}}
	impatient.TimeoutSeconds = new(int32(1))
	s.registerAndWait(config, namespace, isPatched)

	for sentence, b := range behaviours {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s, fault, called := s.in(t), objectName(sentence), patient
			if fault == late {
				called = impatient
			}
			got, err := s.faultyPod(shared.Client, namespace, fault, called.Name)
			if got != b.want {
				t.Errorf("the pod was %s, want %s: %v", got, b.want, err)
			} else if got == createdUnpatched && err != nil {
				t.Error(err)
			}
			if calls := webhook.count(fault); calls == 0 || b.calls != 0 && calls != b.calls {
				t.Errorf("the webhook was called %d times, want %d", calls, b.calls)
			}
		})
	}
}

// respond answers a review with allowed: true and what change makes of it.
func respond(change func(*admissionv1.AdmissionResponse)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, PatchType: new(admissionv1.PatchTypeJSONPatch)}
		change(response)
		review.Request, review.Response = nil, response
		json.NewEncoder(w).Encode(review)
	}
}

func TestPodsAreCreatedWithoutACertificateThatVerifies(t *testing.T) {
	t.Parallel()
	good := respond(func(r *admissionv1.AdmissionResponse) { r.Patch = []byte(goodPatch) })
	for name, at := range map[string]func(*testing.T) endpoint{
		"the CA is another": func(t *testing.T) endpoint {
			at, other := serve(t, good), serve(t, good)
			return endpoint{at.url, other.caBundle}
		},
		"the host is another": func(t *testing.T) endpoint { return serveAs(t, "webhook.shorthop.svc", good) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			namespace := s.namespace("certificate", nil)
			config := bareConfiguration(s.name, at(t))
			s.register(config)
			s.waitFailsOpen(config.Webhooks[0].Name, namespace)
		})
	}
}

// waitFailsOpen creates pods until the audit log says of one that the webhook was called and has failed.
func (s *scope) waitFailsOpen(webhook, namespace string) {
	s.t.Helper()
	n := 0
	err := cluster.WaitEffective(s.t.Context(), func(context.Context) (bool, error) {
		n++
		pod := s.create(namespace, plainPod(fmt.Sprintf("fails-open-%d", n)))
		return slices.Contains(s.audited(namespace, pod.Name, "").failedOpen(), webhook) && !isPatched(pod), nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestPodsAreCreatedWhenTheServerIsGone kills the real program, as a node that fails does.
func TestPodsAreCreatedWhenTheServerIsGone(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("gone", nil)
	webhook := s.startWebhook(examplePolicy)
	document, err := os.ReadFile(examplePolicy)
	if err != nil {
		t.Fatal(err)
	}
	s.registerAndWait(configuration(s.name, parse(t, string(document)), webhook.endpoint), namespace, isPatched)
	webhook.Kill()
	s.waitFailsOpen(webhookconfig.OpenEntry, namespace)
}

// faultPolicy is small, so that pods are patched in one way only.
const faultPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: faults}
spec:
  onError: %s
  serviceHost: {host: api.example.com}
`

// namespaceLabels makes a function a source of namespace labels.
type namespaceLabels func(ctx context.Context, namespace string) (map[string]string, bool)

func (f namespaceLabels) Get(ctx context.Context, namespace string) (policy.Namespace, bool) {
	labels, ok := f(ctx, namespace)
	return policy.Namespace{Labels: labels}, ok
}

// noLabels says of every namespace that it has none.
var noLabels namespaceLabels = func(context.Context, string) (map[string]string, bool) { return nil, true }

// handler is ours, with what is needed filled in.
func handler(compiled *policy.Compiled, change func(*admission.Options)) http.Handler {
	options := admission.Options{
		Policy:     func() *policy.Compiled { return compiled },
		Namespaces: noLabels,
		Metrics:    metrics.New(prometheus.NewRegistry()),
		Log:        logr.Discard(),
	}
	if change != nil {
		change(&options)
	}
	return admission.New(options)
}

// TestPodsAreCreatedWhateverGoesWrong has every way in which we fail, and what the person who creates the pod sees of it.
func TestPodsAreCreatedWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	compiled := compile(t, fmt.Sprintf(faultPolicy, policy.OnErrorAllow))
	panics := func(o *admission.Options) {
		o.Namespaces = namespaceLabels(func(context.Context, string) (map[string]string, bool) { panic("a bug") })
	}
	loadedLater := func() func() *policy.Compiled {
		var mu sync.Mutex
		asked := 0
		return func() *policy.Compiled {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked == 1 {
				return nil
			}
			return compiled
		}
	}()
	faults := map[string]struct {
		handler http.Handler
		want    outcome
		// fails says that the API server sees a failed call, and not an answer that allows the pod.
		fails   bool
		warning string
	}{
		"nothing is wrong": {handler: handler(compiled, nil), want: createdPatched},
		"the handler panics": {
			handler: handler(compiled, panics), want: createdUnpatched,
			warning: "shorthop: internal error, so the pod is left as it is",
		},
		"the object cannot be decoded": {
			handler: damaging(handler(compiled, nil)), want: createdUnpatched,
			warning: "shorthop: the pod cannot be decoded, so the pod is left as it is",
		},
		"the namespace cannot be read in time": {
			handler: handler(compiled, func(o *admission.Options) {
				o.Namespaces = namespaceLabels(func(ctx context.Context, _ string) (map[string]string, bool) { <-ctx.Done(); return nil, false })
			}),
			want:    createdUnpatched,
			warning: "could not be read, so the pod is left as it is",
		},
		"the server drains": {
			handler: draining(handler(compiled, nil)),
			want:    createdPatched,
		},
		"no policy is in force": {
			handler: handler(nil, nil), want: createdUnpatched, fails: true,
		},
		"the policy is loaded a moment later": {
			handler: handler(nil, func(o *admission.Options) { o.Policy = loadedLater }), want: createdPatched,
		},
		"the handler panics under onError Deny": {
			handler: handler(compile(t, fmt.Sprintf(faultPolicy, policy.OnErrorDeny)), panics), want: rejected,
		},
		"the object cannot be decoded under onError Deny": {
			handler: damaging(handler(compile(t, fmt.Sprintf(faultPolicy, policy.OnErrorDeny)), nil)), want: rejected,
		},
	}

	s := newScope(t)
	namespace := s.namespace("faults", nil)
	webhook := &byFault{handlers: map[string]http.Handler{"": handler(compiled, nil)}}
	for sentence, f := range faults {
		webhook.handlers[objectName(sentence)] = f.handler
	}
	config := bareConfiguration(s.name, serve(t, webhook))
	config.Webhooks[0].TimeoutSeconds = new(int32(3)) // how long it is tried while no policy is in force
	s.registerAndWait(config, namespace, isPatched)

	for sentence, f := range faults {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s, fault := s.in(t), objectName(sentence)
			var warnings warningList
			got, err := s.faultyPod(warnings.client(t), namespace, fault, config.Webhooks[0].Name)
			switch {
			case got != f.want:
				t.Errorf("the pod was %s, want %s: %v", got, f.want, err)
			case got == rejected && !strings.Contains(err.Error(), "the policy says onError: Deny"):
				t.Errorf("rejected because of %v, want a word about onError", err)
			case got == createdUnpatched && f.fails != (err == nil):
				t.Errorf("the call failed: %t, want %t", err == nil, f.fails)
			}
			if !warnings.has(f.warning) {
				t.Errorf("warnings %q, want one with %q", warnings.all(), f.warning)
			}
			if calls := webhook.count(fault); calls == 0 {
				t.Error("the webhook was not called")
			}
		})
	}
}

// damaging makes a pod unreadable before the handler gets it. The API server would not send such a pod.
func damaging(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = bytes.Replace(body, []byte(`"containers":[{`), []byte(`"containers":[7,{`), 1)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		handler.ServeHTTP(w, req)
	})
}

// draining answers as internal/reviewserver does once it is ending.
func draining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, req)
	})
}
