package admission

import (
	"context"
	"sync"
	"testing"
	"time"
)

// claimed is a request that wants memory. A claim that cannot be granted at once is given up where wait is false.
func claimed(t *testing.T, from *budget, n int64, large, wait bool) (g *grant, granted bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !wait {
		cancel()
	}
	g = &grant{from: from}
	granted = g.take(ctx, claim{n: n, large: large})
	return g, granted
}

// full is a budget of which large bodies have all that there is for them, the lane included, and who holds the lane.
func full(t *testing.T) (b *budget, most, lane *grant) {
	t.Helper()
	b = newBudget()
	most, granted := claimed(t, b, b.left-smallBudget, true, false)
	lane, alone := claimed(t, b, 1<<20, true, false)
	if !granted || !alone {
		t.Fatal("not granted at once")
	}
	return b, most, lane
}

// waitFor has a body wait, and returns once it does.
func waitFor(t *testing.T, b *budget, waiting *sync.WaitGroup, n int64, large bool) {
	t.Helper()
	b.mu.Lock()
	before := len(b.waiting)
	b.mu.Unlock()
	waiting.Go(func() {
		g, granted := claimed(t, b, n, large, true)
		if !granted {
			t.Error("never granted")
		}
		g.release()
	})
	for {
		b.mu.Lock()
		now := len(b.waiting)
		b.mu.Unlock()
		if now > before {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLargeBodiesLeaveASmallPart(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	if _, granted := claimed(t, b, 1, true, false); granted {
		t.Error("a large body gets what is for small ones")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if !lane.take(ended, claim{n: 1 << 30, large: true}) {
		t.Error("who has the lane does not get what it needs")
	}
	if _, granted := claimed(t, b, smallBudget, false, false); !granted {
		t.Error("a small body does not get what is for small ones")
	}
	var waiting sync.WaitGroup
	waitFor(t, b, &waiting, 1, true)
	most.release() // and somebody else has the lane
	waiting.Wait()
}

func TestLargeBodiesAreServedInTheirOrder(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	var waiting sync.WaitGroup
	waitFor(t, b, &waiting, most.held+1, true)              // more than there is without the lane
	waitFor(t, b, &waiting, most.held+2*smallBudget, false) // the same of a small one
	waitFor(t, b, &waiting, 1, true)
	most.release() // room for the last, and not for those before
	b.mu.Lock()
	if n := len(b.waiting); n != 3 {
		t.Errorf("%d wait, want all: the first comes first", n)
	}
	b.mu.Unlock()
	if small, granted := claimed(t, b, 1, false, false); !granted {
		t.Error("a small body waits behind large ones")
	} else {
		small.release()
	}
	if _, granted := claimed(t, b, 1, true, false); granted {
		t.Error("one that comes later is served before those who wait")
	}
	lane.release()
	waiting.Wait()
	most.release() // has nothing any more
	if want := newBudget().left; b.left != want || b.lane != nil {
		t.Errorf("%d bytes are left, want %d", b.left, want)
	}
}

func TestSmallBodiesThatWaitDoNotWaitForLargeOnes(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	var waiting sync.WaitGroup
	waitFor(t, b, &waiting, most.held+1, true) // more than there is without the lane
	waitFor(t, b, &waiting, 1, true)           // behind that one
	waitFor(t, b, &waiting, smallBudget+1, false)
	most.release()
	b.mu.Lock()
	if len(b.waiting) != 2 || !b.waiting[0].large || !b.waiting[1].large {
		t.Errorf("%d wait, want the large ones", len(b.waiting))
	}
	b.mu.Unlock()
	lane.release()
	waiting.Wait()
}

// asked is a context that has ended, and knows whether anybody waited for that.
type asked struct {
	context.Context
	from   *budget
	was    bool
	unread int // in the budget, while it waits
}

func (a *asked) Done() <-chan struct{} {
	a.from.mu.Lock()
	defer a.from.mu.Unlock()
	a.was, a.unread = true, a.from.unread
	return a.Context.Done()
}

func TestFewWaitForTheRestOfTheirBodies(t *testing.T) {
	t.Parallel()
	b, _, _ := full(t)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		others        int
		unread, waits bool
		counted       int
	}{{MaxUnread - 1, true, true, MaxUnread}, {MaxUnread, true, false, 0}, {MaxUnread, false, true, MaxUnread}} {
		b.unread = c.others
		ctx := &asked{Context: ended, from: b}
		if (&grant{from: b}).take(ctx, claim{n: 1, large: true, unread: c.unread}) || ctx.was != c.waits || ctx.unread != c.counted || b.unread != c.others {
			t.Errorf("beside %d others: waits %t, want %t; %d are counted, and %d afterwards", c.others, ctx.was, c.waits, ctx.unread, b.unread)
		}
	}
}

func TestNotTooManyWait(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	var waiting sync.WaitGroup
	for range maxWaiting {
		waitFor(t, b, &waiting, 1, true)
	}
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		if _, granted := claimed(t, b, 1, true, true); granted {
			t.Error("one more is granted")
		}
	}()
	for done := false; !done; {
		select {
		case <-refused:
			done = true
		case <-time.After(time.Millisecond):
		}
		b.mu.Lock()
		if n := len(b.waiting); n != maxWaiting {
			t.Errorf("%d wait, want %d", n, maxWaiting)
			done = true
		}
		b.mu.Unlock()
	}
	lane.release()
	most.release()
	waiting.Wait()
}

// lastMoment is a context that ends at the moment at which something else happens.
type lastMoment struct {
	context.Context
	happens func()
}

func (l lastMoment) Done() <-chan struct{} {
	l.happens()
	return l.Context.Done()
}

// What is granted while the time runs out is granted, whichever of the two is seen first.
func TestGrantedAtTheLastMoment(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	for range 30 {
		b, most, _ := full(t)
		late := &grant{from: b}
		if !late.take(lastMoment{ended, most.release}, claim{n: 1, large: true, unread: true}) || late.held != 1 || len(b.waiting) != 0 || b.unread != 0 {
			t.Fatalf("not granted: %d held, %d wait, %d of them unread", late.held, len(b.waiting), b.unread)
		}
	}
}

// Of a body whose rest is only skipped, nothing is held that the budget does not know.
func TestABodyThatIsFreeHoldsNothing(t *testing.T) {
	t.Parallel()
	b := newBodies(newBudget()).get()
	b.grow(maxHeld)
	if b.free(); b.data != nil {
		t.Errorf("%d bytes are held", cap(b.data))
	}
}
