package faults_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

const (
	// attackLimit is what the server may have in memory while it is attacked, in MiB: three quarters of
	// containerLimit, which is the chart's default. A flood of connections may take all of that.
	attackLimit    = 96
	containerLimit = 128
	// longestLine is how long a line of the log may be that a stranger causes, in bytes.
	longestLine = 300
)

// attack runs one on a server of its own. Beside it, reviews of others are answered, each over a connection that stays
// and over new ones. Afterwards the log has short lines only.
func attack(t *testing.T, limit float64, run func(s *server)) {
	t.Helper()
	t.Setenv("GOMEMLIMIT", fmt.Sprintf("%dMiB", containerLimit))
	s := running(t, simple, "")
	steady := s.client()
	s.mustReview(steady, 50, "default", 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(s)
	}()
	var most float64
	var slowest time.Duration
	reviews, watched := 0, make(chan struct{})
	go func() {
		defer close(watched)
		for {
			anonymous, _ := s.memory()
			most = max(most, anonymous)
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	started := time.Now()
	for attacked := true; attacked; reviews += 2 {
		began := time.Now()
		s.mustReview(steady, 1, "default", 2)
		fresh := s.client()
		s.mustReview(fresh, 1, "default", 2)
		slowest = max(slowest, time.Since(began))
		fresh.CloseIdleConnections()
		select {
		case <-ended:
			attacked = false
		default:
		}
	}
	<-watched
	t.Logf("%.1f s; %d reviews beside it, all answered, the slowest after %s; %.1f MiB of memory at most; %.0f errors counted",
		time.Since(started).Seconds(), reviews, slowest.Round(time.Millisecond), most, s.metric("shorthop_errors_total"))
	if most > limit {
		t.Errorf("%.1f MiB of memory, want %.0f at most", most, limit)
	}
	lines := 0
	for line := range strings.Lines(s.Logs()) {
		lines++
		if len(line) > longestLine && !strings.Contains(line, s.certDir) { // folders of tests are long
			t.Errorf("a line of %d bytes: %.400s", len(line), line)
		}
	}
	if lines > 200 {
		t.Errorf("%d lines of log", lines)
	}
	s.ready()
	clustertest.Eventually(t, "nothing is left of it", func() bool {
		return s.metric("shorthop_reviews_in_flight") == 0 && s.metric("go_goroutines") < 200
	})
}

// send sends that many bodies at once, over some connections, and counts the answers by status; 0 stands for none.
func (s *server) send(n, connections int, body func(i int) io.Reader) map[int]int {
	clients := make([]*http.Client, connections)
	for i := range clients {
		clients[i] = s.client()
	}
	var mu sync.Mutex
	var senders sync.WaitGroup
	answers := map[int]int{}
	for i := range n {
		senders.Go(func() {
			status := 0
			if request, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.URL, body(i)); err == nil {
				request.Header.Set("Content-Type", "application/json")
				if response, err := clients[i%connections].Do(request); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					status = response.StatusCode
				}
			}
			mu.Lock()
			defer mu.Unlock()
			answers[status]++
		})
	}
	senders.Wait()
	for _, client := range clients {
		client.CloseIdleConnections()
	}
	return answers
}

// inPod is a review whose pod has a field more.
func inPod(field string) string {
	return strings.Replace(reviewOf("1", "default"), `"spec":{`, `"spec":{`+field+`,`, 1)
}

// fill repeats a part of a pod until the review has that many bytes.
func fill(size int, before, part, after string) string {
	pod := inPod(before + after)
	return strings.Replace(pod, before+after, before+strings.Repeat(part, max(0, size-len(pod))/len(part))+after, 1)
}

