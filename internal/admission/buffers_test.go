package admission_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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
	// And what it took of the budget is given back.
	large := edited(t, `"prometheus.io/port":"8080"`, `"prometheus.io/port":"`+strings.Repeat("8", 1<<20)+`"`)
	for range 10 {
		s.ServeHTTP(&stillSending{ResponseWriter: httptest.NewRecorder()}, newRequest(large))
	}
	if recorder := s.post(large); recorder.Code != http.StatusOK {
		t.Errorf("after answers that were not sent: status %d, %s", recorder.Code, recorder.Body)
	}
}

func TestFewLargeBuffersAreKept(t *testing.T) {
	t.Parallel()
	const large, tooLarge = 200 << 10, 1 << 20
	for _, test := range []struct {
		sizes []int
		want  int
	}{{slices.Repeat([]int{large}, 50), 8}, {[]int{1 << 10, tooLarge, 10 << 10}, 0}} {
		kept, first := admission.KeptAfter(test.sizes...)
		if len(kept) != test.want || first > admission.FreeBody { // what is kept for others must not be kept for one as well
			t.Errorf("buffers of %d bytes are kept, want %d; bodies begin with %d", kept, test.want, first)
		}
	}
}

func TestTheRoomOfALargePatchIsNotKept(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	s.post(edited(t, `"containers":[`, `"containers":[`+strings.Repeat(`{"name":"more"},`, 1000)))
	if kept := admission.KeptForPatches(s.Handler); kept > admission.FreeBody {
		t.Errorf("%d bytes are kept", kept)
	}
}
