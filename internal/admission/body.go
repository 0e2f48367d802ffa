package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// maxBody is above what the API server can send: an object of 3 MiB, twice
	// for an update, and the rest of the review.
	maxBody = 7 << 20
	// maxHeld is how much of a body is held. A pod above 1 MiB is never patched
	// (pkg/policy, object_size), and a review of an ephemeral container has it
	// twice: of what is longer, only what comes before the pod is decoded.
	maxHeld = 2<<20 + 256<<10
	// firstBuffer is what every body begins with, whatever length is announced:
	// what is above has to arrive before it takes memory. Most reviews are smaller.
	firstBuffer = 8 << 10
	// manyRequests is how many may hold a first buffer before their body begins.
	manyRequests = 256
	// readRoom is kept free behind what is announced, to see that it ends there.
	readRoom = 512
	// keepLarge is how many buffers above freeBody are kept for the next review,
	// of keepBuffer each at most.
	keepLarge  = 8
	keepBuffer = largeBody + readRoom
	// readTimeout bounds how long a client may take to send its body.
	readTimeout = 10 * time.Second
)

var (
	errBodyTooLarge = fmt.Errorf("body is larger than %d bytes", maxBody)
	errBusy         = errors.New("too many large reviews at once")
	errLate         = fmt.Errorf("%w: the body has not arrived by the review's deadline", errBusy)
)

// body is what has arrived of a request's body. It is kept for another request
// afterwards, as long as the garbage collector lets it.
type body struct {
	data []byte
	// size is how much has arrived. It is more than data where the body is cut: the
	// rest was not held.
	size  int
	cut   bool
	grant grant
	// patch is what the answer's patch is written into; it is none of the body.
	patch []byte
	// small is what data begins with, and large keeps what it grows to.
	small []byte
	large chan []byte
}

// bodies makes and keeps them.
type bodies struct {
	pool  sync.Pool
	large chan []byte
}

func newBodies(from *budget) *bodies {
	large := make(chan []byte, keepLarge)
	return &bodies{large: large, pool: sync.Pool{New: func() any {
		return &body{grant: grant{from: from}, small: make([]byte, 0, firstBuffer), large: large}
	}}}
}

func (p *bodies) get() *body {
	b := p.pool.Get().(*body)
	b.data, b.size, b.cut = b.small[:0], 0, false
	return b
}

// put takes back a body that nobody uses any more.
func (p *bodies) put(b *body) {
	b.free()
	p.pool.Put(b)
}

// free gives back what the body holds: data must not be used any more.
func (b *body) free() {
	if cap(b.data) <= freeBody && cap(b.data) > cap(b.small) {
		b.small = b.data[:0]
	}
	b.drop(b.data)
	b.data = nil
	b.grant.release()
}

// drop keeps a large buffer for another body.
func (b *body) drop(data []byte) {
	if cap(data) <= freeBody || cap(data) > keepBuffer {
		return
	}
	select {
	case b.large <- data[:0]:
	default: // there are enough
	}
}

// grow makes room for so many bytes.
func (b *body) grow(room int) {
	if cap(b.data) >= room {
		return
	}
	var grown []byte
	if room > freeBody {
		select {
		case grown = <-b.large:
		default:
		}
	}
	if cap(grown) < room {
		grown = make([]byte, 0, room)
	}
	grown = append(grown[:0], b.data...)
	b.drop(b.data)
	b.data = grown
}

// checkRequest says what is wrong with a request before its body, with the HTTP
// status to answer with. Where many are under way it waits for the body to begin.
func checkRequest(w http.ResponseWriter, req *http.Request, many bool) (status int, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, fmt.Errorf("method is %.20s, want POST", req.Method)
	}
	if contentType := req.Header.Get("Content-Type"); contentType != "application/json" { // as API servers write it
		if parsed, _, err := mime.ParseMediaType(contentType); err != nil || parsed != "application/json" {
			return http.StatusUnsupportedMediaType, fmt.Errorf("content type is %+.40q, want application/json", contentType)
		}
	}
	if req.ContentLength > maxBody {
		return http.StatusRequestEntityTooLarge, errBodyTooLarge
	}
	dropHeaders(req)
	// Not every writer has deadlines; those of the server do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	if !many {
		return http.StatusOK, nil
	}
	// In HTTP/2 a read of nothing returns once there is something: thousands of
	// streams without a body need no buffers. Elsewhere it may return at once. It
	// costs some microseconds, as the connection is told of every read.
	if _, err := req.Body.Read(nil); err != nil && !errors.Is(err, io.EOF) {
		return http.StatusBadRequest, fmt.Errorf("read body: %w", err)
	}
	return http.StatusOK, nil
}

// readBody reads the body of a request that has been checked. On an error it
// returns the HTTP status to answer with.
func readBody(w http.ResponseWriter, req *http.Request, deadline time.Time, b *body) (status int, err error) {
	room := cap(b.data)
	for {
		if len(b.data) == room {
			if room > maxHeld {
				b.cut = true // see skipRest
				return http.StatusOK, nil
			}
			more := nextRoom(room, req.ContentLength)
			if more > freeBody {
				if room <= freeBody { // others may wait for what this one holds from now on
					_ = http.NewResponseController(w).SetReadDeadline(deadline)
				}
				if !b.take(req.Context(), deadline, 2*int64(more-room), max(int64(more), req.ContentLength) > largeBody) {
					return http.StatusServiceUnavailable, errBusy
				}
			}
			room = more
			b.grow(room)
		}
		n, err := req.Body.Read(b.data[len(b.data):room])
		b.data = b.data[:len(b.data)+n]
		b.size = len(b.data)
		switch {
		case errors.Is(err, io.EOF) && len(b.data) == 0:
			return http.StatusBadRequest, fmt.Errorf("%w: the body is empty", errNotReview)
		case errors.Is(err, io.EOF):
			return http.StatusOK, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && room > freeBody:
			return http.StatusServiceUnavailable, errLate
		case err != nil:
			return http.StatusBadRequest, fmt.Errorf("read body: %w", err)
		}
	}
}

// dropHeaders lets go of what nobody looks at any more and anybody may have made
// long, before the body is waited for.
func dropHeaders(req *http.Request) {
	req.Header = nil
	req.URL.RawQuery, req.RequestURI = "", ""
}

// nextRoom is how large a buffer is after one that is full: twice as large, but
// not above what is announced (-1: nothing is) and what is held.
func nextRoom(room int, announced int64) int {
	next := 2 * room
	if announced >= int64(room) {
		next = min(next, int(announced)+readRoom)
	}
	return min(next, maxHeld+readRoom)
}

// take gets memory for the rest of a body from the budget, before the deadline and
// while its client is there.
func (b *body) take(ctx context.Context, deadline time.Time, n int64, large bool) bool {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return b.grant.take(ctx, claim{n: n, large: large, unread: true})
}

// skipRest reads the part of a body that is not held.
func skipRest(req *http.Request, b *body) (status int, err error) {
	n, err := io.Copy(io.Discard, io.LimitReader(req.Body, maxBody+1-int64(b.size)))
	b.size += int(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusServiceUnavailable, errLate
	case err != nil:
		return http.StatusBadRequest, fmt.Errorf("read body: %w", err)
	case b.size > maxBody:
		return http.StatusRequestEntityTooLarge, errBodyTooLarge
	}
	return http.StatusOK, nil
}
