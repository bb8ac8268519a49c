package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
)

// Build computes an entry on top of st. It is called again, with the newer state, each time another
// client's entry took the number first, and must then repeat all of its checks against the whole of
// st. An error ends the commit with nothing written; (nil, nil) means there is nothing left to do.
type Build func(ctx context.Context, st *State) (*Entry, error)

// Commit adds the entry that build makes, by the loop of docs/protocol.md, section 5, and returns
// the state after it. All objects that the entry names must be stored before build returns.
// The error wraps ErrOutcomeUnknown when the entry may yet appear.
func (l *Log) Commit(ctx context.Context, build Build) (*State, error) {
	for {
		st := l.State()
		e, err := build(ctx, st)
		if err != nil || e == nil {
			return st, err
		}
		_, signer := l.keys.Signer()
		if err := st.check(e, signer); err != nil {
			return st, fmt.Errorf("log: refusing to write an entry that would be void: %w", err)
		}
		obj, err := l.sealEntry(st, e)
		if err != nil {
			return st, err
		}
		own, err := l.settle(ctx, object.LogName(st.N+1), obj)
		if err != nil {
			return st, err
		}
		if err := l.advance(ctx, st.N+1, obj, own); err != nil {
			return st, err
		}
		if own {
			return l.State(), nil
		}
	}
}

// advance folds the own entry at number n, or somebody else's and all after it.
func (l *Log) advance(ctx context.Context, n uint64, obj []byte, own bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !own:
		return l.refresh(ctx)
	case l.state.N+1 == n:
		if err := l.foldOne(n, obj); err != nil {
			return err
		}
	} // else another goroutine of ours was faster in reading it
	if l.state.N == n {
		l.sure = Mark{n, l.state.Hash}
	}
	return nil
}

// settleTries is how often a number is tried whose fate is unclear; with the pauses below it takes
// about a minute.
const settleTries = 10

// settle puts obj under name until it is known whose bytes the name has, and reports whether they
// are obj. The bytes never change between tries: a put that seemed lost may still arrive.
func (l *Log) settle(ctx context.Context, name string, obj []byte) (own bool, err error) {
	pause := 50 * time.Millisecond
	unclear := false // whether a put of ours may have arrived, or may yet
	for range settleTries {
		err = l.store.Put(ctx, name, obj)
		if err == nil {
			return true, nil
		}
		switch {
		case errors.Is(err, backends.ErrExist), backends.IsUnclear(err):
			// Also when the name is said to be taken: it may be by a put of ours that was sent twice.
			unclear = true
			// Not cancelled with ctx: one look decides between "done" and "unknown".
			got, gerr := l.store.Get(context.WithoutCancel(ctx), name, 0, -1, nil)
			if gerr == nil {
				return is(got, obj), nil
			}
			if !errors.Is(gerr, backends.ErrNotExist) && backends.KindOf(gerr) == backends.Permanent {
				err = errors.Join(err, gerr)
			}
		case backends.IsTransient(err):
		default:
			if unclear {
				return false, fmt.Errorf("%w: %s: %w", ErrOutcomeUnknown, name, err)
			}
			return false, err
		}
		select {
		case <-ctx.Done():
			if unclear {
				return false, fmt.Errorf("%w: %s: %w", ErrOutcomeUnknown, name, context.Cause(ctx))
			}
			return false, context.Cause(ctx)
		case <-time.After(pause):
			pause = min(2*pause, 10*time.Second)
		}
	}
	if unclear {
		return false, fmt.Errorf("%w: %s: %w", ErrOutcomeUnknown, name, err)
	}
	return false, err
}
