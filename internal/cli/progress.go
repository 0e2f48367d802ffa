package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// slow is how long a command works in silence.
const slow = 2 * time.Second

// progress tells what a command is at, once it takes long: a line for each
// step, from the one at which it got long.
type progress struct {
	out   io.Writer
	timer *time.Timer

	mu   sync.Mutex
	what string // empty before and after
	long bool
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
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

func (p *progress) now(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	if p.long {
		p.say()
	}
}

func (p *progress) say() { fmt.Fprintf(p.out, "%s: looking at %s\n", programName, p.what) }

func (p *progress) stop() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = ""
}
