package log

import (
	"context"
	"errors"
	"fmt"

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
		st, keys, err := l.current()
		if err != nil {
			return st, err
		}
		e, err := build(ctx, st)
		if err != nil || e == nil {
			return st, err
		}
		_, signer := keys.Signer()
		if _, ok := st.Signers[signer]; !ok {
			return st, ErrWithdrawn
		}
		if err := st.check(e, signer); err != nil {
			return st, fmt.Errorf("log: refusing to write an entry that would be void: %w", err)
		}
		obj, err := sealEntry(keys, st, e)
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
		l.conflicts.Add(1)
	}
}

// ErrRefused is returned by Add for what is no entry that could be added.
var ErrRefused = errors.New("log: refusing to add this entry")

// Add puts entry n that somebody else has sealed, who borrowed the keyring: a whole one that counts, and that allowed
// returns nil for. The error wraps backends.ErrExist when the number is taken, and ErrRefused when the entry is not right.
func (l *Log) Add(ctx context.Context, n uint64, obj []byte, allowed func(*Record) error) error {
	if err := l.Refresh(ctx); err != nil {
		return err
	}
	st, keys, err := l.current()
	switch {
	case err != nil:
		return err
	case n <= st.N:
		return &backends.Error{Op: "put", Name: object.LogName(n), Err: backends.ErrExist}
	case n > st.N+1:
		return fmt.Errorf("%w: %d after %d", ErrRefused, n, st.N)
	}
	rec, err := OpenEntry(keys, st, obj)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case rec.Mended:
		return fmt.Errorf("%w: it is damaged", ErrRefused)
	}
	if _, err := st.Apply(rec.Entry, rec.Signer, rec.Hash); err != nil {
		return fmt.Errorf("%w: it would be void: %w", ErrRefused, err)
	}
	if err := allowed(rec); err != nil {
		return err
	}
	if err := l.store.Put(ctx, object.LogName(n), obj); err != nil {
		return err
	}
	return l.advance(ctx, n, obj, true)
}

// Conflicts is how often an entry of another client took the number first since Open.
func (l *Log) Conflicts() uint64 { return l.conflicts.Load() }

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

// settle puts obj under name until it is known whose bytes the name has, and reports whether they
// are obj, perhaps mended. The bytes never change between tries: a put that seemed lost may still arrive.
func (l *Log) settle(ctx context.Context, name string, obj []byte) (own bool, err error) {
	own, err = backends.Settle(ctx, l.store, name, obj, func(got []byte) bool { return is(got, obj) })
	if errors.Is(err, backends.ErrUnsettled) {
		return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return own, err
}
