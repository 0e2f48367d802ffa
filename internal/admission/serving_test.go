package admission_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/pkg/policy"
)

// TestTimeout gives a review four fifths of what the API server waits, and at
// most two seconds.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]time.Duration{
		"":                         2 * time.Second,
		"?timeout=1s":              800 * time.Millisecond,
		"?timeout=100ms":           80 * time.Millisecond,
		"?timeout=30s":             2 * time.Second,
		"?timeout=0s":              2 * time.Second,
		"?timeout=-1s":             2 * time.Second,
		"?timeout=soon":            2 * time.Second,
		"?timeout=1s&timeout=500h": 800 * time.Millisecond,
		"?timeout=%zz":             2 * time.Second,
	} {
		t.Run("query "+query, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, policyNodeLocal, withNamespaces(func(ctx context.Context, _ string) (map[string]string, bool) {
					<-ctx.Done()
					return nil, false
				}))
				req := newRequest(capturedReview(t))
				req.URL.RawQuery = strings.TrimPrefix(query, "?")
				started := time.Now()
				recorder := s.serve(req)
				if took := time.Since(started); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				answer := allowed(both("skip namespace_unknown"), "shorthop: the labels of namespace default could not be read, so the pod is left as it is")
				if diff := cmp.Diff(answer, decodeReview(t, recorder.Body.Bytes()).Response); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestReviewsUnderWayAreCounted(t *testing.T) {
	t.Parallel()
	var s *server
	counted := func() (underWay int, ended uint64) {
		families, err := s.registry.Gather()
		if err != nil {
			t.Error(err)
		}
		for _, family := range families {
			underWay += int(family.GetMetric()[0].GetGauge().GetValue()) * strings.Count(family.GetName(), "reviews_in_flight")
			ended += family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
		return underWay, ended
	}
	s = newServer(t, policyNodeLocal, withNamespaces(func(context.Context, string) (map[string]string, bool) {
		if underWay, ended := counted(); underWay != 1 || ended != 0 {
			t.Errorf("%d under way, %d ended", underWay, ended)
		}
		return nil, true
	}))
	s.post(capturedReview(t))
	if underWay, ended := counted(); underWay != 0 || ended != 1 || admission.UnderWay(s.Handler) != 0 {
		t.Errorf("after it, %d under way, %d ended", underWay, ended)
	}
}

// TestClientDisconnects finishes a review that was begun: controller-runtime
// cancels the requests in flight when it stops.
func TestClientDisconnects(t *testing.T) {
	t.Parallel()
	begun, gone, errs := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s := newServer(t, policyNodeLocal, withNamespaces(func(ctx context.Context, _ string) (map[string]string, bool) {
		close(begun)
		<-gone
		errs <- ctx.Err()
		return nil, true
	}))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		go func() {
			<-req.Context().Done()
			close(gone)
		}()
		s.ServeHTTP(w, req)
	}))
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, web.URL, bytes.NewReader(capturedReview(t)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if response, err := http.DefaultClient.Do(req); err == nil {
		response.Body.Close()
		t.Error("the client did not leave")
	}
	if err := <-errs; err != nil {
		t.Errorf("the review's context ended with the client: %v", err)
	}
	web.Close() // waits for the handler
	if got := s.counts(t)["decisions_total{inject dns enabled_by_policy}"]; got != 1 {
		t.Errorf("%d reviews were finished, want 1", got)
	}
}

// TestConcurrentReviews answers each review with its own answer: buffers are
// shared between reviews, one after the other.
func TestConcurrentReviews(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	golden := goldenPatch(t)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "bb", "ccc", "dddd"} {
		wg.Go(func() {
			// A container's name is in the answer, and its length moves all that
			// follows.
			for i := range 100 {
				container := strings.Repeat(name, 1+i%15)
				uid := container + "-" + capturedUID
				body := edited(t, `"name":"web","image"`, `"name":"`+container+`","image"`, capturedUID, uid)
				response := decodeReview(t, s.post(body).Body.Bytes()).Response
				if string(response.UID) != uid || !bytes.Contains(response.Patch, []byte(`[\"init\",\"`+container+`\",\"sidecar\"]`)) {
					t.Errorf("answer to %s is %s: %s", uid, response.UID, response.Patch)
				}
			}
		})
	}
	wg.Wait()
	if got := decodeReview(t, s.post(capturedReview(t)).Body.Bytes()).Response.Patch; !bytes.Equal(got, golden) {
		t.Errorf("patch afterwards is %s", got)
	}
}

// TestPolicyIsReadPerReview takes a new policy with the next review.
func TestPolicyIsReadPerReview(t *testing.T) {
	t.Parallel()
	current := compile(t, policyOff)
	s := newServer(t, "", func(o *admission.Options) { o.Policy = func() *policy.Compiled { return current } })
	review := func() *admissionv1.AdmissionResponse {
		return decodeReview(t, s.post(capturedReview(t)).Body.Bytes()).Response
	}
	if diff := cmp.Diff(allowed(both("skip mode_off")), review()); diff != "" {
		t.Errorf("first answer (-want +got):\n%s", diff)
	}
	current = compile(t, policyNodeLocal)
	want := patched(goldenPatch(t), withRule("default", both("inject enabled_by_policy")))
	if diff := cmp.Diff(want, review()); diff != "" {
		t.Errorf("second answer (-want +got):\n%s", diff)
	}
}

// silent is a request of which no body comes, and the deadlines that are set for it.
type silent struct {
	http.ResponseWriter
	begins    chan struct{}
	deadlines []time.Duration
}

func (s *silent) SetReadDeadline(deadline time.Time) error {
	s.deadlines = append(s.deadlines, time.Until(deadline))
	return nil
}

func (s *silent) Read([]byte) (int, error) { <-s.begins; return 0, io.EOF }
func (s *silent) Close() error             { return nil }

// TestABodyThatDoesNotBegin has ten seconds, and next to none while there are more of its kind than API servers
// have reviews under way.
func TestABodyThatDoesNotBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, begins := newServer(t, policyNodeLocal), make(chan struct{})
		waits := func() *silent {
			w := &silent{ResponseWriter: httptest.NewRecorder(), begins: begins}
			request := newRequest(nil)
			request.Body = w
			go s.ServeHTTP(w, request)
			synctest.Wait()
			return w
		}
		last := waits()
		for range 1023 {
			last = waits()
		}
		one := waits()
		if want := []time.Duration{10 * time.Second}; !slices.Equal(last.deadlines, want) {
			t.Errorf("the last one that waits as long as for a body has %v, want %v", last.deadlines, want)
		}
		if want := []time.Duration{100 * time.Millisecond}; !slices.Equal(one.deadlines, want) {
			t.Errorf("one more has %v, want %v", one.deadlines, want)
		}
		close(begins)
		synctest.Wait()
		if want := []time.Duration{100 * time.Millisecond, 10 * time.Second}; !slices.Equal(one.deadlines, want) {
			t.Errorf("once its body has begun it has %v, want %v", one.deadlines, want)
		}
	})
}
