package cabundle

import (
	"bytes"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// quiet is how long a bundle must have stayed right before a contest is over.
// It is more than the time between two looks of what heals from outside: Flux
// looks every ten minutes by default.
const quiet = 15 * time.Minute

// contest is with somebody else who writes the caBundle too, as a left-over
// inject-ca-from or GitOps that heals. Two that write at once when the other
// has would write a hundred times a second.
//
//	the bundle                               is written
//	lacks a CA that was never there          at once
//	is no more what it was, once             at once
//	again, before it was right for quiet     after 1 s, 2 s, 4 s ... 1 min, each
//	                                         up to half as much longer
//
// The zero value is one that has not begun.
type contest struct {
	// right: the bundle was right when it was last looked at, or written.
	right bool
	// undone counts how often that has changed since the contest began.
	undone int
	// last is when it changed last.
	last time.Time
	// next is when it may be written again.
	next    time.Time
	backoff wait.Backoff
}

// observe learns whether the bundle is right, and returns whether somebody has
// undone what was.
func (c *contest) observe(right bool, now time.Time) (undone bool) {
	undone = c.right && !right
	c.right = right
	switch {
	case undone && c.undone == 0:
		c.undone, c.last, c.next = 1, now, now
		c.backoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.5, Steps: 10, Cap: time.Minute}
	case undone:
		c.undone, c.last = c.undone+1, now
		c.next = now.Add(c.backoff.Step())
	case right && now.Sub(c.last) >= quiet: // of one that has not begun, nothing changes
		*c = contest{right: true}
	}
	return undone
}

// going reports whether somebody has undone it more than once: a change that
// an upgrade makes happens once.
func (c *contest) going() bool { return c.undone > 1 }

// Writer is somebody who has written the caBundle of a webhook configuration,
// as far as the API server still knows.
type Writer struct {
	// Manager is what they call themselves: any text of up to 128 bytes.
	Manager string
	// Ours: it is what the server's own injector calls itself.
	Ours bool
	// At is when they have written last; zero where that is not known.
	At time.Time
}

// Writers returns who owns a caBundle, the latest first.
func Writers(managed []metav1.ManagedFieldsEntry) []Writer {
	var writers []Writer
	for i := range managed {
		m := &managed[i]
		if !bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:caBundle"`)) {
			continue
		}
		w := Writer{Manager: m.Manager, Ours: m.Manager == fieldManager}
		if m.Time != nil {
			w.At = m.Time.Time
		}
		writers = append(writers, w)
	}
	slices.SortStableFunc(writers, func(a, b Writer) int {
		if order := b.At.Compare(a.At); order != 0 {
			return order
		}
		return strings.Compare(a.Manager, b.Manager)
	})
	return writers
}

// rival names who else has written it last, "" where nobody is known.
func rival(managed []metav1.ManagedFieldsEntry) string {
	for _, w := range Writers(managed) {
		if !w.Ours {
			return w.Manager
		}
	}
	return ""
}
