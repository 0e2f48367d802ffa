// Package loglimit limits how many log lines, and of which length, others can cause.
package loglimit

import (
	"sync/atomic"

	"golang.org/x/time/rate"
)

// The limits of New: burst lines at once, then perSecond lines a second. A person who
// looks for the reason of a failure needs only a few lines; how often it happened is
// in the metrics.
const (
	burst     = 20
	perSecond = 2
)

// Limiter limits one kind of line. It is safe for concurrent use.
type Limiter struct {
	lines   *rate.Limiter
	leftOut atomic.Int64
}

// New returns a Limiter that allows twenty lines at once, and two a second from
// then on.
func New() *Limiter { return NewWith(perSecond, burst) }

// NewWith returns a Limiter that allows burst lines at once, and perSecond a second
// from then on.
func NewWith(perSecond rate.Limit, burst int) *Limiter {
	return &Limiter{lines: rate.NewLimiter(perSecond, burst)}
}

// Allow reports whether a line may be written. Where it may, leftOut is how many
// lines were not allowed since the last one that was; the caller adds that number to
// the line (With).
func (l *Limiter) Allow() (leftOut int64, ok bool) {
	if !l.lines.Allow() {
		l.leftOut.Add(1)
		return 0, false
	}
	return l.leftOut.Swap(0), true
}

// With appends the number of lines left out before a line to the fields of that
// line, unless it is 0.
func With(fields []any, leftOut int64) []any {
	if leftOut == 0 {
		return fields
	}
	return append(fields, "leftOut", leftOut)
}
