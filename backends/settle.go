package backends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

const (
	settleTries = 38               // with the pauses between them five minutes, as other requests are tried again
	settleLeast = 3                // tries that are made however long each takes
	settleTime  = 10 * time.Minute // after which there are no others
	settleGrace = 10 * time.Second // for looking at the name when the context ends meanwhile
)

// Settle puts data under name until it is known whose bytes the name has, and reports whether they are data, as own
// judges. A name that is said to be taken may be so by a put of ours that was sent twice, and one whose put has no clear
// answer may be free. The bytes never change between tries: a put that seemed lost may still arrive.
//
// The error wraps [ErrUnsettled] when the object may exist or appear all the same. What a Store calls Transient is for
// the Store to try again, and ends Settle.
func Settle(ctx context.Context, s Store, name string, data []byte, own func(got []byte) bool) (bool, error) {
	sent := false // whether a put of ours may have arrived, or may yet
	unsettled := func(err error) error {
		if !sent {
			return err
		}
		return fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	start, pause := clock.Now(), 50*time.Millisecond
	for try := 1; ; try++ {
		err := s.Put(ctx, name, data)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrExist) && !IsUnclear(err) {
			return false, unsettled(err)
		}
		sent = true
		got, gerr := look(ctx, s, name)
		if gerr == nil {
			return own(got), nil
		}
		if !errors.Is(gerr, ErrNotExist) {
			return false, unsettled(errors.Join(err, gerr))
		}
		if try == settleTries || try >= settleLeast && clock.Since(start) > settleTime {
			return false, unsettled(err)
		}
		if t, ok := As[teller](s); ok {
			t.TriedAgain("put", name, err, pause)
		}
		select {
		case <-ctx.Done():
			return false, unsettled(&Error{Op: "put", Name: name, Err: context.Cause(ctx)})
		case <-time.After(pause):
			pause = min(2*pause, 10*time.Second)
		}
	}
}

// teller is a Store that tells whoever waits why, as one does that tries again itself (package retry).
type teller interface {
	TriedAgain(op, name string, err error, pause time.Duration)
}

// look reads an object. One look decides between "done" and "unknown", so it has some time left when the context ends.
func look(ctx context.Context, s Store, name string) ([]byte, error) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(settleGrace):
			cancel(context.Cause(ctx))
		case <-inner.Done():
		}
	})()
	return s.Get(inner, name, 0, -1, nil)
}
