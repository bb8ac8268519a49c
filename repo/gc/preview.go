package gc

import (
	"context"
	"maps"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// preview fills in what a dry run would have done: the plan's entry, without what it would have stored, is
// folded for the sake of the garbage that it makes.
func (c *collector) preview(ctx context.Context, ix *repo.Index) error {
	written := c.plan.estimate()
	c.summarise(ix, c.plan.drop, written)
	c.res.BytesRepacked, c.res.Revoked = written, c.revoke
	c.res.PacksAdded = c.plan.newPacks()
	c.res.PacksAfter += c.res.PacksAdded
	st := ix.State()
	_, signer := c.r.Keys().Signer()
	if len(c.assumed) > 0 {
		forget := &log.Entry{Kind: log.KindForget, Snapshots: slices.SortedFunc(maps.Keys(c.assumed), object.SessionID.Compare)}
		var err error
		if st, err = st.Apply(forget, signer, object.Hash{}); err != nil {
			return err
		}
	}
	e := &log.Entry{Kind: log.KindCollect, Session: c.sid, Revoke: c.revoke, Gone: c.gone(st)}
	c.res.Gone = e.Gone
	e.Drop = slices.SortedFunc(maps.Keys(c.plan.drop), object.Ref.Compare)
	var err error
	if e.Replace, err = c.staleIndex(ctx, st, c.plan.drop); err != nil {
		return err
	}
	c.res.IndexReplaced = len(e.Replace)
	if st, err = st.Apply(e, signer, object.Hash{}); err != nil {
		return err
	}
	garbage, err := c.garbage(ctx, st)
	if err != nil {
		return err
	}
	c.countGarbage(garbage)
	return nil
}
