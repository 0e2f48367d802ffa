package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/test/jsontest"
)

// TestIncompleteReviews has reviews that lack what those of every API server have.
func TestIncompleteReviews(t *testing.T) {
	t.Parallel()
	without := func(object string) []byte {
		review := jsontest.Decode[map[string]any](t, capturedReview(t))
		request := review["request"].(map[string]any)
		switch object {
		case "object", "resource", "operation":
			delete(request, object)
		default:
			request["object"] = json.RawMessage(object)
		}
		return jsontest.Marshal(t, review)
	}
	for _, missing := range []string{"object", "null", "{}", `{"metadata":{}}`, `{"spec":{}}`, `{"spec":null}`, "resource", "operation"} {
		for document, want := range map[string]any{
			policyNodeLocal: allowed(map[string]string{"error": "object"}, "shorthop: the pod cannot be decoded, so the pod is left as it is"),
			policyDeny:      denied("object", "shorthop: the pod cannot be decoded; the policy says onError: Deny"),
		} {
			recorder := newServer(t, document).post(without(missing))
			if recorder.Code != http.StatusOK {
				t.Errorf("%s: status %d: %s", missing, recorder.Code, recorder.Body)
				continue
			}
			if diff := cmp.Diff(want, any(decodeReview(t, recorder.Body.Bytes()).Response)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", missing, diff)
			}
		}
	}
}

// TestPodsWithLittle is about pods that no API server sends, and that are there all the same.
func TestPodsWithLittle(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{`{"dnsPolicy":"ClusterFirst"}`, `{"containers":[{"name":"web"}]}`} {
		review := jsontest.Decode[map[string]any](t, capturedReview(t))
		review["request"].(map[string]any)["object"] = json.RawMessage(`{"spec":` + spec + `}`)
		got := decodeReview(t, newServer(t, policyNodeLocal).post(jsontest.Marshal(t, review)).Body.Bytes()).Response.AuditAnnotations
		if got["service_host"] == "" || got["error"] != "" {
			t.Errorf("%s: %v", spec, got)
		}
	}
}

// TestNamespacesThatAreNone refuses them before their labels are asked for.
func TestNamespacesThatAreNone(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal, withNamespaces(func(_ context.Context, namespace string) (map[string]string, bool) {
		t.Errorf("asked for the labels of %q", namespace)
		return nil, false
	}))
	for _, namespace := range []string{"", ".", "..", "../pods", "a.b", "a/b", "A", "-a", "a-", "a_b", "a b", "a`", "a{", "a/", "a:", "\x00", "\u00e9", strings.Repeat("n", 64)} {
		quoted := jsontest.Marshal(t, namespace)
		recorder := s.post(edited(t, `"namespace":"default","operation"`, `"namespace":`+string(quoted)+`,"operation"`))
		if got := recorder.Body.String(); recorder.Code != http.StatusBadRequest || got != "request.namespace is not a DNS label\n" {
			t.Errorf("%q: %d %s", namespace, recorder.Code, got)
		}
	}
}

// TestNamespacesThatMayBe has the ends of what a label may consist of.
func TestNamespacesThatMayBe(t *testing.T) {
	t.Parallel()
	for _, namespace := range []string{"a", "z", "0", "9", "a-z", "0-9", "m5", strings.Repeat("n", 63)} {
		var asked string
		s := newServer(t, policyNodeLocal, withNamespaces(func(_ context.Context, namespace string) (map[string]string, bool) {
			asked = namespace
			return nil, true
		}))
		if recorder := s.post(edited(t, `"namespace":"default","operation"`, `"namespace":"`+namespace+`","operation"`)); recorder.Code != http.StatusOK || asked != namespace {
			t.Errorf("%q: %d %s, asked for %q", namespace, recorder.Code, recorder.Body, asked)
		}
	}
}

