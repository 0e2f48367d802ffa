package admission_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/internal/admission"
)

// stillSending is a ResponseWriter of HTTP/2 whose client is gone: the write has
// failed, and a part of the answer may be sent later all the same.
type stillSending struct {
	http.ResponseWriter
	answer []byte
}

func (s *stillSending) Write(p []byte) (int, error) {
	s.answer = p
	return 0, errors.New("stream closed")
}

func TestABufferThatMayStillBeSentIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	for range 10 {
		w := &stillSending{ResponseWriter: httptest.NewRecorder()}
		s.ServeHTTP(w, newRequest(capturedReview(t)))
		before := bytes.Clone(w.answer)
		s.post(edited(t, capturedUID, "another-review"))
		if len(before) == 0 || !bytes.Equal(before, w.answer) {
			t.Fatalf("another review has written over an answer:\nbefore %.200s\nafter  %.200s", before, w.answer)
		}
	}
}

func TestFewLargeBuffersAreKept(t *testing.T) {
	t.Parallel()
	const large, tooLarge = 200 << 10, 1 << 20
	if kept := admission.KeptAfter(slices.Repeat([]int{large}, 50)...); len(kept) != 8 {
		t.Errorf("%d buffers are kept, want 8", len(kept))
	}
	if kept := admission.KeptAfter(1<<10, tooLarge, 10<<10); len(kept) != 0 {
		t.Errorf("buffers of %d bytes are kept", kept)
	}
}
