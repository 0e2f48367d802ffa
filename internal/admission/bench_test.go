package admission_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// contender is one of the handlers that are compared: all of them answer the
// captured review over http.Handler, without TLS and without a network, and
// log nothing.
type contender struct {
	name    string
	handler http.Handler
}

func contenders(t testing.TB) []contender {
	t.Helper()
	logf.SetLogger(logr.Discard())
	webhook := func(h ctrladmission.Handler) http.Handler { return &ctrladmission.Webhook{Handler: h} }
	return []contender{
		{"shorthop", newServer(t, policyNodeLocal)},
		// null is controller-runtime's own cost: it answers "allowed" without a
		// look at the pod.
		{"null", webhook(ctrladmission.HandlerFunc(func(context.Context, ctrladmission.Request) ctrladmission.Response {
			return ctrladmission.Allowed("")
		}))},
		{"conventional", webhook(conventional{ctrladmission.NewDecoder(clientgoscheme.Scheme)})},
	}
}

// BenchmarkReview answers one review per iteration.
func BenchmarkReview(b *testing.B) {
	review := capturedReview(b)
	for _, c := range contenders(b) {
		b.Run(c.name, func(b *testing.B) {
			answer := caller(c.handler, review)
			b.SetBytes(int64(len(review)))
			b.ReportAllocs()
			for b.Loop() {
				answer()
			}
		})
	}
}

// BenchmarkRatios measures the contenders in turns and reports what Shorthop
// costs as a share of what the others cost in the same round: the median, which
// a busy moment hardly changes. It counts the CPU time of the process, garbage
// collection included, and not the wall clock's, which on a machine with other
// work measures that as well.
func BenchmarkRatios(b *testing.B) {
	const batch = 200
	review := capturedReview(b)
	names := contenders(b)
	answers := make([]func(), len(names))
	for i, c := range names {
		answers[i] = caller(c.handler, review)
	}
	costs, ratios := make([][]float64, len(names)), make([][]float64, len(names))
	for b.Loop() {
		for i, answer := range answers {
			before := cpuTime(b)
			for range batch {
				answer()
			}
			costs[i] = append(costs[i], float64(cpuTime(b)-before)/batch/float64(time.Microsecond))
		}
		for i := range names {
			ratios[i] = append(ratios[i], costs[0][len(costs[0])-1]/costs[i][len(costs[i])-1])
		}
	}
	for i, c := range names {
		b.ReportMetric(median(costs[i]), "us-"+c.name)
		if i > 0 {
			b.ReportMetric(median(ratios[i]), "ratio-"+c.name)
		}
	}
	b.ReportMetric(0, "ns/op") // of a round, which says nothing
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// caller returns a function that sends the review to a handler and drops the
// answer. Everything that a client brings is made once.
func caller(handler http.Handler, review []byte) func() {
	body := bytes.NewReader(review)
	req := newRequest(review)
	req.Body = io.NopCloser(body)
	w := &discard{header: http.Header{}}
	return func() {
		body.Reset(review)
		clear(w.header)
		handler.ServeHTTP(w, req)
	}
}

// discard is a ResponseWriter with the deadlines that those of net/http have.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header             { return d.header }
func (d *discard) Write(p []byte) (int, error)     { return len(p), nil }
func (d *discard) WriteHeader(int)                 {}
func (d *discard) SetReadDeadline(time.Time) error { return nil }

// TestContendersDoTheSame keeps the comparison honest: the conventional
// handler turns the captured pod into the same pod as Shorthop, but for the
// text of the record.
func TestContendersDoTheSame(t *testing.T) {
	t.Parallel()
	review := capturedReview(t)
	object := decodeReview(t, review).Request.Object.Raw
	pods := map[string]*corev1.Pod{}
	for _, c := range contenders(t) {
		recorder := httptest.NewRecorder()
		c.handler.ServeHTTP(recorder, newRequest(review))
		response := decodeReview(t, recorder.Body.Bytes()).Response
		if !response.Allowed {
			t.Fatalf("%s: not allowed: %s", c.name, response.Result.Message)
		}
		if c.name == "null" {
			if len(response.Patch) > 0 {
				t.Errorf("null has a patch: %s", response.Patch)
			}
			continue
		}
		pod := decodePod(t, apply(t, object, response.Patch))
		if pod.Annotations["shorthop.dev/injected"] == "" {
			t.Errorf("%s: no record", c.name)
		}
		delete(pod.Annotations, "shorthop.dev/injected")
		pods[c.name] = pod
	}
	if diff := cmp.Diff(pods["conventional"], pods["shorthop"]); diff != "" {
		t.Errorf("the pod (-conventional +shorthop):\n%s", diff)
	}
}
