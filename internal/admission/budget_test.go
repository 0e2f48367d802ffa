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

// waitFor has a large body wait, and returns once it does.
func waitFor(t *testing.T, b *budget, waiting *sync.WaitGroup, n int64) {
	t.Helper()
	b.mu.Lock()
	before := len(b.waiting)
	b.mu.Unlock()
	waiting.Go(func() {
		g, granted := claimed(t, b, n, true, true)
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
	b, _, _ := full(t)
	if _, granted := claimed(t, b, 1, true, false); granted {
		t.Error("a large body gets what is for small ones")
	}
	if _, granted := claimed(t, b, smallBudget, false, false); !granted {
		t.Error("a small body does not get what is for small ones")
	}
}

func TestLargeBodiesAreServedInTheirOrder(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	var waiting sync.WaitGroup
	waitFor(t, b, &waiting, most.held+1) // more than there is without the lane
	waitFor(t, b, &waiting, 1)
	most.release() // room for the second, and not for the first
	b.mu.Lock()
	if n := len(b.waiting); n != 2 {
		t.Errorf("%d wait, want both: the first comes first", n)
	}
	b.mu.Unlock()
	if _, granted := claimed(t, b, 1, true, false); granted {
		t.Error("one that comes later is served before those who wait")
	}
	lane.release()
	waiting.Wait()
}

func TestNotTooManyWait(t *testing.T) {
	t.Parallel()
	b, most, lane := full(t)
	var waiting sync.WaitGroup
	for range maxWaiting {
		waitFor(t, b, &waiting, 1)
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
