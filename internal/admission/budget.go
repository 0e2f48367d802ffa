package admission

import (
	"context"
	"slices"
	"sync"
)

// All requests that are being read or decided share one budget of memory:
//
//	what a request costs                      comes from
//	the first freeBody bytes of its body      nothing: an ordinary review is never refused
//	twice the room for more of its body,      the budget, as it arrives
//	once for it and once for what the
//	garbage collector leaves meanwhile
//	decoding it, as estimated (decode.go)     the budget, if that and the above are more than freeReview
//
// and of the budget
//
//	this part             is for
//	laneBudget            one request at a time, whatever it needs until it ends: so one of those
//	                      that hold a part always gets the rest, and they cannot block each other
//	smallBudget           bodies of largeBody at most
//	the rest              all
//
// What is not there is waited for until the review's deadline, by maxWaiting
// requests at most, as those that wait hold something, too, and by MaxUnread of
// those whose body is not read to its end: others are refused at once. A request
// that holds a part has to arrive within that time as well.
const (
	budgetSize  = 32 << 20
	laneBudget  = 2*(maxHeld+readRoom) + maxDecoding // the most that one request may cost
	smallBudget = 4 << 20
	freeBody    = 16 << 10
	freeReview  = 256 << 10
	largeBody   = 256 << 10
	maxWaiting  = 64
)

// MaxUnread is how many requests wait for memory at most while a part of their body
// is unread. HTTP/2 has one window for the bodies of a connection: a server must
// give it room for so many unread bodies and more, or those that wait fill it, and
// those they wait for cannot arrive (internal/reviewserver, unreadBody).
const MaxUnread = 4

// budget is shared by all requests of a Handler. The zero value has nothing to
// give.
type budget struct {
	mu      sync.Mutex
	left    int64  // of the part that is not the lane
	lane    *grant // the request that has the lane
	waiting []*claim
	unread  int // of waiting
}

func newBudget() *budget { return &budget{left: budgetSize - laneBudget} }

// grant is what one request holds. It is not for concurrent use, and must be
// released.
type grant struct {
	from *budget
	// held is what the request holds besides the lane. It is guarded by the budget's mu.
	held int64
}

// claim is a request that waits.
type claim struct {
	grant *grant
	n     int64
	// large is a body above largeBody, unread one of which a part is still to be read.
	large, unread bool
	// granted is closed once it has got what it waits for.
	granted chan struct{}
}

// take gets what c claims, or waits for it until ctx ends. It reports whether it
// has got it.
func (g *grant) take(ctx context.Context, c claim) bool {
	b := g.from
	c.grant = g
	b.mu.Lock()
	if b.grant(&c, !c.large || len(b.waiting) == 0) {
		b.mu.Unlock()
		return true
	}
	if len(b.waiting) >= maxWaiting || c.unread && b.unread >= MaxUnread {
		b.mu.Unlock()
		return false
	}
	c.granted = make(chan struct{})
	b.waiting = append(b.waiting, &c)
	b.count(&c, 1)
	b.mu.Unlock()
	select {
	case <-c.granted:
		return true
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiting, &c)
	if at < 0 {
		return true // it was granted at the last moment
	}
	b.waiting = slices.Delete(b.waiting, at, at+1)
	b.count(&c, -1)
	return false
}

// count counts a claim that waits from now on, or no longer. b.mu is held.
func (b *budget) count(c *claim, n int) {
	if c.unread {
		b.unread += n
	}
}

// grant gives a claim what it asks for, if that is there. turn says that nobody
// waits who comes first. b.mu is held.
func (b *budget) grant(c *claim, turn bool) bool {
	spare := b.left
	if c.large {
		spare -= smallBudget
	}
	switch {
	case b.lane == c.grant:
	case turn && c.n <= spare:
		b.left -= c.n
		c.grant.held += c.n
	case b.lane == nil:
		b.lane = c.grant
	default:
		return false
	}
	return true
}

// release gives back everything.
func (g *grant) release() {
	b := g.from
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.held == 0 && b.lane != g {
		return
	}
	b.left += g.held
	g.held = 0
	if b.lane == g {
		b.lane = nil
	}
	// In the order in which they came; small ones have a part of their own, and do
	// not wait for large ones in front of them.
	blocked := false
	b.waiting = slices.DeleteFunc(b.waiting, func(c *claim) bool {
		if !b.grant(c, !c.large || !blocked) {
			blocked = blocked || c.large
			return false
		}
		b.count(c, -1)
		close(c.granted)
		return true
	})
}