// TestNamespacesThatAreNoneBesideOtherFaults has them where the review cannot be decoded, before and after the fault.
func TestNamespacesThatAreNoneBesideOtherFaults(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyDeny)
	for namespace, want := range map[string]int{`null`: http.StatusOK, `5`: http.StatusBadRequest, `"../pods"`: http.StatusBadRequest} { // of what has none
		body := edited(t, `"namespace":"default","operation"`, `"namespace":`+namespace+`,"operation"`, `"resource":"pods"`, `"resource":"nodes"`, `"object":{`, `"object":7,"was":{`)
		if recorder := s.post(body); recorder.Code != want {
			t.Errorf("a node in namespace %s: %d %s", namespace, recorder.Code, recorder.Body)
		}
	}
	const before, head = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",`, `"resource":{"version":"v1","resource":"pods"},"operation":"CREATE",`
	for _, namespace := range []string{`5`, `[]`, `{}`, `true`, `"../pods"`, `""`, `null`} {
		for _, body := range []string{
			before + head + `"namespace":` + namespace + `,"object":{"spec":{"dnsPolicy":"Default"}}}}`,
			before + head + `"namespace":` + namespace + `,"object":[]}}`,
			before + head + `"object":[],"namespace":` + namespace + `}}`,
			before + `"object":[],"namespace":` + namespace + `,` + head + `"x":1}}`,
		} {
			if recorder := s.post([]byte(body)); recorder.Code != http.StatusBadRequest || recorder.Body.String() != "request.namespace is not a DNS label\n" {
				t.Errorf("%s: %d %s", body, recorder.Code, recorder.Body)
			}
		}
	}
}

// TestExcludedNamespacesAreNeverDenied has a pod that cannot be decoded, under onError Deny.
func TestExcludedNamespacesAreNeverDenied(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyDeny)
	const before, head = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",`, `"resource":{"version":"v1","resource":"pods"},"operation":"CREATE",`
	for namespace, want := range map[string]bool{"kube-system": true, "default": false} {
		for _, body := range []string{
			before + head + `"namespace":"` + namespace + `","object":[]}}`,
			before + head + `"object":[],"namespace":"` + namespace + `"}}`,
			before + head + `"namespace":"` + namespace + `","object":{"spec":{"containers":[`,
		} {
			if got := decodeReview(t, s.post([]byte(body)).Body.Bytes()).Response.Allowed; got != want {
				t.Errorf("%s: allowed %t, want %t", body, got, want)
			}
		}
	}
}

// TestLargeReviewsWaitForEachOther has more large bodies, whose rest comes late, than the budget has memory for: none
// waits longer than the review's deadline, small ones go on, and nothing is left of it. Who comes first may leave the others
// with too little to get to their pause before they wait. Then they go one behind the other, and three pauses fit into the
// time until the deadline (timeoutOf).
func TestLargeReviewsWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, policyNodeLocal)
		large := append(capturedReview(t), bytes.Repeat([]byte(" "), 2<<20)...)
		const pause, inTime = 450 * time.Millisecond, 3
		answers := make(chan int, 200)
		var senders sync.WaitGroup
		started := time.Now()
		for range cap(answers) {
			senders.Go(func() {
				req := newRequest(nil)
				req.Body, req.ContentLength = &paused{rest: large, after: 1 << 20, pause: pause}, int64(len(large))
				recorder := s.serve(req)
				answers <- recorder.Code
				if recorder.Code == http.StatusServiceUnavailable {
					// The deadline does not end a pause, as it does at a server.
					if took := time.Since(started); took > 2600*time.Millisecond || recorder.Header().Get("Retry-After") != "1" {
						t.Errorf("refused after %s, Retry-After %q", took, recorder.Header().Get("Retry-After"))
					}
				}
			})
		}
		time.Sleep(time.Second / 2)
		if recorder := s.post(capturedReview(t)); recorder.Code != http.StatusOK || time.Since(started) != time.Second/2 {
			t.Errorf("a small review beside them: status %d after %s", recorder.Code, time.Since(started))
		}
		senders.Wait()
		close(answers)
		counts := map[int]int{}
		for code := range answers {
			counts[code]++
		}
		if counts[http.StatusOK] < inTime || counts[http.StatusOK]+counts[http.StatusServiceUnavailable] != cap(answers) {
			t.Errorf("answers by status: %v; want at least %d of status 200, and else 503", counts, inTime)
		}
		if recorder := s.post(large); recorder.Code != http.StatusOK {
			t.Errorf("a large review afterwards: status %d", recorder.Code)
		}
	})
}

