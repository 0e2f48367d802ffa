package admission_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/shorthop/shorthop/test/bench/contender"
)

// contenders are the handlers that are compared: all of them answer captured
// reviews over http.Handler, without TLS and without a network, and log
// nothing.
func contenders(t testing.TB) []contenderHandler {
	t.Helper()
	logf.SetLogger(logr.Discard())
	return []contenderHandler{
		{"shorthop", newServer(t, policyNodeLocal)},
		{"null", contender.Null()},
		// With the outcome that policyNodeLocal asks of Shorthop.
		{"conventional", contender.Conventional(contender.Settings{
			Host:      "api.example.com",
			NodeLocal: []string{"169.254.20.10", "10.0.0.10"},
			Options: []corev1.PodDNSConfigOption{
				{Name: "ndots", Value: new("4")}, {Name: "timeout", Value: new("1")}, {Name: "attempts", Value: new("2")},
			},
		})},
	}
}

type contenderHandler struct {
	name    string
	handler http.Handler
}

// capturedReviews are reviews of pods of several sizes, as kube-apiserver
// v1.36.3 sent them, by name: `go run ./test/bench -capture`.
func capturedReviews(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/reviews/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captured reviews: %v", err)
	}
	reviews := map[string][]byte{}
	for _, file := range files {
		review, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reviews[strings.TrimSuffix(filepath.Base(file), ".json")] = review
	}
	return reviews
}

// BenchmarkReview answers one review per iteration.
func BenchmarkReview(b *testing.B) {
	for name, review := range capturedReviews(b) {
		for _, c := range contenders(b) {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				answer := caller(c.handler, review)
				b.SetBytes(int64(len(review)))
				b.ReportAllocs()
				for b.Loop() {
					answer()
				}
			})
		}
	}
}

// BenchmarkRatios measures the contenders in turns and reports what Shorthop
// costs as a share of what the others cost in the same round: the median, which
// a busy moment hardly changes. It counts the CPU time of the process, garbage
// collection included, and not the wall clock's, which on a machine with other
// work measures that as well.
func BenchmarkRatios(b *testing.B) {
	for name, review := range capturedReviews(b) {
		b.Run(name, func(b *testing.B) { ratios(b, review) })
	}
}

func ratios(b *testing.B, review []byte) {
	batch := max(2, 1<<18/len(review)) // some milliseconds
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
			costs[i] = append(costs[i], float64(cpuTime(b)-before)/float64(batch)/float64(time.Microsecond))
		}
		for i := range names {
			ratios[i] = append(ratios[i], costs[0][len(costs[0])-1]/costs[i][len(costs[i])-1])
		}
	}
	for i, c := range names {
		b.ReportMetric(median(costs[i]), "us-"+c.name)
		b.ReportMetric(testing.AllocsPerRun(20, answers[i]), "allocs-"+c.name)
		if i > 0 {
			b.ReportMetric(median(ratios[i]), "ratio-"+c.name)
		}
	}
	b.ReportMetric(float64(len(review)), "bytes")
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
	header, query := req.Header, req.URL.RawQuery
	w := &discard{header: http.Header{}}
	return func() {
		body.Reset(review)
		clear(w.header)
		req.Header, req.URL.RawQuery = header, query // which the handler lets go of
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
// handler turns every captured pod into the same pod as Shorthop, but for the
// text of the record.
func TestContendersDoTheSame(t *testing.T) {
	t.Parallel()
	for name, review := range capturedReviews(t) {
		t.Run(name, func(t *testing.T) { compareContenders(t, review, name != "opted-out") })
	}
}

func compareContenders(t *testing.T, review []byte, wantPatch bool) {
	t.Helper()
	object := decodeReview(t, review).Request.Object.Raw
	pods := map[string]*corev1.Pod{}
	for _, c := range contenders(t) {
		recorder := httptest.NewRecorder()
		c.handler.ServeHTTP(recorder, newRequest(review))
		response := decodeReview(t, recorder.Body.Bytes()).Response
		if !response.Allowed {
			t.Fatalf("%s: not allowed: %s", c.name, response.Result.Message)
		}
		if got := len(response.Patch) > 0; got != (wantPatch && c.name != "null") {
			t.Errorf("%s: a patch is %t: %s", c.name, got, response.Patch)
		}
		if len(response.Patch) == 0 {
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
