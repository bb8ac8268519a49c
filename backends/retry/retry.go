package retry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kura-backup/kura/backends"
)

// ErrTimeout is wrapped by the error of a request that took too long.
var ErrTimeout = errors.New("retry: the store did not answer in time")

// Store wraps a Store. It is safe for concurrent use.
type Store struct {
	inner  backends.Store
	o      Options
	local  bool
	proven atomic.Bool // the store has answered
}

var (
	_ backends.Store        = (*Store)(nil)
	_ backends.Locker       = (*Store)(nil)
	_ backends.BatchDeleter = batchStore{}
)

// New returns a Store that is as patient with inner as o says. It deletes in batches if inner does.
func New(inner backends.Store, o Options) backends.Store {
	s := &Store{inner: inner, o: o.withDefaults(), local: inner.Caps().Local}
	if b, ok := backends.As[backends.BatchDeleter](inner); ok {
		return batchStore{s, b}
	}
	return s
}

// Unwrap returns the Store beneath.
func (s *Store) Unwrap() backends.Store { return s.inner }

// Put creates an object; see [backends.Store]. It is tried again only when nothing was done.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	r := s.begin("put", name)
	for {
		err := r.attempt(ctx, int64(len(data)), func(ctx context.Context, _ *watch) error {
			return s.inner.Put(ctx, name, data)
		})
		if err == nil || backends.KindOf(err) != backends.Transient {
			return err
		}
		if err := r.pause(ctx, err); err != nil {
			return err
		}
	}
}

// TriedAgain tells of a put that [backends.Settle] tries again after a pause.
func (s *Store) TriedAgain(op, name string, err error, pause time.Duration) {
	s.o.Notify(op, name, err, pause)
}

// unknownSize is taken for the length of what is read to its end: there are few larger objects.
const unknownSize = 64 << 20

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	size := length
	if size < 0 || size > backends.MaxObject {
		size = unknownSize
	}
	var data []byte
	err := s.repeat(ctx, "get", name, size, func(ctx context.Context) (err error) {
		data, err = s.inner.Get(ctx, name, offset, length, buf)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Delete removes an object; see [backends.Store]. If it is gone after a try whose outcome was unclear, it counts as
// removed by it.
func (s *Store) Delete(ctx context.Context, name string) error {
	unclear := false
	return s.repeat(ctx, "delete", name, 0, func(ctx context.Context) error {
		err := s.inner.Delete(ctx, name)
		if unclear && errors.Is(err, backends.ErrNotExist) {
			return nil
		}
		unclear = unclear || maybeDone(ctx, err)
		return err
	})
}

// LockDays is that of the Store beneath, if it locks.
func (s *Store) LockDays() int {
	if l, ok := backends.As[backends.Locker](s.inner); ok {
		return l.LockDays()
	}
	return 0
}

// ExtendLock extends a lock, if the Store beneath can; see [backends.Locker].
func (s *Store) ExtendLock(ctx context.Context, name string) (extended bool, err error) {
	l, ok := backends.As[backends.Locker](s.inner)
	if !ok {
		return false, nil
	}
	unclear := false
	err = s.repeat(ctx, "lock", name, 0, func(ctx context.Context) (err error) {
		extended, err = l.ExtendLock(ctx, name)
		extended = extended || unclear && err == nil
		unclear = unclear || maybeDone(ctx, err)
		return err
	})
	return extended && err == nil, err
}

// maybeDone says whether a failed attempt may have had its effect. One that was ended may have.
func maybeDone(ctx context.Context, err error) bool {
	return backends.IsUnclear(err) || err != nil && ctx.Err() != nil
}

// repeat tries what can be tried again whenever it is not clear that it would be in vain.
func (s *Store) repeat(ctx context.Context, op, name string, size int64, f func(context.Context) error) error {
	r := s.begin(op, name)
	for {
		err := r.attempt(ctx, size, func(ctx context.Context, _ *watch) error { return f(ctx) })
		if err == nil || backends.KindOf(err) == backends.Permanent {
			return err
		}
		if err := r.pause(ctx, err); err != nil {
			return err
		}
	}
}

// Caps is that of the Store beneath.
func (s *Store) Caps() backends.Caps { return s.inner.Caps() }

// Close closes the Store beneath.
func (s *Store) Close() error { return s.inner.Close() }