// TestHostileReviews has what no API server sends, a thousand at once.
func TestHostileReviews(t *testing.T) {
	const env = `"initContainers":[{"name":"a","env":[{}`
	strings300 := []string{
		strings.Replace(reviewOf("1", "default"), `"default"`, `"../../../openapi/v2"`, 1),
		strings.Replace(reviewOf("1", "default"), `"default"`, `"\u0000\u001b[2J`+strings.Repeat("n", 200)+`"`, 1),
		strings.Replace(reviewOf("1", "default"), `"uid":"1"`, `"uid":"`+strings.Repeat(`\u001b`, 100)+`"`, 1),
		strings.Replace(reviewOf("1", "default"), `"object":{`, `"object":7,"was":{`, 1),
		strings.Replace(reviewOf("1", "default"), `"object":{`, `"object":null,"was":{`, 1),
		`{"kind":"` + strings.Repeat(`\u202e`, 50) + `"}`,
		strings.Repeat("[", 300),
		"no JSON" + strings.Repeat("\x00\x1b\"\\", 70),
	}
	huge := fill(7<<20-100, env, `,{}`, `]}]`)
	for _, test := range []struct {
		name        string
		connections int
		body        func(i int) io.Reader
		limit       float64 // attackLimit where it is 0
	}{
		{"of 300 bytes", 20, func(i int) io.Reader { return strings.NewReader(strings300[i%len(strings300)]) }, 0},
		{"of 300 bytes, each over a connection of its own", *hostile, func(i int) io.Reader { return strings.NewReader(strings300[i%len(strings300)]) }, 0},
		{"of 7 MiB", 20, func(int) io.Reader { return strings.NewReader(huge) }, 0},
		{"of 7 MiB, each over a connection of its own", *hostile, func(int) io.Reader { return strings.NewReader(huge) }, containerLimit},
		{"of 7 MiB, over 200 connections", 200, func(int) io.Reader { return strings.NewReader(huge) }, 0},
		{"of 7 MiB, length not announced", 20, func(int) io.Reader { return io.MultiReader(strings.NewReader(huge)) }, 0},
		{"of 2 MiB", 20, each(fill(2<<20, env, `,{}`, `]}]`)), 0},
		{"of 250 KiB", 20, each(fill(250<<10, env, `,{}`, `]}]`)), 0},
		{"of 16 KiB, each over a connection of its own", *hostile, each(fill(16<<10, env, `,{}`, `]}]`)), 0},
		{"with 200 KiB of labels", 20, each(strings.Replace(reviewOf("1", "default"), `"metadata":{`, `"metadata":{"labels":{`+labels(20_000)+`},`, 1)), 0},
		{"with 200 KiB of owners", 20, each(strings.Replace(reviewOf("1", "default"), `"metadata":{`, `"metadata":{"ownerReferences":[{}`+strings.Repeat(`,{}`, 70_000)+`],`, 1)), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			attack(t, cmp.Or(test.limit, attackLimit), func(s *server) {
				answers := s.send(*hostile, test.connections, test.body)
				t.Logf("answers by status: %v", answers)
				if unanswered := answers[0]; unanswered > *hostile/10 {
					t.Errorf("%d of %d are not answered", unanswered, *hostile)
				}
			})
		})
	}
}

func each(body string) func(int) io.Reader {
	return func(int) io.Reader { return strings.NewReader(body) }
}

func labels(n int) string {
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, `,"%d":""`, i)
	}
	return text.String()[1:]
}

// TestHalfOfABody has many who send a part of a large body and wait.
func TestHalfOfABody(t *testing.T) {
	for _, half := range []int{15 << 10, 250 << 10, 2 << 20} {
		t.Run(fmt.Sprintf("%d KiB", half>>10), func(t *testing.T) {
			attack(t, attackLimit, func(s *server) {
				ctx, cancel := context.WithTimeout(s.Context(), 4*time.Second)
				defer cancel()
				t.Logf("answers by status: %v", s.send(*hostile, 40, func(int) io.Reader {
					return io.MultiReader(strings.NewReader(strings.Repeat(" ", half)), &waiting{ctx})
				}))
			})
		})
	}
}

// waiting is a body of which nothing comes.
type waiting struct{ ctx context.Context }

func (w *waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, io.EOF
}

// TestHugeHeaders sends headers of 1 MiB on as many streams as are allowed, and headers just below the limit on streams
// that then wait for their bodies.
func TestHugeHeaders(t *testing.T) {
	const streams = 100
	for _, test := range []struct {
		name                           string
		connections, fields, fieldSize int
	}{
		{"1 MiB", 10, 128, 8 << 10},
		{"7 KiB, and no body", 40, 2, 3500},
		{"14 KiB, and no body", 40, 4, 3500},
		{"the necessary ones, and no body", 60, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			attack(t, attackLimit, func(s *server) {
				s.each(test.connections, func() error { return s.headers(streams, test.fields, test.fieldSize, false, 3*time.Second) })
			})
		})
	}
}

// TestStreamsThatAreReset opens streams and takes them back at once, on each connection until the server ends it.
func TestStreamsThatAreReset(t *testing.T) {
	const connections, streams = 40, 2000
	attack(t, attackLimit, func(s *server) {
		s.each(connections, func() error { return s.headers(streams, 1, 1000, true, time.Second) })
	})
}

// headers opens streams on one connection, with so many headers of that size each, resets them where that is asked for,
// and waits. The server may end the connection.
func (s *server) headers(streams, fields, size int, reset bool, wait time.Duration) error {
	stranger, err := s.stranger()
	if err != nil {
		return err
	}
	defer stranger.Close()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for stream := range streams {
		block.Reset()
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "webhook"}, {":path", "/mutate-v1-pod"}, {"content-type", "application/json"},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to a buffer
		}
		for part := range fields {
			_ = encoder.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-%d", part), Value: strings.Repeat("\xff", size), Sensitive: true})
		}
		rest, id := block.Bytes(), uint32(2*stream+1)
		for first := true; len(rest) > 0; first = false {
			part := rest[:min(len(rest), 16<<10)]
			rest = rest[len(part):]
			if first {
				err = stranger.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndHeaders: len(rest) == 0})
			} else {
				err = stranger.framer.WriteContinuation(id, len(rest) == 0, part)
			}
			if err != nil {
				return nil // the server has ended the connection
			}
		}
		if reset && stranger.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return nil
		}
	}
	select {
	case err := <-stranger.ended:
		if err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			return err
		}
	case <-time.After(wait):
	}
	return nil
}
