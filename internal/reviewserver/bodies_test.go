package reviewserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/webhookconfig"
)

// Bodies that wait for memory must leave room in the window of their connection:
// with two of each, all of them stood still.
func TestWindowHasRoomForAllThatWait(t *testing.T) {
	t.Parallel()
	if unreadBody < (admission.MaxUnread+2)*unreadStream {
		t.Errorf("%d unread bodies of %d bytes leave too little of %d bytes", admission.MaxUnread, unreadStream, unreadBody)
	}
}

// TestLargeBodiesOnOneConnection has large bodies on the one connection of an API
// server. Small reviews on it are all answered with a patch, and so few large ones
// that they may all wait are not refused for lack of memory.
func TestLargeBodiesOnOneConnection(t *testing.T) {
	t.Parallel()
	for _, large := range []int{4, 12} {
		t.Run(fmt.Sprintf("%d large bodies", large), func(t *testing.T) {
			t.Parallel()
			address, roots := startReviews(t)
			client := oneConnection(t, roots)
			body := strings.Repeat("[", 6<<20)
			var senders sync.WaitGroup
			var mu sync.Mutex
			answers := map[int]int{}
			for range large {
				senders.Go(func() {
					status, _ := post(t, client, address, body)
					mu.Lock()
					defer mu.Unlock()
					answers[status]++
				})
			}
			ended := make(chan struct{})
			go func() { senders.Wait(); close(ended) }()
			for small, attacked := 0, true; attacked || small < 50; small++ {
				if status, answer := post(t, client, address, review); status != http.StatusOK || !strings.Contains(answer, `"patch"`) {
					t.Errorf("a small review beside them: %d %s", status, answer)
				}
				select {
				case <-ended:
					attacked = false
				default:
				}
			}
			t.Logf("answers by status: %v", answers)
			if answers[http.StatusBadRequest]+answers[http.StatusServiceUnavailable] != large ||
				large <= admission.MaxUnread && answers[http.StatusServiceUnavailable] > 0 || answers[http.StatusBadRequest] == 0 {
				t.Errorf("answers by status: %v", answers)
			}
		})
	}
}

// oneConnection is a client that has one connection, as an API server has.
func oneConnection(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func post(t *testing.T, client *http.Client, address, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "https://"+address+webhookconfig.Path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(content)
}
