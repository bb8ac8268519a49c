package clock

import (
	"sync"
	"time"
)

// A Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time { return time.Now() }

// Now returns the machine's time.
func Now() time.Time { return System.Now() }

// Since returns the time elapsed since t by the machine's clock (the monotonic
// one when t came from [Now]).
func Since(t time.Time) time.Duration { return time.Since(t) }

// Fake is a clock that stands still until it is moved. It is safe for
// concurrent use; the zero value stands at the zero time.
type Fake struct {
	mu  sync.Mutex
	now time.Time
}

// NewFake returns a clock that stands at t.
func NewFake(t time.Time) *Fake { return &Fake{now: t} }

// Now returns the time the clock stands at.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock by d, which may be negative: clocks do jump back.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}
