package retry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
)

// portion is how many bytes must move to gain another Options.Idle.
const portion = 64 << 10

// watch ends a request that takes too long. It is told of its progress through the request's context, and is
// safe for concurrent use.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   time.Duration
	outer  backends.Progress // of a Store around this one that watches, too

	timer *time.Timer // stopped while the request waits for its turn

	mu    sync.Mutex
	limit time.Duration // that the timer runs for
	began bool
	over  bool // nothing is to be ended any more
	moved int  // bytes since the timer was set
}

var _ backends.Progress = (*watch)(nil)

// forever is the limit of what may take as long as it wants.
const forever = time.Duration(math.MaxInt64)

func startWatch(ctx context.Context, limit, idle time.Duration) *watch {
	w := &watch{idle: idle, outer: backends.ProgressOf(ctx), limit: limit, over: limit == forever}
	inner, cancel := context.WithCancelCause(ctx)
	w.cancel = cancel
	w.ctx = backends.WithProgress(inner, w)
	w.timer = time.AfterFunc(limit, w.end)
	return w
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	why := "it was ended after"
	if w.began {
		why = "nothing has moved for"
	}
	w.cancel(fmt.Errorf("%w: %s %v", ErrTimeout, why, w.limit.Round(time.Millisecond)))
}

// stop releases what the watch holds. What its context had ended stays ended.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// ended reports whether the request was ended for taking too long.
func (w *watch) ended() bool { return errors.Is(context.Cause(w.ctx), ErrTimeout) }

// Waiting stops the time until something moves.
func (w *watch) Waiting() {
	w.outer.Waiting()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.began = false
}

// Moved gives the request some more time if it has earned it.
func (w *watch) Moved(n int) {
	w.outer.Moved(n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved += n
	if !w.began || w.moved >= portion {
		w.set()
	}
}

// again gives the request all of its time, since it has come further.
func (w *watch) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set()
}

func (w *watch) set() {
	w.began, w.moved, w.limit = true, 0, w.idle
	if w.over { // what the request has left behind may still tell
		return
	}
	w.timer.Reset(w.idle)
}

// definite reports whether an error is the store's answer, so that it came even if its time was over.
func definite(err error) bool {
	return slices.ContainsFunc([]error{
		backends.ErrExist, backends.ErrNotExist, backends.ErrRange, backends.ErrTooLarge, backends.ErrDenied, backends.ErrLocked,
	}, func(answer error) bool { return errors.Is(err, answer) })
}
