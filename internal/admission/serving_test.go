package admission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
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
		"?1s":                      2 * time.Second,
		"?timeout=1s&" + strings.Repeat("x", 300): 2 * time.Second, // is not worth the work
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

// slow is a request whose body begins late: the deadlines that are set for it, and how often it is read into a buffer.
type slow struct {
	*httptest.ResponseRecorder
	begins    chan struct{}
	body      io.Reader
	deadlines []time.Duration
	buffers   int
}

func (s *slow) SetReadDeadline(deadline time.Time) error {
	s.deadlines = append(s.deadlines, time.Until(deadline))
	return nil
}

func (s *slow) Read(p []byte) (int, error) {
	if len(p) > 0 {
		s.buffers++
	}
	<-s.begins
	return s.body.Read(p)
}

func (s *slow) Close() error { return nil }

// TestABodyThatDoesNotBegin has ten seconds, and no buffer where there are many of its kind.
func TestABodyThatDoesNotBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, begins := newServer(t, policyNodeLocal), make(chan struct{})
		waits := func(body io.Reader) *slow {
			w := &slow{ResponseRecorder: httptest.NewRecorder(), begins: begins, body: body}
			request := newRequest(nil)
			request.Body = w
			go s.ServeHTTP(w, request)
			synctest.Wait()
			return w
		}
		empty := []*slow{waits(strings.NewReader(""))}
		for range 300 {
			empty = append(empty, waits(strings.NewReader("")))
		}
		review, broken := waits(bytes.NewReader(capturedReview(t))), waits(iotest.ErrReader(errors.New("connection reset")))
		if want := []time.Duration{10 * time.Second}; !slices.Equal(broken.deadlines, want) {
			t.Errorf("the last one has %v, want %v", broken.deadlines, want)
		}
		buffers := 0
		for _, w := range empty {
			buffers += w.buffers
		}
		if buffers += review.buffers + broken.buffers; buffers != 256 {
			t.Errorf("%d of them have a buffer, want 256", buffers)
		}
		close(begins)
		synctest.Wait()
		if broken.buffers != 0 {
			t.Error("one that breaks off before its body had a buffer")
		}
		for w, want := range map[*slow]string{
			empty[0]: "400 not an AdmissionReview: the body is empty\n", broken: "400 read body: connection reset\n",
		} {
			if got := fmt.Sprintf("%d %s", w.Code, w.Body); got != want {
				t.Errorf("answered %q, want %q", got, want)
			}
		}
		if review.Code != http.StatusOK || decodeReview(t, review.Body.Bytes()).Response.Patch == nil {
			t.Errorf("a review among them: %d %s", review.Code, review.Body)
		}
	})
}

