package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

const (
	// requests is how many small requests are made at once, and how many objects are deleted at once by a
	// store that has no batches.
	requests = 8
	// deleteBatch is how many objects are listed before they are deleted.
	deleteBatch = 4096
	// maxFailures is how many objects in a row may fail to be deleted before the rest is left alone.
	maxFailures = 32
)

// DeniedError says that the credentials may not delete. The entries of the run are in the log: what they
// dropped is garbage, which the next run deletes that may.
type DeniedError struct {
	Name string // of an object that could not be deleted
	Err  error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("gc: what is dropped is noted, but these credentials may not delete objects, such as %s: %v", e.Name, e.Err)
}

func (e *DeniedError) Unwrap() error { return e.Err }

// garbage calls yield for what no entry after a state can refer to any more. An object that was yielded may be deleted
// only when all were, or when yield returned false.
func (c *collector) garbage(ctx context.Context, st *log.State, prefix, after string, yield func(backends.Info) bool) error {
	for info, err := range c.r.Store().List(ctx, prefix, after) {
		if err != nil {
			return err
		}
		ref, rerr := object.ParseRef(info.Name)
		sid, _, serr := object.ParseSignName(info.Name)
		// The run's own signs go, too, when the entry was not needed: nothing was uploaded.
		_, own := c.own[sid]
		if serr == nil && (own || !st.Open(sid)) || rerr == nil && st.Garbage(ref) {
			if !yield(info) {
				return nil
			}
		}
	}
	return nil
}

// garbagePrefixes are where there can be any.
var garbagePrefixes = []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix}

// isOwn reports whether only this run has made an object. Such are not counted.
func (c *collector) isOwn(name string) bool {
	sid, _, err := object.ParseSignName(name)
	if ref, rerr := object.ParseRef(name); rerr == nil {
		sid, err = ref.Session, nil
	}
	_, own := c.own[sid]
	return err == nil && own
}

// deleter deletes objects, and counts.
type deleter struct {
	c        *collector
	done     uint64
	failed   int
	inARow   int
	firstErr error
	denied   *DeniedError
}

// deleteGarbage deletes what no entry can refer to any more, or of that only what the last entry has made garbage: then
// nothing is listed. Whatever is left when it is interrupted, or can not be deleted, is still garbage in the next run.
func (c *collector) deleteGarbage(ctx context.Context, onlyLast bool) error {
	c.ev.phase("deleting garbage")
	d := &deleter{c: c}
	find := d.listed
	if onlyLast {
		find = d.known
	}
	if err := find(ctx); err != nil {
		return err
	}
	if keeper, ok := backends.As[backends.Keeper](c.r.Store()); ok {
		c.res.Kept = keeper.Kept()
	}
	if d.failed > 0 {
		return fmt.Errorf("gc: the entry is in the log, but %d objects could not be deleted, which the next run tries again: %w", d.failed, d.firstErr)
	}
	if sweeper, ok := backends.As[backends.Sweeper](c.r.Store()); ok && !onlyLast {
		if _, err := sweeper.Sweep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// listed deletes all garbage that there is.
func (d *deleter) listed(ctx context.Context) error {
	for _, prefix := range garbagePrefixes {
		if err := d.prefix(ctx, prefix); err != nil {
			return err
		}
	}
	old, err := d.c.oldCheckpoints(ctx)
	if err != nil {
		return err
	}
	return d.delete(ctx, old)
}

// known deletes what the last entry has made garbage, by its names.
func (d *deleter) known(ctx context.Context) error {
	st := d.c.r.State()
	garbage := slices.DeleteFunc(d.c.slice.garbage, func(info backends.Info) bool {
		ref, err := object.ParseRef(info.Name)
		return err != nil || !st.Garbage(ref)
	})
	for batch := range slices.Chunk(garbage, deleteBatch) {
		if err := d.delete(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// prefix deletes the garbage below a prefix, a batch at a time: no listing goes on while its objects go.
func (d *deleter) prefix(ctx context.Context, prefix string) error {
	after := ""
	for {
		var batch []backends.Info
		err := d.c.garbage(ctx, d.c.r.State(), prefix, after, func(info backends.Info) bool {
			batch = append(batch, info)
			return len(batch) < deleteBatch
		})
		if err != nil {
			return err
		}
		if err := d.delete(ctx, batch); err != nil || len(batch) < deleteBatch {
			return err
		}
		after = batch[len(batch)-1].Name
	}
}

// delete deletes a batch. It goes on after objects that can not be deleted, unless none can.
func (d *deleter) delete(ctx context.Context, batch []backends.Info) error {
	if len(batch) == 0 {
		return nil
	}
	sizes := make(map[string]int64, len(batch))
	names := make([]string, len(batch))
	for i, info := range batch {
		sizes[info.Name], names[i] = info.Size, info.Name
	}
	dctx, stop := context.WithCancel(ctx)
	defer stop()
	err := backends.DeleteMany(dctx, d.c.r.Store(), names, requests, func(name string, err error) {
		d.deleted(name, sizes[name], err)
		if d.denied != nil || d.inARow >= maxFailures {
			stop()
		}
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case d.denied != nil:
		return d.denied
	case d.inARow >= maxFailures:
		return fmt.Errorf("gc: the entry is in the log, but deleting fails, which the next run tries again: %w", d.firstErr)
	}
	return err
}

// deleted notes what became of an object.
func (d *deleter) deleted(name string, size int64, err error) {
	d.done++
	d.c.ev.step(d.done, 0)
	switch {
	case err == nil, errors.Is(err, backends.ErrNotExist): // another collector was faster
		d.inARow = 0
		d.c.countDeleted(name, size)
	case errors.Is(err, backends.ErrLocked):
		d.inARow = 0
		d.c.res.Locked.add(size, err)
	case errors.Is(err, backends.ErrDenied):
		if d.denied == nil {
			d.denied = &DeniedError{Name: name, Err: err}
		}
	default:
		d.failed++
		d.inARow++
		if d.firstErr == nil {
			d.firstErr = err
		}
	}
}

// countDeleted notes what is deleted, but for what only this run has made, and checkpoints.
func (c *collector) countDeleted(name string, size int64) {
	if _, err := object.ParseNumbered(object.CheckpointsPrefix, name); err == nil || c.isOwn(name) {
		return
	}
	c.res.ObjectsDeleted++
	c.res.BytesDeleted += size
}
