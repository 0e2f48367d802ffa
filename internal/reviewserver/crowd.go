package reviewserver

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
)

// A request takes 10 KiB here before anything has come of its body, and up to 60 KiB while
// its answer is not read, for seconds. One that opens ten thousand of them pays next to
// nothing. So what one connection may have depends on what all of them have:
//
//	requests under way      of one connection
//	up to manyRequests      maxStreams
//	up to twice that        fewStreams
//	above                   one
//
// What is above gets 503 at once, without a body: that needs no room at the client. An API
// server has 200 changes under way by default (--max-mutating-requests-inflight). Where
// strangers crowd the server it still has some on each of its connections, and over HTTP/1.1,
// as it calls Services, it never has more than one.
const (
	manyRequests = 1024
	fewStreams   = 8
	// manyGoroutines is from when on an answer over HTTP/2 counts as under way until it is
	// sent. net/http sends it behind the handler's back, from the goroutine of the handler.
	// To see that done costs a frame more, so it is left out in quiet times.
	manyGoroutines = 1024
)

// crowd counts the requests under way.
type crowd struct{ all atomic.Int64 }

// ofConnection is the key of a connection's own count in the contexts of its requests.
type ofConnection struct{}

// connected is http.Server.ConnContext.
func connected(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, ofConnection{}, new(atomic.Int64))
}

// enter counts a request. It reports whether it may go on, and returns what to call at its
// end in either case.
func (c *crowd) enter(ctx context.Context) (leave func(), ok bool) {
	own, known := ctx.Value(ofConnection{}).(*atomic.Int64)
	if !known { // the handler is not behind our server
		return func() {}, true
	}
	all, mine := c.all.Add(1), own.Add(1)
	return func() {
		c.all.Add(-1)
		own.Add(-1)
	}, mine <= mayHave(all)
}

// mayHave is how many requests a connection may have where all have that many.
func mayHave(all int64) int64 {
	switch {
	case all <= manyRequests:
		return maxStreams
	case all <= 2*manyRequests:
		return fewStreams
	default:
		return 1
	}
}

// sent waits until an answer over HTTP/2 is sent where there is a crowd, in which many
// clients may not read theirs.
func sent(w http.ResponseWriter, req *http.Request) {
	if req.ProtoMajor >= 2 && runtime.NumGoroutine() > manyGoroutines {
		_ = http.NewResponseController(w).Flush() // the client may have left
	}
}
