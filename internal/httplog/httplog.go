// Package httplog limits what clients can make net/http write to the log.
package httplog

import (
	"bytes"
	"log"
	"regexp"

	"go.uber.org/zap"

	"github.com/shorthop/shorthop/internal/loglimit"
)

// quoted is how many bytes of a line of net/http are logged, so that our whole line
// has less than 300.
const quoted = 160

// New returns a logger for http.Server.ErrorLog, to which net/http reports failed
// handshakes, broken HTTP/2 and panics. Nearly all of these lines are caused by a
// client, and repeat what it has sent, so their number and their length are limited.
func New(to *zap.Logger) *log.Logger {
	return log.New(&writer{log: to.Named("http"), lines: loglimit.New(), stacks: loglimit.NewWith(1.0/60, 1)}, "", 0)
}

// writer is a writer of whole lines.
type writer struct {
	log           *zap.Logger
	lines, stacks *loglimit.Limiter
}

// panicking matches the beginning of a line of net/http that has a stack. Stacks are
// long, so one is logged once a minute at most.
var panicking = regexp.MustCompile(`^http2?: panic serving`)

func (w *writer) Write(line []byte) (int, error) {
	leftOut, ok := w.lines.Allow()
	if !ok {
		return len(line), nil
	}
	text, stack := bytes.TrimSpace(line), []byte(nil)
	if panicking.Match(text) {
		text, stack, _ = bytes.Cut(text, []byte("\n"))
	}
	var fields []zap.Field
	if leftOut > 0 {
		fields = append(fields, zap.Int64("leftOut", leftOut))
	}
	if len(stack) > 0 {
		if _, ok := w.stacks.Allow(); ok {
			fields = append(fields, zap.ByteString("stack", stack))
		}
	}
	w.log.Info(loglimit.Quote(string(text), quoted), fields...)
	return len(line), nil
}
