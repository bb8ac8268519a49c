package retry

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/backends"
)

// batchStore is a Store around one that deletes in batches.
type batchStore struct {
	*Store
	batch backends.BatchDeleter
}

// DeleteMany deletes objects; see [backends.BatchDeleter]. Only those are tried again that failed and may not fail the
// next time. Each round in which one is done with renews the tries that are left.
func (s batchStore) DeleteMany(ctx context.Context, names []string, done func(name string, err error)) error {
	d := deletion{run: s.begin("delete", ""), batch: s.batch, unclear: map[string]bool{}, done: done}
	for len(names) > 0 {
		left, err := d.round(ctx, names)
		if len(left) == 0 {
			return context.Cause(ctx)
		}
		if len(left) < len(names) {
			d.restart()
		}
		if err != nil && backends.KindOf(err) != backends.Permanent {
			err = d.pause(ctx, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			for _, name := range left {
				done(name, err)
			}
			return nil
		}
		names = left
	}
	return context.Cause(ctx)
}

// deletion is one DeleteMany. It belongs to one goroutine at a time.
type deletion struct {
	*run
	batch   backends.BatchDeleter
	unclear map[string]bool // may be deleted already
	done    func(name string, err error)
}

// round tries all names once and returns those that are not done with, and an error that one of them met.
func (d *deletion) round(ctx context.Context, names []string) (left []string, failed error) {
	open := make(map[string]bool, len(names))
	for _, name := range names {
		open[name] = true
	}
	err := d.attempt(ctx, 0, func(ctx context.Context, w *watch) error {
		return d.batch.DeleteMany(ctx, names, func(name string, err error) {
			w.Waiting() // for the caller
			defer w.again()
			switch {
			case err == nil || d.unclear[name] && errors.Is(err, backends.ErrNotExist):
				delete(open, name)
				d.done(name, nil)
			case ctx.Err() == nil && backends.KindOf(err) == backends.Permanent || definite(err):
				delete(open, name)
				d.done(name, err)
			default:
				d.unclear[name] = d.unclear[name] || maybeDone(ctx, err)
				failed = err
			}
		})
	})
	if err != nil {
		failed = err
	}
	for _, name := range names {
		if open[name] {
			left = append(left, name)
			d.unclear[name] = d.unclear[name] || err != nil
		}
	}
	if failed == nil && len(left) > 0 {
		failed = &backends.Error{Op: d.op, Name: left[0], Err: errors.New("retry: the store has left it out")}
	}
	return left, failed
}
