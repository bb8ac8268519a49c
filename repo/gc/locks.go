package gc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// extendLocks renews the locks of what the repository needs, in a store that locks objects against being
// deleted: packs, index segments, log entries, keys, the config, and the checkpoints that stay. Groups of
// parity come and go. An object is locked when it is put, so that for those younger than half of that time
// nothing is asked; of the others the store says how much is left.
func (c *collector) extendLocks(ctx context.Context) error {
	locker, ok := backends.As[backends.Locker](c.r.Store())
	if !ok || locker.LockDays() <= 0 {
		return nil
	}
	c.ev.phase("extending locks")
	x := &extender{c: c, locker: locker, before: c.now.Add(-time.Duration(locker.LockDays()) * 24 * time.Hour / 2)}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	st := c.r.State()
	for _, prefix := range []string{
		object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.LogPrefix,
		object.KeysPrefix, object.ConfigName, object.CheckpointsPrefix,
	} {
		for info, err := range c.r.Store().List(gctx, prefix, "") {
			if err != nil {
				return errors.Join(err, g.Wait())
			}
			if needed(st, info.Name) && info.ModTime.Before(x.before) {
				g.Go(func() error { return x.extend(gctx, info.Name) })
			}
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.res.LocksExtended = x.extended
	if x.failed > 0 {
		return fmt.Errorf("gc: all else is done, but the locks of %d objects could not be extended, which the next run tries again: %w", x.failed, x.first)
	}
	return nil
}

// needed reports whether an object is not garbage: any that is no pack and no index segment.
func needed(st *log.State, name string) bool {
	ref, err := object.ParseRef(name)
	if err != nil {
		return true
	}
	_, valid := st.Index[ref]
	return valid || st.Live(ref)
}

// extender extends locks, and counts. It is safe for concurrent use.
type extender struct {
	c      *collector
	locker backends.Locker
	before time.Time // what was put later needs nothing

	mu               sync.Mutex
	asked            uint64
	extended, failed int
	inARow           int
	first            error
}

func (x *extender) extend(ctx context.Context, name string) error {
	extended, err := x.locker.ExtendLock(ctx, name)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked++
	x.c.ev.step(x.asked, 0)
	switch {
	case errors.Is(err, backends.ErrNotExist): // another collector has made it garbage
	case err != nil:
		x.failed++
		x.inARow++
		if x.first == nil {
			x.first = err
		}
		if errors.Is(err, backends.ErrDenied) || x.inARow >= maxFailures {
			return fmt.Errorf("gc: all else is done, but locks can not be extended: %w", err)
		}
		return nil
	case extended:
		x.extended++
	}
	x.inARow = 0
	return nil
}
