package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pacer starts work at a steady rate, by the clock: what was late is made up for, and its latency counts from when it was
// due (an open loop). So a server that stalls is not spared the load.
type pacer struct {
	rate   int
	slots  chan struct{} // has one element for each work under way
	pauses atomic.Int64
}

// newPacer returns a pacer for that much per second, of which no more than most is under way.
func newPacer(rate, most int) *pacer { return &pacer{rate: rate, slots: make(chan struct{}, most)} }

// run returns after ctx has ended and the work under way with it.
func (p *pacer) run(ctx context.Context, work func(n int, due time.Time)) {
	var underWay sync.WaitGroup
	defer underWay.Wait()
	began, first, pauses := time.Now(), 0, p.pauses.Load()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n-first) * time.Second / time.Duration(p.rate))
		if sleep(ctx, time.Until(due)) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case p.slots <- struct{}{}:
		}
		// What would have been due during a pause is left out.
		if now := p.pauses.Load(); now != pauses {
			began, first, pauses = time.Now(), n, now
			due = began
		}
		underWay.Go(func() {
			defer func() { <-p.slots }()
			work(n, due)
		})
	}
}

// pause lets the work under way finish and starts none until resume.
func (p *pacer) pause() {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	p.pauses.Add(1)
}

func (p *pacer) resume() {
	for range cap(p.slots) {
		<-p.slots
	}
}
