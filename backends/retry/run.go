package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// leastTries are made however long each of them takes.
const leastTries = 3

// run is one operation with all of its tries. It belongs to one goroutine.
type run struct {
	s        *Store
	op, name string
	pauses   backoff.ExponentialBackOff
	tries    int       // that failed
	since    time.Time // of the first of them
}

func (s *Store) begin(op, name string) *run {
	r := &run{s: s, op: op, name: name, pauses: backoff.ExponentialBackOff{
		InitialInterval: s.o.Pause, MaxInterval: s.o.MaxPause, Multiplier: 2, RandomizationFactor: 0.5,
	}}
	r.restart()
	return r
}

// restart gives an operation that has come further all of its tries again.
func (r *run) restart() {
	r.tries = 0
	r.pauses.Reset()
}

// attempt does f once, with a deadline for size bytes.
func (r *run) attempt(ctx context.Context, size int64, f func(context.Context, *watch) error) error {
	w := startWatch(ctx, r.s.limit(size), r.s.o.Idle)
	defer w.stop()
	err := f(w.ctx, w)
	switch {
	case err == nil:
		r.s.proven.Store(true)
	case ctx.Err() != nil:
	case w.ended() && !definite(err):
		return &backends.Error{Op: r.op, Name: r.name, Kind: r.kind(backends.Unclear), Err: context.Cause(w.ctx)}
	case backends.KindOf(err) == backends.Permanent || answered(err):
		r.s.proven.Store(true)
	}
	return err
}

// answered says whether a failure is the store's own word.
func answered(err error) bool {
	e, ok := errors.AsType[*backends.Error](err)
	return ok && e.Answered
}

// limit is how long a request of so many bytes may take. A local store can not be interrupted where it hangs.
func (s *Store) limit(size int64) time.Duration {
	if s.local {
		return forever
	}
	return s.o.Deadline + time.Duration(float64(size)/float64(s.o.Rate)*float64(time.Second))
}

// kind is what the caller may do after an error: only of a Put it matters whether it was done.
func (r *run) kind(k backends.Kind) backends.Kind {
	if k == backends.Unclear && r.op != "put" {
		return backends.Transient
	}
	return k
}

// pause waits for the next try, or returns the error that ends the operation.
func (r *run) pause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return r.stopped(ctx, err)
	}
	if r.tries++; r.tries == 1 {
		r.since = clock.Now()
	}
	total := r.s.o.Total
	if !r.s.proven.Load() {
		total = min(total, r.s.o.Unproven)
	}
	pause := r.pauses.NextBackOff()
	elapsed := clock.Since(r.since)
	if r.tries >= r.s.o.Tries || elapsed+pause > total && r.tries >= leastTries {
		return &backends.Error{
			Op: r.op, Name: r.name, Kind: r.kind(backends.KindOf(err)),
			Err: fmt.Errorf("given up after %d tries in %v: %w", r.tries, elapsed.Round(time.Second), err),
		}
	}
	r.s.o.Notify(r.op, r.name, err, pause)
	outer := backends.ProgressOf(ctx)
	outer.Waiting()
	defer outer.Moved(0)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return r.stopped(ctx, err)
	}
}

// stopped is the error of an operation that its caller ended between two tries.
func (r *run) stopped(ctx context.Context, err error) error {
	return &backends.Error{
		Op: r.op, Name: r.name, Kind: r.kind(backends.KindOf(err)),
		Err: fmt.Errorf("%w while trying again after: %w", context.Cause(ctx), err),
	}
}
