package reviewserver

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// What waits to be read is bounded on each connection (unreadBody), not over all of
// them: a thousand connections that begin large bodies at the same time have sent
// more, before a handler has refused the first, than the process may have. So reading
// slows down where memory gets short:
//
//	memory of the process         a connection from which something has come
//	up to brakeAt of its soft     goes on
//	limit, or without a limit
//	above                         waits after every brakeShare until that has changed, at most
//	                              brakePause; handlers and the garbage collector have the
//	                              CPU meanwhile
//
// The pause is bounded, as those who hold the memory may be waiting for what is still to
// come. Nobody is refused by it.
const (
	// brakeAt is in quarters of the soft memory limit: from the limit on the garbage
	// collector works harder, and a quarter more says that this was not enough.
	brakeAt = 5
	// brakePause is small beside the timeout of a review.
	brakePause = 100 * time.Millisecond
	// brakeShare is what a handshake and a small review need. It is little, as a thousand
	// connections may have it at once.
	brakeShare = 4 << 10
	// brakeLook is how many bytes may arrive between two looks at the memory.
	brakeLook = 256 << 10
	// brakeStep is the time between two looks of one that waits.
	brakeStep = 5 * time.Millisecond
)

// brake slows connections down. There is one for all connections of a server.
type brake struct {
	limit uint64 // bytes from which it brakes
	// used returns how many bytes the process has from the operating system.
	used func() uint64
	// arrived counts the bytes since the last look.
	arrived atomic.Int64
	// on is what the last look found: memory is short.
	on atomic.Bool

	looking sync.Mutex
	looked  time.Time
}

// newBrake returns the brake for the soft memory limit that the process has now
// (debug.SetMemoryLimit).
func newBrake() *brake {
	limit := debug.SetMemoryLimit(-1)
	if limit > math.MaxInt64/brakeAt { // none is set
		return &brake{limit: math.MaxUint64, used: memoryUsed()}
	}
	return &brake{limit: uint64(limit) / 4 * brakeAt, used: memoryUsed()}
}

// memoryUsed returns a function that returns what the soft memory limit is compared
// with: see debug.SetMemoryLimit. It is not for concurrent use.
func memoryUsed() func() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	return func() uint64 {
		metrics.Read(samples)
		return samples[0].Value.Uint64() - samples[1].Value.Uint64()
	}
}

// count counts n bytes that have come from a connection.
func (b *brake) count(n int) {
	if b.arrived.Add(int64(n)) >= brakeLook {
		b.look()
	}
}

// wait returns once the brake is off, after brakePause at the latest.
func (b *brake) wait() {
	for waited := time.Duration(0); b.on.Load() && waited < brakePause; waited += brakeStep {
		time.Sleep(brakeStep)
		b.look()
	}
}

// look sees whether memory is short. Where many wait, one of them looks for all.
func (b *brake) look() {
	if !b.looking.TryLock() {
		return
	}
	defer b.looking.Unlock()
	if now := time.Now(); now.Sub(b.looked) >= brakeStep/2 || !b.on.Load() {
		b.looked = now
		b.arrived.Store(0)
		b.on.Store(b.used() > b.limit)
	}
}
