package reviewserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// TestCrowd has connections that open as many requests as HTTP/2 lets them. What they may have shrinks with what all
// have; what they already have goes on.
func TestCrowd(t *testing.T) {
	t.Parallel()
	refused, release := 0, make(chan struct{})
	began := make(chan struct{})
	s := New(Options{Log: zap.NewNop(), Refused: func() { refused++ }})
	s.Register("/held", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-release
	}))
	// ask sends requests over one connection until one is refused, and returns how many are not.
	ask := func(ctx context.Context) (held int) {
		for ; held < maxStreams; held++ {
			w, before := httptest.NewRecorder(), refused
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/held", http.NoBody))
			}()
			select {
			case <-began:
				continue
			case <-done:
			}
			if refused != before+1 || w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Body.Len() > 0 {
				t.Errorf("%d refused, answer %d %v %q", refused-before, w.Code, w.Header(), w.Body)
			}
			break
		}
		return held
	}
	connections := make([]context.Context, 200)
	var got []int
	for i := range connections {
		connections[i] = connected(t.Context(), nil)
		got = append(got, ask(connections[i]))
	}
	all := 0
	for i, held := range got {
		// The request of which another connection would have had one too many is counted as well while it is refused.
		want := maxStreams
		switch {
		case all >= 2*manyRequests:
			want = 1
		case all+fewStreams > 2*manyRequests:
			want = held // it got there on the way
		case all >= manyRequests:
			want = fewStreams
		case all+maxStreams > manyRequests:
			want = manyRequests - all
		}
		if held != want {
			t.Errorf("connection %d has %d where all have %d, want %d", i, held, all, want)
		}
		all += held
	}
	if all <= 2*manyRequests {
		t.Errorf("only %d requests are held", all)
	}
	if held := ask(connections[0]); held != 0 {
		t.Errorf("the first connection gets %d more", held)
	}
	close(release)
	clustertest.Eventually(t, "none is under way any more", func() bool { return s.crowd.all.Load() == 0 })
	before := refused
	go func() { <-began }()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(connections[0], http.MethodPost, "/held", http.NoBody))
	if refused != before {
		t.Error("it is still refused")
	}
}
