package app

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// maxPendingLog is how much of the log may wait for its reader, in bytes:
	// some thousand lines.
	maxPendingLog = 1 << 20
	// flushTimeout bounds how long the end of the program waits for the reader.
	flushTimeout = time.Second
)

// logWriter hands lines on to a writer that may be slow, stand still or fail:
// a pipe that nobody reads, a disk that is full. What logs never waits for it,
// or reviews and the end of the program would; lines that do not fit are lost
// and counted.
type logWriter struct {
	out  io.Writer
	lost func(lines int)

	mu      sync.Mutex
	pending []byte
	ending  bool
	// wake has an entry while there is something to write, or the end is near.
	wake  chan struct{}
	ended chan struct{}
}

// newLogWriter returns a writer to out. lost is told of lines that do not
// reach it, and must be safe for concurrent use.
func newLogWriter(out io.Writer, lost func(lines int)) *logWriter {
	w := &logWriter{out: out, lost: lost, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go w.run()
	return w
}

// Write takes whole lines. It does not block and returns no error.
func (w *logWriter) Write(lines []byte) (int, error) {
	w.mu.Lock()
	fits := !w.ending && len(w.pending)+len(lines) <= maxPendingLog
	if fits {
		w.pending = append(w.pending, lines...)
	}
	w.mu.Unlock()
	if !fits {
		w.lost(countLines(lines))
		return len(lines), nil
	}
	w.notify()
	return len(lines), nil
}

func (w *logWriter) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // it has an entry
	}
}

// run writes what is pending until close.
func (w *logWriter) run() {
	defer close(w.ended)
	var spare []byte
	for range w.wake {
		w.mu.Lock()
		lines, ending := w.pending, w.ending
		w.pending = spare[:0]
		w.mu.Unlock()
		if len(lines) > 0 {
			// What was written of it may end within a line, which then counts.
			if n, err := w.out.Write(lines); err != nil {
				w.lost(countLines(lines[n:]))
			}
		}
		if ending {
			return
		}
		spare = lines
	}
}

// close waits for what is pending to be written, for flushTimeout at most.
// Lines that come later are lost.
func (w *logWriter) close() {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	w.notify()
	select {
	case <-w.ended:
	case <-time.After(flushTimeout):
	}
}

func countLines(lines []byte) int { return bytes.Count(lines, []byte("\n")) }
