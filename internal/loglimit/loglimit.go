// Package loglimit bounds how many lines of the log others can cause.
package loglimit

import (
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Lines that somebody else causes: as many at once, and as many a second from
// then on. A person who looks for the reason of a failure needs a few of them;
// how many there were is a metric.
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

// NewWith returns a Limiter with another limit.
func NewWith(perSecond rate.Limit, burst int) *Limiter {
	return &Limiter{lines: rate.NewLimiter(perSecond, burst)}
}

// Allow reports whether a line may be written. leftOut is how many were not
// since the last one that was, and belongs in this one.
func (l *Limiter) Allow() (leftOut int64, ok bool) {
	if !l.lines.Allow() {
		l.leftOut.Add(1)
		return 0, false
	}
	return l.leftOut.Swap(0), true
}

// With appends to the fields of a line how many were left out before it, where
// that is any.
func With(fields []any, leftOut int64) []any {
	if leftOut == 0 {
		return fields
	}
	return append(fields, "leftOut", leftOut)
}