// TestABodyThatHoldsMemory has to arrive by the review's deadline from then on, and holds twice what is above 16 KiB.
func TestABodyThatHoldsMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const late, byTheDeadline = 10 * time.Second, 1600 * time.Millisecond
		for _, test := range []struct {
			size, length int
			held         int64
			deadlines    []time.Duration
		}{
			{15 << 10, -1, 0, []time.Duration{late}},
			{20 << 10, -1, 2 * 16 << 10, []time.Duration{late, byTheDeadline}},
			{20 << 10, 20 << 10, 2 * (4<<10 + 512), []time.Duration{late, byTheDeadline}}, // and room to see that it ends
			{100 << 10, -1, 2 * 112 << 10, []time.Duration{late, byTheDeadline}},
		} {
			s := newServer(t, policyNodeLocal)
			before, held := admission.MemoryLeft(s.Handler), int64(-1)
			begun := make(chan struct{})
			close(begun)
			w := &slow{ResponseRecorder: httptest.NewRecorder(), begins: begun}
			w.body = io.MultiReader(strings.NewReader(strings.Repeat(" ", test.size)), readerFunc(func([]byte) (int, error) {
				held = before - admission.MemoryLeft(s.Handler)
				return 0, io.EOF
			}))
			request := newRequest(nil)
			request.ContentLength, request.Body = int64(test.length), w
			s.ServeHTTP(w, request)
			if held != test.held || !slices.Equal(w.deadlines, test.deadlines) {
				t.Errorf("a body of %d bytes holds %d, want %d; deadlines %v, want %v", test.size, held, test.held, w.deadlines, test.deadlines)
			}
			if left := admission.MemoryLeft(s.Handler); left != before {
				t.Errorf("after a body of %d bytes %d are left, want %d", test.size, left, before)
			}
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestWhoGetsTheLastMemory: an ordinary review needs none of the budget, and what is for small bodies is not for large ones,
// whose size is what is announced, or has arrived.
func TestWhoGetsTheLastMemory(t *testing.T) {
	t.Parallel()
	none, small := admission.TakeAllMemory, admission.LeaveMemoryForSmallBodies
	for name, test := range map[string]struct {
		left   func(*admission.Handler)
		size   int
		length int64 // that is announced
		want   int
	}{
		"an ordinary review":                    {none, 16<<10 - 1, 16<<10 - 1, http.StatusOK},
		"one of unknown length":                 {none, 16<<10 - 1, -1, http.StatusOK},
		"one that is no longer ordinary":        {none, 16 << 10, -1, http.StatusServiceUnavailable},
		"a small body":                          {small, 250 << 10, 250 << 10, http.StatusOK},
		"a small body of unknown length":        {small, 250 << 10, -1, http.StatusOK},
		"a large body":                          {small, 260 << 10, 260 << 10, http.StatusServiceUnavailable},
		"a large body of unknown length":        {small, 260 << 10, -1, http.StatusServiceUnavailable},
		"a large body of which little has come": {small, 20 << 10, 260 << 10, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, policyNodeLocal)
				test.left(s.Handler)
				body := append(capturedReview(t), bytes.Repeat([]byte(" "), test.size-len(capturedReview(t)))...)
				request := newRequest(body)
				request.ContentLength = test.length
				if recorder := s.serve(request); recorder.Code != test.want {
					t.Errorf("status %d, want %d: %s", recorder.Code, test.want, recorder.Body)
				}
			})
		})
	}
}

// TestFewBodiesWaitHalfRead: those that wait for memory with a part unread fill the window of their connection.
func TestFewBodiesWaitHalfRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, policyNodeLocal)
		admission.TakeAllMemory(s.Handler)
		var took [admission.MaxUnread + 1]time.Duration
		var waiting sync.WaitGroup
		for i := range took {
			waiting.Go(func() {
				started := time.Now()
				s.post(bytes.Repeat([]byte(" "), 20<<10))
				took[i] = time.Since(started)
			})
			synctest.Wait()
		}
		waiting.Wait()
		for i, took := range took {
			if want := map[bool]time.Duration{true: 1600 * time.Millisecond}[i < admission.MaxUnread]; took != want {
				t.Errorf("body %d waits for %v, want %v", i, took, want)
			}
		}
	})
}

// What is for small bodies is not there for decoding a large one either.
func TestDecodingALargeBodyLeavesWhatIsForSmallOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for size, want := range map[int]int{250 << 10: http.StatusOK, 260 << 10: http.StatusServiceUnavailable} {
			s := newServer(t, policyNodeLocal)
			request := newRequest(nil)
			body := append(capturedReview(t), bytes.Repeat([]byte(" "), size-len(capturedReview(t)))...)
			request.ContentLength, request.Body = int64(size), io.NopCloser(io.MultiReader(bytes.NewReader(body), readerFunc(func([]byte) (int, error) {
				admission.LeaveMemoryForSmallBodies(s.Handler)
				return 0, io.EOF
			})))
			if recorder := s.serve(request); recorder.Code != want {
				t.Errorf("%d bytes: status %d, want %d: %s", size, recorder.Code, want, recorder.Body)
			}
		}
	})
}
