package gc

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// run makes entries as long as there is more of the plan. Each is a session of its own, and after each what
// it made garbage is deleted: what packs that were written again took is free before the next ones are. Other garbage,
// which has to be looked for, is deleted after the first and after the last.
func (c *collector) run(ctx context.Context) error {
	if err := c.r.Refresh(ctx); err != nil {
		return err
	}
	if err := c.r.Log().CheckTail(ctx); err != nil {
		return fmt.Errorf("gc: nothing was changed: %w", err)
	}
	for {
		if err := c.turn(ctx); err != nil {
			return err
		}
		if c.opts.DryRun {
			groups, err := c.r.Groups(ctx)
			c.countGroups(groups)
			return err
		}
		if c.late() && len(c.plan.repack) > 0 {
			c.res.Late = true
			c.plan.dropRepack()
		}
		if err := c.tidy(ctx); err != nil {
			if ctx.Err() == nil { // whoever may not delete can keep what is needed all the same
				err = errors.Join(err, c.extendLocks(ctx))
			}
			return err
		}
		if !c.plan.left() && !c.inSmallerSlices() {
			break
		}
	}
	c.res.BytesUnused += c.plan.unused
	return c.extendLocks(ctx)
}

// turn makes one entry, in a new session.
func (c *collector) turn(ctx context.Context) error {
	c.sid = object.NewSessionID(c.r.State().N)
	c.own[c.sid] = struct{}{}
	c.uploaded = false
	if !c.opts.DryRun {
		stop, err := c.signLife(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	for {
		before := c.r.State()
		older := c.plan != nil // made for an earlier entry: what it names may have been collected since
		err := c.attempt(ctx)
		if err == nil {
			c.revoke = nil
			return nil
		}
		c.plan = nil
		if full(err) && !c.frugal {
			// Dropping what is needed by nobody makes room without taking any. What was stored so far
			// becomes garbage by the entry.
			c.frugal = true
			continue
		}
		// What is missing may have been collected by another since: then the plan is outdated.
		if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, errMissing) {
			return err
		}
		if rerr := c.r.Refresh(ctx); rerr != nil {
			return rerr
		}
		if c.r.State() == before && !older {
			return err
		}
		if !c.r.State().Open(c.sid) {
			return ErrRevoked
		}
	}
}

// signEvery is how often a run gives a sign of life.
const signEvery = 5 * time.Minute

// signLife gives signs of life until stop is called. The first makes the store tell its time; by all of them other
// collectors see that this one lives. The later ones decide nothing, so that errors do not matter.
func (c *collector) signLife(ctx context.Context) (stop func(), err error) {
	sid := c.sid
	if err := c.r.PutSign(ctx, sid, 0, c.opts.Host); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(signEvery)
		defer tick.Stop()
		for k := uint32(1); ; k++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = c.r.PutSign(ctx, sid, k, c.opts.Host)
			}
		}
	}()
	return func() { cancel(); <-done }, nil
}

// full reports whether the store has no room. An entry that may yet appear is another matter: until it is known
// whether it has, there must be no other.
func full(err error) bool {
	if errors.Is(err, log.ErrOutcomeUnknown) {
		return false
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// attempt carries out the next slice of the plan, on the newest state known. Without a plan it makes one:
// only what is marked is kept from one plan to the next.
func (c *collector) attempt(ctx context.Context) error {
	if c.plan == nil {
		if err := c.makePlan(ctx); err != nil {
			return err
		}
	}
	if c.opts.DryRun {
		return c.preview(ctx)
	}
	if c.most == 0 {
		c.most, c.growing = sliceBytes, true
	}
	c.slice = c.plan.next(c.most)
	if err := c.carry(ctx); err != nil {
		return err
	}
	if err := c.commit(ctx); err != nil {
		return err
	}
	c.res.add(c.slice)
	if c.growing && len(c.slice.repack) > 0 {
		c.most = min(2*c.most, sliceSize(c.r.State().Packs))
	}
	return nil
}

// inSmallerSlices reports whether there is another try to write packs again for which there was no room: in slices that
// need less, now that what could be dropped is gone, and what was written in vain.
func (c *collector) inSmallerSlices() bool {
	if !c.frugal || c.most <= sliceBytes {
		return false
	}
	c.most, c.growing, c.frugal, c.plan = sliceBytes, false, false, nil
	return true
}

func (c *collector) makePlan(ctx context.Context) error {
	c.revoke, c.res.Open = nil, nil
	o, err := c.listSigns(ctx)
	if err != nil {
		return err
	}
	c.now = o.now
	if err := c.lookForgotten(ctx, c.r.State()); err != nil {
		return err
	}
	ix, err := c.mark(ctx)
	if err != nil {
		return err
	}
	if err := c.listObjects(ctx, ix, o); err != nil {
		return err
	}
	c.sizes = o.sizes
	if err := c.findDead(ctx, o); err != nil {
		return err
	}
	c.plan, err = c.choose(ctx, ix, o)
	return err
}

// tidy does what is to be done after an entry.
func (c *collector) tidy(ctx context.Context) error {
	c.res.Locked = Locked{} // what the last entry's turn met is met again
	err := c.keepGroups(ctx)
	if err != nil && !full(err) {
		return err
	}
	if derr := c.deleteGarbage(ctx, c.res.Entries > 1 && c.plan.left()); derr != nil || err == nil {
		return derr
	}
	// There was no room for new groups before, but may be now. They are made from what is left then.
	return c.keepGroups(ctx)
}
