package reviewserver

import (
	"math"
	"net"
	"runtime/debug"
	"sync/atomic"
	"testing"
)

// memory is what a process has: so many bytes, which shrink to nothing at a look.
type memory struct {
	bytes  uint64
	looks  atomic.Int64
	shrink int64
}

func (m *memory) used() uint64 {
	if m.looks.Add(1) == m.shrink {
		return 0
	}
	return m.bytes
}

// TestBrake reads from one connection. A look is taken after every brakeLook, and after
// every step of a pause.
func TestBrake(t *testing.T) {
	t.Parallel()
	const pause = int64(brakePause / brakeStep)
	for _, test := range []struct {
		name    string
		memory  *memory
		arrives int
		// looks is how many are taken: all that arrives in one read is one share.
		atLeast, atMost int64
		// on says how the brake is left.
		on bool
	}{
		{"little has come since the last look", &memory{bytes: 101}, brakeLook - 1, 0, 0, false},
		{"there is memory", &memory{bytes: 100}, 3 * brakeLook, 3, 3, false},
		{"there is memory again before the pause is over", &memory{bytes: 101, shrink: 3}, brakeLook, 3, 3, false},
		{"memory stays short: the pause ends", &memory{bytes: 101}, brakeLook, 1 + pause/2, 1 + pause, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &brake{limit: 100, used: test.memory.used}
			arrived := arrive(b, test.arrives)
			if looks := test.memory.looks.Load(); arrived != test.arrives || looks < test.atLeast || looks > test.atMost || b.on.Load() != test.on {
				t.Errorf("%d of %d bytes, %d looks, on is %t; want %d to %d, and %t",
					arrived, test.arrives, looks, b.on.Load(), test.atLeast, test.atMost, test.on)
			}
		})
	}
}

// arrive sends n bytes to a connection with that brake, and returns how many are read from it.
func arrive(b *brake, n int) (arrived int) {
	accepted, sender := net.Pipe()
	over := make(chan struct{})
	close(over)
	go func() {
		defer sender.Close()
		_, _ = sender.Write(make([]byte, n)) // what is not sent does not arrive
	}()
	room := make([]byte, brakeLook)
	for reader := (&conn{Conn: accepted, brake: b, handshaken: over}); ; {
		n, err := reader.Read(room)
		if arrived += n; err != nil {
			return arrived
		}
	}
}

// What a handshake and a review need is read without a pause, however short memory is.
func TestTheBrakeLetsAReviewPass(t *testing.T) {
	t.Parallel()
	m := &memory{bytes: 101}
	b := &brake{limit: 100, used: m.used}
	b.on.Store(true)
	if arrived, looks := arrive(b, brakeShare-1), m.looks.Load(); arrived != brakeShare-1 || looks != 0 {
		t.Errorf("%d of %d bytes, after %d looks; want none", arrived, brakeShare-1, looks)
	}
	if arrived, looks := arrive(b, brakeShare), m.looks.Load(); arrived != brakeShare || looks == 0 {
		t.Errorf("%d of %d bytes, without a pause", arrived, brakeShare)
	}
}

// TestTheBrakeFollowsTheMemoryLimit: without one nobody ever waits.
func TestTheBrakeFollowsTheMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	if b := newBrake(); b.limit != math.MaxUint64 || b.used() == 0 {
		t.Errorf("without a limit: from %d bytes on, %d are used", b.limit, b.used())
	}
	debug.SetMemoryLimit(1 << 20)
	if b := newBrake(); b.limit != 1280<<10 || b.used() <= b.limit {
		t.Errorf("with 1 MiB: from %d bytes on, %d are used", b.limit, b.used())
	}
}
