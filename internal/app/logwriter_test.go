package app

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink is where a log is written to. It may block until it is released.
type sink struct {
	bytes.Buffer
	blocked chan struct{}
	err     error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.blocked != nil {
		<-s.blocked
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.Buffer.Write(p)
}

const logLine = "a line that is fifty bytes long, with its newline\n"

func TestLogWriter(t *testing.T) {
	t.Parallel()
	const fit = maxPendingLog / len(logLine)
	for name, test := range map[string]struct {
		out     sink
		lines   int
		release bool // the sink, before the end
		written int
		lost    int64
		waits   time.Duration // at the end
	}{
		"lines arrive": {lines: 10, written: 10},
		"more lines than fit arrive if it is read": {lines: 3 * fit, written: 3 * fit},
		"the disk is full":                         {out: sink{err: errors.New("no space left on device")}, lines: 10, lost: 10},
		// One line is on its way, the others wait.
		"nobody reads":             {out: sink{blocked: make(chan struct{})}, lines: 1 + fit + 7, lost: 7, waits: flushTimeout},
		"nobody reads for a while": {out: sink{blocked: make(chan struct{})}, lines: 1 + fit + 7, release: true, written: 1 + fit, lost: 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if test.out.blocked != nil {
					test.out.blocked = make(chan struct{}) // of this bubble
				}
				var lost atomic.Int64
				w := newLogWriter(&test.out, func(lines int) { lost.Add(int64(lines)) })
				var want strings.Builder
				for i := range test.lines {
					line := fmt.Sprintf("%06d%s", i, logLine[6:])
					if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
						t.Fatalf("Write returns %d, %v", n, err)
					}
					if i < test.written {
						want.WriteString(line)
					}
					if i == 0 || test.out.blocked == nil {
						synctest.Wait()
					}
				}
				if test.release {
					close(test.out.blocked)
				}
				started := time.Now()
				w.close()
				if waited := time.Since(started); waited != test.waits {
					t.Errorf("the end waits for %s, want %s", waited, test.waits)
				}
				if got := lost.Load(); got != test.lost {
					t.Errorf("%d lines are lost, want %d", got, test.lost)
				}
				if !test.release && test.out.blocked != nil {
					close(test.out.blocked) // too late
					synctest.Wait()
					return
				}
				if got := test.out.String(); got != want.String() {
					t.Errorf("%d bytes are written, want %d", len(got), want.Len())
				}
			})
		})
	}
}
