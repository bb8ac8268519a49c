package backends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	// ErrDenied is returned when the credentials may not do what was asked for.
	ErrDenied = errors.New("backends: the credentials do not permit this")

	// ErrNoCreateOnly is returned by Put where the store can not refuse taken names. Nothing was done.
	ErrNoCreateOnly = errors.New("backends: the store has no create-only writes")

	// ErrLocked is wrapped by every [*LockedError].
	ErrLocked = errors.New("backends: the object is locked")
)

// LockedError is a Delete of an object that the store keeps until a time that was set before: nobody
// can delete it earlier. It wraps [ErrLocked].
type LockedError struct {
	Name  string
	Until time.Time // zero if unknown
}

func (e *LockedError) Error() string {
	if e.Until.IsZero() {
		return fmt.Sprintf("%v: %s", ErrLocked, e.Name)
	}
	return fmt.Sprintf("%v until %s: %s", ErrLocked, e.Until.UTC().Format(time.RFC3339), e.Name)
}

func (e *LockedError) Unwrap() error { return ErrLocked }

// Locker is implemented by Stores that can lock objects against deletion.
type Locker interface {
	// LockDays is for how many days Put locks an object; 0 if it does not.
	LockDays() int

	// ExtendLock locks an object for LockDays from now on if less than half of that is left, and
	// reports whether it did.
	ExtendLock(ctx context.Context, name string) (extended bool, err error)
}

// Kept is what deleting could only hide.
type Kept struct {
	Objects int
	Why     string
}

// Keeper is implemented by Stores in which a deleted object can go on taking up room, as in a bucket
// with versions.
type Keeper interface {
	// Kept tells what was deleted since the Store was opened and not freed.
	Kept() Kept
}

// BatchDeleter is implemented by Stores that delete many objects in one request.
type BatchDeleter interface {
	// DeleteMany deletes the named objects and calls done for each, never concurrently, with what
	// Delete would have returned. It returns an error, and may leave out calls of done, only when ctx
	// has ended.
	DeleteMany(ctx context.Context, names []string, done func(name string, err error)) error
}

// DeleteMany deletes the named objects, in batches where the store has them, otherwise up to parallel at
// once. It is done with each name as [BatchDeleter] says.
func DeleteMany(ctx context.Context, s Store, names []string, parallel int, done func(name string, err error)) error {
	if b, ok := As[BatchDeleter](s); ok {
		return b.DeleteMany(ctx, names, done)
	}
	type result struct {
		name string
		err  error
	}
	results := make(chan result)
	g := new(errgroup.Group)
	g.SetLimit(max(parallel, 1))
	go func() {
		for _, name := range names {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				results <- result{name, s.Delete(ctx, name)}
				return nil
			})
		}
		_ = g.Wait() // the errors went to done
		close(results)
	}()
	for r := range results {
		done(r.name, r.err)
	}
	return context.Cause(ctx)
}
