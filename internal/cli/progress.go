package cli

import (
	"sync"
	"time"
)

// slow is how long a command works in silence.
const slow = 2 * time.Second

// progress tells what a command is at, once it takes long: a line for each
// step, from the one at which it got long, and now and then one that says how
// far it is.
type progress struct {
	streams *Streams
	timer   *time.Timer

	mu   sync.Mutex
	what string // empty before and after
	long bool
	told time.Time // when far said something, or the beginning
}

func newProgress(s *Streams) *progress {
	p := &progress{streams: s, told: time.Now()}
	p.timer = time.AfterFunc(slow, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.what != "" {
			p.long = true
			p.say()
		}
	})
	return p
}

// now begins a step.
func (p *progress) now(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	if p.long {
		p.say()
	}
}

// far says how far the command is, unless it did so less than two seconds ago.
func (p *progress) far(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.told) >= slow {
		p.told = time.Now()
		p.streams.remark(format, args...)
	}
}

func (p *progress) say() { p.streams.remark("looking at %s", p.what) }

func (p *progress) stop() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = ""
}
