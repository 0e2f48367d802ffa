package admission_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/admission"
)

// TestRefusals has the rows of the outcome table that end without an answer to
// a review.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const tooLarge = "body is larger than 7340032 bytes\n"
	text := func(line string) string { return line + "\n" }
	withMethod := func(method string) *http.Request {
		req := newRequest(capturedReview(t))
		req.Method = method
		return req
	}
	withContentType := func(value ...string) *http.Request {
		req := newRequest(capturedReview(t))
		req.Header["Content-Type"] = value
		return req
	}
	withBody := func(body io.Reader) *http.Request {
		req := httptest.NewRequest(http.MethodPost, "/mutate-v1-pod", body)
		req.Header.Set("Content-Type", "application/json")
		return req
	}
	announced := func(length int64, req *http.Request) *http.Request {
		req.ContentLength = length
		return req
	}
	spaces := func(n int) io.Reader { return bytes.NewReader(bytes.Repeat([]byte(" "), n)) }
	plain := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}
	and := func(key, value string) http.Header {
		header := plain.Clone()
		header.Set(key, value)
		return header
	}
	withTimeout := func(timeout string, body []byte) *http.Request {
		req := newRequest(body)
		req.URL.RawQuery = "timeout=" + timeout
		return req
	}
	listed := func(values int) []byte { // almost all that is read without the budget
		return append(bytes.Repeat([]byte("{},"), values), bytes.Repeat([]byte(" "), 16<<10-1-3*values)...)
	}
	tests := map[string]struct {
		noPolicy bool
		noMemory bool
		request  *http.Request
		status   int
		body     string
		header   http.Header // default plain
		stage    string      // default request; of several, with spaces between them
	}{
		"method GET": {
			request: withMethod(http.MethodGet), status: http.StatusMethodNotAllowed,
			body: text("method is GET, want POST"), header: and("Allow", "POST"),
		},
		"method PUT": {
			request: withMethod(http.MethodPut), status: http.StatusMethodNotAllowed,
			body: text("method is PUT, want POST"), header: and("Allow", "POST"),
		},
		"no content type": {
			request: withContentType(), status: http.StatusUnsupportedMediaType,
			body: text(`content type is "", want application/json`),
		},
		"content type of protobuf": {
			request: withContentType("application/vnd.kubernetes.protobuf"), status: http.StatusUnsupportedMediaType,
			body: text(`content type is "application/vnd.kubernetes.protobuf", want application/json`),
		},
		"content type that only begins like JSON": {
			request: withContentType("application/json-patch+json"), status: http.StatusUnsupportedMediaType,
			body: text(`content type is "application/json-patch+json", want application/json`),
		},
		"content type of JSON with a parameter that is none": {
			request: withContentType("application/json; charset"), status: http.StatusUnsupportedMediaType,
			body: text(`content type is "application/json; charset", want application/json`),
		},
		"empty body": {
			request: newRequest(nil), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: the body is empty"),
		},
		"empty body of unknown length": {
			request: withBody(iotest.OneByteReader(strings.NewReader(""))), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: the body is empty"),
		},
		"body of 8 MiB": {
			request: newRequest(bytes.Repeat([]byte(" "), 8<<20)), status: http.StatusRequestEntityTooLarge,
			body: tooLarge,
		},
		"body of 8 MiB, which is announced and not read": {
			request: announced(8<<20, withBody(iotest.ErrReader(errors.New("read")))), status: http.StatusRequestEntityTooLarge,
			body: tooLarge,
		},
		"body of 8 MiB, length not announced": {
			request: withBody(iotest.HalfReader(bytes.NewReader(bytes.Repeat([]byte(" "), 8<<20)))), status: http.StatusRequestEntityTooLarge,
			body: tooLarge,
		},
		"body one byte above the limit": {
			request: withBody(iotest.HalfReader(bytes.NewReader(append(capturedReview(t), bytes.Repeat([]byte(" "), 7<<20-len(capturedReview(t))+1)...)))),
			status:  http.StatusRequestEntityTooLarge,
			body:    tooLarge,
		},
		"body that ends in an error": {
			request: withBody(io.MultiReader(bytes.NewReader(capturedReview(t)[:100]), iotest.ErrReader(errors.New("connection reset")))),
			status:  http.StatusBadRequest,
			body:    text("read body: connection reset"),
		},
		"body that begins with an error": {
			request: withBody(iotest.ErrReader(errors.New("connection reset"))), status: http.StatusBadRequest,
			body: text("read body: connection reset"),
		},
		"large body that ends in an error where it is not held any more": {
			request: withBody(io.MultiReader(spaces(3<<20), iotest.ErrReader(errors.New("connection reset")))), status: http.StatusBadRequest,
			body: text("read body: connection reset"),
		},
		"small body that does not arrive in time": {
			request: withBody(io.MultiReader(spaces(100), iotest.ErrReader(os.ErrDeadlineExceeded))), status: http.StatusBadRequest,
			body: text("read body: i/o timeout"),
		},
		"body that holds no memory of others and does not arrive in time": {
			request: withBody(io.MultiReader(spaces(15<<10), iotest.ErrReader(os.ErrDeadlineExceeded))), status: http.StatusBadRequest,
			body: text("read body: i/o timeout"),
		},
		"not JSON": {
			request: newRequest([]byte("hello")), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: invalid JSON at byte 0"),
		},
		"truncated before the UID": {
			request: newRequest(capturedUpTo(t, capturedUID)), status: http.StatusBadRequest,
			body: text(`not an AdmissionReview: JSON that ends too early, at byte 79`),
		},
		"array": {
			request: newRequest([]byte("[]")), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: a list at byte 0, where an object belongs"),
		},
		"review and something behind it": {
			request: newRequest(append(capturedReview(t), " {}"...)), status: http.StatusBadRequest,
			body: text(fmt.Sprintf("not an AdmissionReview: invalid JSON at byte %d", len(bytes.TrimSpace(capturedReview(t)))+1)),
		},
		"null": {
			request: newRequest([]byte("null")), status: http.StatusBadRequest,
			body: text(`not an AdmissionReview: kind is "", want AdmissionReview`),
		},
		"pod instead of a review": {
			request: newRequest([]byte(`{"kind":"Pod","apiVersion":"v1"}`)), status: http.StatusBadRequest,
			body: text(`not an AdmissionReview: kind is "Pod", want AdmissionReview`),
		},
		"review of an unknown version": {
			request: newRequest(edited(t, "admission.k8s.io/v1", "admission.k8s.io/v2")), status: http.StatusBadRequest,
			body: text(`not an AdmissionReview: apiVersion is "admission.k8s.io/v2", want admission.k8s.io/v1 or admission.k8s.io/v1beta1`),
		},
		"review without a UID": {
			request: newRequest(edited(t, capturedUID, "")), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: request.uid is empty"),
		},
		"review with a UID that is none": {
			request: newRequest(edited(t, capturedUID, strings.Repeat("u", 254))), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: request.uid has more than 253 bytes"),
		},
		"review of a kind without an end": {
			request: newRequest(edited(t, `"AdmissionReview"`, `"`+strings.Repeat("k", 1000)+`"`)), status: http.StatusBadRequest,
			body: text(`not an AdmissionReview: kind is "` + strings.Repeat("k", 40) + `", want AdmissionReview`),
		},
		"review without a request": {
			request: newRequest([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}`)), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: request.uid is empty"),
		},
		"panic before the UID": {
			request: withBody(io.MultiReader(bytes.NewReader(bytes.Repeat([]byte(" "), 3<<20)), nil)), status: http.StatusBadRequest,
			body: text("internal error"), stage: "panic request",
		},
		"no memory left to read it": {
			noMemory: true, request: withTimeout("10ms", bytes.Repeat([]byte(" "), 64<<10)), status: http.StatusServiceUnavailable,
			body: text("too many large reviews at once"), header: and("Retry-After", "1"), stage: "busy",
		},
		"no memory left to decode it": {
			noMemory: true, request: withTimeout("10ms", bytes.Repeat([]byte("{},"), 4000)), status: http.StatusServiceUnavailable,
			body: text("too many large reviews at once"), header: and("Retry-After", "1"), stage: "busy",
		},
		"no memory left to decode it beside what it was read into": {
			noMemory: true, request: withTimeout("10ms", listed(2000)), status: http.StatusServiceUnavailable,
			body: text("too many large reviews at once"), header: and("Retry-After", "1"), stage: "busy",
		},
		"a little less, for which none is needed": {
			noMemory: true, request: withTimeout("10ms", listed(1900)), status: http.StatusBadRequest,
			body: text("not an AdmissionReview: invalid JSON at byte 2"),
		},
		"large body that does not arrive by the deadline": {
			request: withBody(io.MultiReader(bytes.NewReader(bytes.Repeat([]byte(" "), 20<<10)), iotest.ErrReader(os.ErrDeadlineExceeded))),
			status:  http.StatusServiceUnavailable, body: text("too many large reviews at once: the body has not arrived by the review's deadline"),
			header: and("Retry-After", "1"), stage: "busy",
		},
		"large body of which the end does not arrive by the deadline": {
			request: withBody(io.MultiReader(spaces(3<<20), iotest.ErrReader(os.ErrDeadlineExceeded))),
			status:  http.StatusServiceUnavailable, body: text("too many large reviews at once: the body has not arrived by the review's deadline"),
			header: and("Retry-After", "1"), stage: "busy",
		},
		"no policy, because its file is broken": {
			noPolicy: true, request: newRequest(capturedReview(t)), status: http.StatusServiceUnavailable,
			body: text("policy_invalid: no policy is in force, because its file is broken"), header: and("Retry-After", "1"), stage: "policy_invalid",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, header, stage := policyDeny, plain, "request" // Deny is about pods, not about what is no review
			if test.noPolicy {
				document = ""
			}
			if test.header != nil {
				header = test.header
			}
			if test.stage != "" {
				stage = test.stage
			}
			s := newServer(t, document)
			if test.noMemory {
				admission.TakeAllMemory(s.Handler)
			}
			recorder := s.serve(test.request)
			if got := recorder.Body.String(); recorder.Code != test.status || got != test.body {
				t.Errorf("got %d %q, want %d %q", recorder.Code, got, test.status, test.body)
			}
			if diff := cmp.Diff(header, recorder.Header()); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			counts := map[string]int{}
			for of := range strings.FieldsSeq(stage) {
				counts["errors_total{"+of+"}"] = 1
			}
			if diff := cmp.Diff(counts, s.counts(t)); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

// TestContentTypeWithParameter accepts what HTTP allows.
func TestContentTypeWithParameter(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	for _, contentType := range []string{"application/json; charset=utf-8", "Application/JSON"} {
		req := newRequest(capturedReview(t))
		req.Header.Set("Content-Type", contentType)
		recorder := s.serve(req)
		if recorder.Code != http.StatusOK || !decodeReview(t, recorder.Body.Bytes()).Response.Allowed {
			t.Errorf("%s: got %d %s", contentType, recorder.Code, recorder.Body)
		}
		if req.Header != nil || req.URL.RawQuery != "" {
			t.Error("what anybody may have made long is held while the body is waited for")
		}
	}
}

// TestBodyAtTheLimit accepts the largest body; such a pod is too large to
// patch.
func TestBodyAtTheLimit(t *testing.T) {
	t.Parallel()
	for _, body := range [][]byte{
		append(capturedReview(t), bytes.Repeat([]byte(" "), 7<<20-len(capturedReview(t)))...),
		edited(t, `"prometheus.io/port":"8080"`, `"prometheus.io/port":"`+strings.Repeat("8", 3<<20)+`"`), // of which the end is not held
	} {
		recorder := newServer(t, policyNodeLocal).post(body)
		if recorder.Code != http.StatusOK {
			t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
		}
		want := allowed(both("skip object_size"))
		if diff := cmp.Diff(want, decodeReview(t, recorder.Body.Bytes()).Response); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
	}
}

// endless has one space after the other, and counts them.
type endless int

func (e *endless) Read(p []byte) (int, error) {
	*e += endless(len(p))
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

// TestABodyWithoutAnEnd is read until it is known to be too large.
func TestABodyWithoutAnEnd(t *testing.T) {
	t.Parallel()
	var read endless
	req := newRequest(nil)
	req.ContentLength, req.Body = -1, io.NopCloser(&read)
	if recorder := newServer(t, policyNodeLocal).serve(req); recorder.Code != http.StatusRequestEntityTooLarge || read != 7<<20+1 {
		t.Errorf("status %d after %d bytes, want %d after %d", recorder.Code, read, http.StatusRequestEntityTooLarge, 7<<20+1)
	}
}

// TestTheOldPodIsNotTheObjectsSize gives ephemeral containers the service host
// in pods whose review has the pod twice: of the pod as it will be and as it
// was, the limit is for the one.
func TestTheOldPodIsNotTheObjectsSize(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]string{
		600 << 10:  "inject enabled_by_policy",
		1000 << 10: "inject enabled_by_policy",
		1050 << 10: "skip object_size",
	} {
		padding := `"metadata":{"annotations":{"padding":"` + strings.Repeat("p", size) + `"}}`
		body := edited(t,
			`"resource":{"group":"","version":"v1","resource":"pods"}`, `"resource":{"group":"","version":"v1","resource":"pods"},"subResource":"ephemeralcontainers"`,
			`"operation":"CREATE"`, `"operation":"UPDATE"`,
			`"restartPolicy":"Always"`, `"restartPolicy":"Always","ephemeralContainers":[{"name":"debug"}],"unknown":"`+strings.Repeat("p", size)+`"`,
			`"oldObject":null`, `"oldObject":{`+padding+`,"spec":{}}`)
		recorder := newServer(t, policyNodeLocal).post(body)
		if got := decodeReview(t, recorder.Body.Bytes()).Response.AuditAnnotations["service_host"]; got != want {
			t.Errorf("a pod of %d bytes: %s, want %s", size, got, want)
		}
	}
}

// TestAnnouncedLengthIsNotBelieved wants a client to send what it makes the
// server allocate. It is not parallel: it measures the process.
func TestAnnouncedLengthIsNotBelieved(t *testing.T) {
	s := newServer(t, policyNodeLocal)
	req := newRequest(nil)
	req.ContentLength = 7 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	recorder := s.serve(req)
	runtime.ReadMemStats(&after)
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("status %d", recorder.Code)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
		t.Errorf("allocated %d bytes for a body that never came", allocated)
	}
}

// TestTruncatedAnywhere cuts the review after every byte: without the UID it
// is refused, from there on it is answered, and always the pod passes.
func TestTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	review := capturedReview(t)
	afterUID := bytes.Index(review, []byte(capturedUID)) + len(capturedUID) + len(`"`)
	want := allowed(map[string]string{"error": "object"}, "shorthop: the pod cannot be decoded, so the pod is left as it is")
	for n := 1; n < len(review); n++ {
		recorder := s.post(review[:n])
		if n < afterUID {
			if recorder.Code != http.StatusBadRequest {
				t.Errorf("after %d bytes: status %d", n, recorder.Code)
			}
			continue
		}
		if recorder.Code != http.StatusOK {
			t.Errorf("after %d bytes: status %d: %s", n, recorder.Code, recorder.Body)
			continue
		}
		if diff := cmp.Diff(want, decodeReview(t, recorder.Body.Bytes()).Response); diff != "" {
			t.Errorf("after %d bytes (-want +got):\n%s", n, diff)
		}
	}
}
