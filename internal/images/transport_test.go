package images

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestARegistryThatFallsSilent holds back the answer, and its second half.
func TestARegistryThatFallsSilent(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			w.Header().Set("Content-Length", "8")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	}))
	t.Cleanup(func() { close(release); server.Close() })
	transport := newTransport()
	transport.stall = 50 * time.Millisecond
	client := http.Client{Transport: transport}
	for _, path := range []string{"/nothing", "/half"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if _, silent := errors.AsType[silence](err); !silent {
			t.Errorf("%s: %v, want silence", path, err)
		}
	}
}
