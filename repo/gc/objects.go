package gc

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// objects is what lies in the store, of what collecting is about.
type objects struct {
	sizes    map[object.Ref]int64
	sessions map[object.SessionID]*sighting // open ones
	now      time.Time                      // by the store's clock
}

// sighting is what the store shows of an open session.
type sighting struct {
	last  time.Time // when the newest of its objects was put
	signs []string  // names of its signs of life, ascending
}

func (c *collector) listObjects(ctx context.Context) (*objects, error) {
	c.ev.phase("listing objects")
	st := c.r.State()
	o := &objects{sizes: map[object.Ref]int64{}, sessions: map[object.SessionID]*sighting{}}
	var own time.Time // when this run's own sign was put
	see := func(sid object.SessionID, info backends.Info) *sighting {
		if info.ModTime.After(o.now) {
			o.now = info.ModTime // the newest object is at least as old as now
		}
		if sid == c.sid || !st.Open(sid) {
			return nil
		}
		s := o.sessions[sid]
		if s == nil {
			s = &sighting{}
			o.sessions[sid] = s
		}
		if info.ModTime.After(s.last) {
			s.last = info.ModTime
		}
		return s
	}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix} {
		for info, err := range c.r.Store().List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			if ref, err := object.ParseRef(info.Name); err == nil {
				o.sizes[ref] = info.Size
				see(ref.Session, info)
			}
		}
	}
	for info, err := range c.r.Store().List(ctx, object.SessionsPrefix, "") {
		if err != nil {
			return nil, err
		}
		if sid, _, err := object.ParseSignName(info.Name); err == nil {
			if sid == c.sid {
				own = info.ModTime
			}
			if s := see(sid, info); s != nil {
				s.signs = append(s.signs, info.Name)
			}
		}
	}
	// Not the newest of all: one that was put while the store's clock was wrong would end every time to hold.
	if !own.IsZero() {
		o.now = own
	}
	// A dry run puts no sign: the store does not tell it the time.
	if now := clock.Now(); c.opts.DryRun && now.After(o.now) {
		o.now = now
	}
	return o, nil
}

// findDead chooses the sessions to revoke: those that were idle for long by the store's clock, and those
// whose process was on this machine and is no more. A wrong guess costs the session its uploads, which
// it makes again; it costs no data.
func (c *collector) findDead(ctx context.Context, o *objects) error {
	for sid, s := range o.sessions {
		dead := o.now.Sub(s.last) > c.opts.Idle
		if !dead && len(s.signs) > 0 {
			sign, err := c.r.LoadSign(ctx, s.signs[len(s.signs)-1])
			if damaged := (*repo.DamageError)(nil); errors.As(err, &damaged) || errors.Is(err, backends.ErrNotExist) {
				continue // no reason to think that it is dead
			}
			if err != nil {
				return err
			}
			dead = sign.Dead()
		}
		if dead {
			c.revoke = append(c.revoke, sid)
		} else {
			c.res.Open++
		}
	}
	slices.SortFunc(c.revoke, object.SessionID.Compare)
	return nil
}

// garbage lists what no entry after a state can refer to any more.
func (c *collector) garbage(ctx context.Context, st *log.State) (garbage []backends.Info, err error) {
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix} {
		for info, err := range c.r.Store().List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			if prefix == object.SessionsPrefix {
				sid, _, err := object.ParseSignName(info.Name)
				// The run's own sign goes, too, when its entry was not needed: nothing was uploaded.
				if err == nil && (!st.Open(sid) || sid == c.sid) {
					garbage = append(garbage, info)
				}
			} else if ref, err := object.ParseRef(info.Name); err == nil && st.Garbage(ref) {
				garbage = append(garbage, info)
			}
		}
	}
	return garbage, nil
}

// countGarbage notes what is deleted, but for what only this run has made.
func (c *collector) countGarbage(garbage []backends.Info) {
	c.res.ObjectsDeleted, c.res.BytesDeleted = 0, 0
	for _, info := range garbage {
		sid, _, err := object.ParseSignName(info.Name)
		if ref, rerr := object.ParseRef(info.Name); rerr == nil {
			sid, err = ref.Session, nil
		}
		if err == nil && sid == c.sid {
			continue
		}
		c.res.ObjectsDeleted++
		c.res.BytesDeleted += info.Size
	}
}

// deletes is how many objects are deleted at once.
const deletes = 8

// deleteGarbage deletes what no entry can refer to any more. Whatever is left when it is interrupted is
// still garbage in the next run.
func (c *collector) deleteGarbage(ctx context.Context) error {
	c.ev.phase("deleting garbage")
	store := c.r.Store()
	garbage, err := c.garbage(ctx, c.r.State())
	if err != nil {
		return err
	}
	c.countGarbage(garbage)
	old, err := c.oldCheckpoints(ctx)
	if err != nil {
		return err
	}
	garbage = append(garbage, old...)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deletes)
	for i, info := range garbage {
		c.ev.step(uint64(i), uint64(len(garbage)))
		g.Go(func() error {
			err := store.Delete(gctx, info.Name)
			if errors.Is(err, backends.ErrNotExist) {
				return nil // another collector was faster
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if sweeper, ok := backends.As[backends.Sweeper](store); ok {
		if _, err := sweeper.Sweep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// keepCheckpoints is how many checkpoints stay: the newest, and one in case it is damaged.
const keepCheckpoints = 2

// oldCheckpoints returns those that are to go: all but the newest that can be used. A writer can put
// anything under the name of a checkpoint; it must not make the good ones go.
func (c *collector) oldCheckpoints(ctx context.Context) ([]backends.Info, error) {
	var all, old []backends.Info
	for info, err := range c.r.Store().List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return nil, err
		}
		if _, err := object.ParseNumbered(object.CheckpointsPrefix, info.Name); err == nil {
			all = append(all, info)
		}
	}
	kept := 0
	for _, info := range slices.Backward(all) {
		usable := false
		if kept < keepCheckpoints {
			var err error
			if usable, err = c.r.Log().UsableCheckpoint(ctx, info.Name); err != nil {
				return nil, err
			}
		}
		if usable {
			kept++
		} else {
			old = append(old, info)
		}
	}
	return old, nil
}