// paused is a body that stands still once.
type paused struct {
	rest  []byte
	after int
	pause time.Duration
}

func (p *paused) Read(into []byte) (int, error) {
	if p.after <= 0 && p.pause > 0 {
		time.Sleep(p.pause)
		p.pause = 0
	}
	n, err := bytes.NewReader(p.rest).Read(into)
	p.rest, p.after = p.rest[n:], p.after-n
	return n, err
}

func (*paused) Close() error { return nil }

// TestManyLargeReviewsAllPass has them one after the other where there is no memory for all. Those that are too many to
// wait are asked for again, as API servers do.
func TestManyLargeReviewsAllPass(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	large := append(capturedReview(t), bytes.Repeat([]byte(" "), 2<<20)...)
	var senders sync.WaitGroup
	for range 20 {
		senders.Go(func() {
			recorder := s.post(large)
			for recorder.Code == http.StatusServiceUnavailable && recorder.Header().Get("Retry-After") == "1" {
				recorder = s.post(large)
			}
			if recorder.Code != http.StatusOK {
				t.Errorf("status %d: %s", recorder.Code, recorder.Body)
			}
		})
	}
	senders.Wait()
}

// TestWhatWaitsHoldsLittle has a body of which the rest, which is not held, comes late, and one that waits to be decoded.
func TestWhatWaitsHoldsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, policyNodeLocal)
		left := admission.MemoryLeft(s.Handler)
		req := newRequest(nil)
		req.Body = &paused{rest: append(capturedReview(t), bytes.Repeat([]byte(" "), 4<<20)...), after: 3 << 20, pause: time.Second}
		var late sync.WaitGroup
		defer late.Wait()
		late.Go(func() { s.serve(req) })
		synctest.Wait()
		if now := admission.MemoryLeft(s.Handler); now != left {
			t.Errorf("%d bytes are held for what is not decoded", left-now)
		}
		decoding := admission.Decoding(s.Handler)
		for len(decoding) < cap(decoding) {
			decoding <- struct{}{}
		}
		answered := make(chan int, 1)
		go func() { answered <- s.post(append(capturedReview(t), bytes.Repeat([]byte(" "), 10<<10)...)).Code }()
		if synctest.Wait(); len(answered) > 0 {
			t.Error("one more is decoded at once")
		}
		if status := <-answered; status != http.StatusServiceUnavailable || len(decoding) != cap(decoding) {
			t.Errorf("without a turn by the deadline: status %d, %d are decoded", status, len(decoding))
		}
		go func() {
			answered <- s.post(append(capturedReview(t), bytes.Repeat([]byte(" "), 10<<10)...)).Code
		}()
		synctest.Wait()
		for range cap(decoding) {
			<-decoding
		}
		if status := <-answered; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}

// TestTooManyValues does not decode what would take much more memory than it has bytes.
func TestTooManyValues(t *testing.T) {
	t.Parallel()
	for fault, body := range map[string][]byte{
		"JSON with more values than are decoded": edited(t, `"env":[{"name":"A"`, `"env":[`+strings.Repeat("{},", 400_000)+`{"name":"A"`),
		"a number at byte ":                      edited(t, `"operation":"CREATE"`, `"operation":7`, `"env":[{"name":"A"`, `"env":[`+strings.Repeat("{},", 400_000)+`{"name":"A"`),
		"invalid JSON at byte ":                  append(edited(t, `"object":{`, `"object":@{`), bytes.Repeat([]byte(" "), 3<<20)...), // of which the end is not held
	} {
		var log logLines
		got := decodeReview(t, newServer(t, policyNodeLocal, withLog(log.logger())).post(body).Body.Bytes()).Response
		want := allowed(map[string]string{"error": "object"}, "shorthop: the pod cannot be decoded, so the pod is left as it is")
		if diff := cmp.Diff(want, got); diff != "" || len(log.lines) != 1 || !strings.Contains(log.lines[0], fault) {
			t.Errorf("logged %q, answer (-want +got):\n%s", log.lines, diff)
		}
	}
}
