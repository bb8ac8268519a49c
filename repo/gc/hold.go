package gc

import (
	"context"
	"slices"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// gone lists the snapshots of a state that go: those that are forgotten and do not stay.
func (c *collector) gone(st *log.State) (out []object.SessionID) {
	for id, s := range st.Snapshots {
		if !s.Live() && !c.stays(s) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, object.SessionID.Compare)
	return out
}

// stays reports whether the blobs of a snapshot are needed: it is live, or it was forgotten so recently
// that it is held. Without a time of forgetting, because that came after this run had looked, it was
// recent.
func (c *collector) stays(s *log.Snapshot) bool {
	if _, assumed := c.assumed[s.ID]; assumed {
		return c.opts.Hold > 0 && !c.weighing
	}
	if s.Live() {
		return true
	}
	if c.opts.Hold <= 0 {
		return false
	}
	at, ok := c.forgotten[s.Forgotten]
	return !ok || c.now.Sub(at) < c.opts.Hold
}

// lookForgotten finds out when the snapshots that are forgotten were, by the store's clock.
func (c *collector) lookForgotten(ctx context.Context, st *log.State) (err error) {
	c.forgotten = map[uint64]time.Time{}
	first := uint64(0)
	for _, s := range st.Snapshots {
		if !s.Live() && (first == 0 || s.Forgotten < first) {
			first = s.Forgotten
		}
	}
	if c.opts.Hold <= 0 || first == 0 {
		return nil
	}
	c.forgotten, err = c.r.EntryTimes(ctx, first)
	if c.opts.DryRun {
		for _, at := range c.forgotten {
			if at.After(c.now) { // it is at least as late as that
				c.now = at
			}
		}
	}
	return err
}

// heldUntil is until when a snapshot is held, as far as this run knows.
func (c *collector) heldUntil(s *log.Snapshot) time.Time {
	if at, ok := c.forgotten[s.Forgotten]; ok && !s.Live() {
		return at.Add(c.opts.Hold)
	}
	return c.now.Add(c.opts.Hold)
}
