package gc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// objects is what lies in the store, of what collecting is about.
type objects struct {
	sizes    []int64                        // of packs, by their numbers in an index; -1 if they are not there
	sessions map[object.SessionID]*sighting // open ones
	now      time.Time                      // by the store's clock
}

// sighting is what the store shows of an open session.
type sighting struct {
	last time.Time // when the newest of its objects was put
	sign string    // name of its newest sign of life
}

// see notes an object of a session, if it is open and of another run.
func (c *collector) see(o *objects, sid object.SessionID, info backends.Info) *sighting {
	if _, own := c.own[sid]; own || !c.r.State().Open(sid) {
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

// listSigns lists the signs of life, and finds out what time it is for the store.
func (c *collector) listSigns(ctx context.Context) (*objects, error) {
	c.ev.phase("listing objects")
	o := &objects{sessions: map[object.SessionID]*sighting{}}
	for info, err := range c.r.Store().List(ctx, object.SessionsPrefix, "") {
		if err != nil {
			return nil, err
		}
		sid, _, err := object.ParseSignName(info.Name)
		if err != nil {
			continue
		}
		// Not the newest of all: one that was put while the store's clock was wrong would end every time to hold.
		if sid == c.sid {
			o.now = info.ModTime
		}
		if s := c.see(o, sid, info); s != nil {
			s.sign = info.Name
		}
	}
	if c.opts.DryRun { // it puts no sign: the store does not tell it the time
		o.now = clock.Now()
	}
	return o, nil
}

// listObjects adds packs and index segments.
func (c *collector) listObjects(ctx context.Context, ix *repo.Index, o *objects) error {
	c.ev.phase("listing objects")
	finder := newPackFinder(ix)
	o.sizes = make([]int64, ix.NumPacks())
	for n := range o.sizes {
		o.sizes[n] = -1
	}
	done := uint64(0)
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix} {
		for info, err := range c.r.Store().List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			ref, err := object.ParseRef(info.Name)
			if err != nil {
				continue
			}
			if no, ok := finder.find(ref); ok {
				o.sizes[no] = info.Size
			}
			c.see(o, ref.Session, info)
			done++
			c.ev.step(done, 0)
		}
	}
	return nil
}

// findDead chooses the sessions to revoke: those that were idle for long by the store's clock, and those
// whose process was on this machine and is no more. A wrong guess costs the session its uploads, which
// it makes again; it costs no data.
func (c *collector) findDead(ctx context.Context, o *objects) error {
	for sid, s := range o.sessions {
		if !c.r.State().Open(sid) {
			continue // it was when it was listed
		}
		dead, host := o.now.Sub(s.last) > c.opts.Idle, ""
		if !dead && s.sign != "" {
			sign, err := c.r.LoadSign(ctx, s.sign)
			switch {
			case err == nil:
				dead, host = sign.Dead(), sign.Host
			case !errors.As(err, new(*repo.DamageError)) && !errors.Is(err, backends.ErrNotExist):
				return err
			} // otherwise there is no reason to think that it is dead
		}
		if dead {
			c.revoke = append(c.revoke, sid)
		} else {
			c.res.Open = append(c.res.Open, OpenSession{ID: sid, Host: host, Last: s.last, Idle: max(0, o.now.Sub(s.last))})
		}
	}
	slices.SortFunc(c.revoke, object.SessionID.Compare)
	slices.SortFunc(c.res.Open, func(a, b OpenSession) int { return a.ID.Compare(b.ID) })
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
