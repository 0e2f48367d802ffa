package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// chartLimit is the chart's memory limit of a replica, in MiB.
const chartLimit = 128

// head begins a request over HTTP/1.1, and announces more than will come.
const head = "POST /mutate-v1-pod HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"

// TestReviewsGoOnWhileClientsAreSlow has connections of all kinds on which nothing, or next to nothing, comes. The
// server closes all of them.
func TestReviewsGoOnWhileClientsAreSlow(t *testing.T) {
	t.Parallel()
	s := running(t, simple, "")
	ctx, cancel := context.WithCancel(t.Context())
	var conns []net.Conn
	var tricklers sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		for _, conn := range conns {
			conn.Close()
		}
		tricklers.Wait()
	})
	trickle := func(conn net.Conn, text string) {
		tricklers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-time.After(200 * time.Millisecond):
				}
				if _, err := io.WriteString(conn, text[i%len(text):][:1]); err != nil {
					return
				}
			}
		})
	}
	for range 100 {
		idle, silent, slowHead, slowBody := s.dial(), s.dialTLS(), s.dialTLS(), s.dialTLS()
		conns = append(conns, idle, silent, slowHead, slowBody)
		if _, err := io.WriteString(slowHead, "POST /mutate-v1-pod HTTP/1.1\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		trickle(slowHead, "x")
		if _, err := io.WriteString(slowBody, head); err != nil {
			t.Fatal(err)
		}
		trickle(slowBody, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","padding":"`)
	}
	// The same over HTTP/2, whose streams share a connection.
	slow := s.client()
	uploads := make(chan error, 100)
	for range cap(uploads) {
		rest, upload := io.Pipe()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, rest)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		go func() {
			response, err := slow.Do(request)
			if err == nil {
				response.Body.Close()
				if response.StatusCode != http.StatusBadRequest {
					err = fmt.Errorf("status %d", response.StatusCode)
				}
			}
			upload.Close()
			uploads <- err
		}()
		go func() {
			for ctx.Err() == nil {
				if _, err := io.WriteString(upload, " "); err != nil {
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
		}()
	}

	reviews := 0
	review := func() {
		client := s.client()
		s.mustReview(client, 2, "default", 2)
		client.CloseIdleConnections()
		reviews += 2
	}
	for range 50 {
		review()
	}
	anonymous, _ := s.memory()
	closed := make(chan error, len(conns))
	for _, conn := range conns {
		go func() {
			if err := conn.SetReadDeadline(time.Now().Add(hang)); err != nil {
				closed <- err
				return
			}
			_, err := io.Copy(io.Discard, conn) // until the server closes it
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				closed <- err
				return
			}
			closed <- nil
		}()
	}
	for range conns {
		if err := <-closed; err != nil {
			t.Errorf("a slow connection stays open: %v", err)
		}
		if reviews < 500 {
			review()
		}
	}
	for range cap(uploads) {
		if err := <-uploads; err != nil {
			t.Errorf("a slow upload over HTTP/2 is not refused: %v", err)
		}
	}
	review()
	t.Logf("%d reviews beside %d slow connections and %d slow streams, none lost; %.1f MiB of memory", reviews, len(conns), cap(uploads), anonymous)
}

func TestAThousandConnectionsAtOnce(t *testing.T) {
	const connections, each = 1000, 3
	s := running(t, simple, "")
	clients := make([]*http.Client, connections)
	var connected, done sync.WaitGroup
	connected.Add(connections)
	errs := make(chan error, connections)
	review := func(client *http.Client) error {
		if ndots, _, err := s.ndots(client, "default"); err != nil || ndots != 2 {
			return fmt.Errorf("ndots %d: %w", ndots, err)
		}
		return nil
	}
	for i := range clients {
		clients[i] = s.client()
		done.Go(func() {
			err := review(clients[i])
			connected.Done()
			connected.Wait() // every connection is open now, and stays open
			for range each - 1 {
				err = errors.Join(err, review(clients[i]))
			}
			if err != nil {
				errs <- err
			}
		})
	}
	done.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	anonymous, _ := s.memory()
	t.Logf("%d reviews over %d connections (%.0f file descriptors), none lost; %.1f MiB of memory",
		connections*each, connections, s.metric("process_open_fds"), anonymous)
	if fds := s.metric("process_open_fds"); fds < connections {
		t.Errorf("the server has %.0f file descriptors, so these were not %d connections at once", fds, connections)
	}
	if anonymous > chartLimit {
		t.Errorf("%.1f MiB of memory", anonymous)
	}
	for _, client := range clients {
		client.CloseIdleConnections()
	}
	clustertest.Eventually(t, "all connections are gone", func() bool { return s.metric("process_open_fds") < 100 })
	s.mustReview(s.client(), 10, "default", 2)
}

// TestBodiesThatAreTooMuch has what no API server sends, and what is at the edge of it.
func TestBodiesThatAreTooMuch(t *testing.T) {
	t.Parallel()
	s := running(t, simple, "")
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	objects := func(depth int) string { return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) }
	inSpec := func(value string) string {
		return strings.Replace(reviewOf("1", "default"), `"spec":{`, `"spec":{"unknown":`+value+`,`, 1)
	}
	const unreadable = "the pod cannot be decoded"
	for name, test := range map[string]struct {
		body string
		// status is that of a refusal; the others are of a review that is answered.
		status, ndots   int
		warning, reason string
	}{
		"10 MB of white space":                    {body: reviewOf("1", "default") + strings.Repeat(" ", 10<<20), status: http.StatusRequestEntityTooLarge},
		"10 MB of brackets":                       {body: strings.Repeat("[", 10<<20), status: http.StatusRequestEntityTooLarge},
		"6 MB of brackets":                        {body: strings.Repeat("[", 6<<20), status: http.StatusBadRequest},
		"6 MB of brackets in a pod":               {body: inSpec(strings.Repeat("[", 6<<20)), warning: unreadable},
		"lists 9,000 deep in an unknown field":    {body: inSpec(nested(9_000)), ndots: 2},
		"objects 9,000 deep in an unknown field":  {body: inSpec(objects(9_000)), ndots: 2},
		"lists 20,000 deep in an unknown field":   {body: inSpec(nested(20_000)), warning: unreadable},
		"objects 20,000 deep in an unknown field": {body: inSpec(objects(20_000)), warning: unreadable},
		"lists 20,000 deep before the request":    {body: `{"unknown":` + nested(20_000) + `,` + reviewOf("1", "default")[1:], status: http.StatusBadRequest},
		"20,000 containers": {
			body:   strings.Replace(reviewOf("1", "default"), `"containers":[`, `"containers":[`+strings.Repeat(`{"name":"more","image":"more"},`, 20_000), 1),
			reason: "object_size", // to which nothing may be added
		},
		"a number of a million digits": {body: inSpec(strings.Repeat("1", 1_000_000)), ndots: 2},
		"a million empty environments": {body: inSpec("[" + strings.Repeat(`{},`, 1_000_000) + "{}]"), reason: "object_size"},
	} {
		t.Run(name, func(t *testing.T) {
			client := s.client()
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() {
					answer, err := s.post(t.Context(), client, test.body)
					refusal := new(statusError)
					// A slow machine does not get through all four in time. The API server sends such a review again.
					for tries := 0; tries < 10 && errors.As(err, &refusal) && refusal.status == http.StatusServiceUnavailable; tries++ {
						answer, err = s.post(t.Context(), client, test.body)
					}
					if test.status != 0 {
						if !errors.As(err, &refusal) || refusal.status != test.status {
							t.Errorf("got %v, want status %d", err, test.status)
						}
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if got := ndotsIn(answer.Patch); got != test.ndots || !strings.Contains(strings.Join(answer.Warnings, "\n"), test.warning) ||
						!strings.Contains(answer.AuditAnnotations["dns"], test.reason) {
						t.Errorf("answer %+v, want ndots %d, a warning with %q, reason %q", answer, test.ndots, test.warning, test.reason)
					}
				})
			}
			senders.Wait()
		})
	}
	s.mustReview(s.client(), 10, "default", 2)
	anonymous, peak := s.memory()
	t.Logf("%.1f MiB of memory afterwards, %.1f MiB at the peak with the program", anonymous, peak)
}

// TestABodyThatIsOnlyAnnouncedTakesNoMemory has many clients that announce as much as is taken, and send next to nothing.
func TestABodyThatIsOnlyAnnouncedTakesNoMemory(t *testing.T) {
	t.Parallel()
	const connections, announced = 300, 7 << 20
	s := running(t, simple, "")
	client := s.client()
	s.mustReview(client, 100, "default", 2)
	before, _ := s.memory()
	for range connections {
		conn := s.dialTLS()
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, strings.Replace(head, "100000", strconv.Itoa(announced), 1)+" "); err != nil {
			t.Fatal(err)
		}
	}
	clustertest.Eventually(t, "all requests are being read", func() bool { return s.metric("shorthop_reviews_in_flight") >= connections })
	s.mustReview(client, 2000, "default", 2)
	anonymous, _ := s.memory()
	t.Logf("%.1f MiB of memory before, %.1f MiB with %d connections that have announced %d MiB; heap in use %.1f MiB", before, anonymous, connections, connections*announced>>20, s.metric("go_memstats_heap_inuse_bytes")/(1<<20))
	if anonymous > chartLimit*3/4 {
		t.Errorf("%.1f MiB of memory", anonymous)
	}
}

// TestAReviewEvery50Microseconds asks for 20,000 reviews a second, with the timeout of the chart. What is not answered in
// time fails open at the API server; every answer that comes must be right.
func TestAReviewEvery50Microseconds(t *testing.T) {
	const interval, timeout = 50 * time.Microsecond, 2 * time.Second
	s := running(t, simple, "")
	clients := make([]*http.Client, 8)
	for i := range clients {
		clients[i] = s.client()
		s.mustReview(clients[i], 1, "default", 2)
	}
	var answered, late, postponed, wrong atomic.Int64
	var mostMemory float64
	inFlight := make(chan struct{}, 2000) // what the one who asks can bear
	var running sync.WaitGroup
	asked, started := int64(0), time.Now()
	for time.Since(started) < *overload {
		for due := int64(time.Since(started) / interval); asked < due; asked++ {
			select {
			case inFlight <- struct{}{}:
			default:
				postponed.Add(1)
				continue
			}
			n := asked
			running.Go(func() {
				defer func() { <-inFlight }()
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				uid := strconv.FormatInt(n, 10)
				answer, err := s.post(ctx, clients[n%int64(len(clients))], reviewOf(uid, "default"))
				switch {
				case ctx.Err() != nil:
					late.Add(1)
				case err != nil:
					wrong.Add(1)
					t.Errorf("review %d: %v", n, err)
				case string(answer.UID) != uid || ndotsIn(answer.Patch) != 2 || !bytes.HasPrefix(answer.Patch, []byte("[")):
					wrong.Add(1)
					t.Errorf("review %d: answer %s to %s", n, answer.Patch, answer.UID)
				default:
					answered.Add(1)
				}
			})
		}
		anonymous, _ := s.memory()
		mostMemory = max(mostMemory, anonymous)
		time.Sleep(time.Millisecond)
	}
	running.Wait()
	t.Logf("asked for %d reviews, sent %d, %d answered (all as expected), %d not within %s, %d wrong; %.1f MiB of memory at most",
		asked, asked-postponed.Load(), answered.Load(), late.Load(), timeout, wrong.Load(), mostMemory)
	if answered.Load() == 0 {
		t.Error("nothing is answered")
	}
	if mostMemory > chartLimit {
		t.Errorf("%.1f MiB of memory", mostMemory)
	}
	s.ready()
	s.mustReview(s.client(), 100, "default", 2)
	clustertest.Eventually(t, "nothing is left of it", func() bool {
		return s.metric("shorthop_reviews_in_flight") == 0 && s.metric("go_goroutines") < 200
	})
}
