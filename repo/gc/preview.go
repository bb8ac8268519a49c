package gc

import (
	"context"
	"maps"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// preview fills in what a dry run would have done: the whole plan's entry, without what it would have stored, is
// folded for the sake of the garbage that it makes.
func (c *collector) preview(ctx context.Context) error {
	packs, written := c.plan.estimate()
	s := c.plan.all()
	ix := c.plan.ix
	s.outcome = s.summarise(ix, s.drop, written)
	s.bytes = written
	o := &s.outcome
	o.revoked, o.added, o.put = c.revoke, packs, written
	o.packsAfter += packs
	st := ix.State()
	_, signer := c.r.Keys().Signer()
	if len(c.assumed) > 0 {
		forget := &log.Entry{Kind: log.KindForget}
		for _, id := range slices.SortedFunc(maps.Keys(c.assumed), object.SessionID.Compare) {
			if s := st.Snapshots[id]; s != nil && s.Live() && !s.Pinned { // otherwise somebody has done it, or pinned it, since
				forget.Snapshots = append(forget.Snapshots, id)
			}
		}
		var err error
		if st, err = st.Apply(forget, signer, object.Hash{}); err != nil {
			return err
		}
	}
	e := &log.Entry{Kind: log.KindCollect, Session: c.sid, Revoke: c.revoke, Gone: c.gone(st)}
	o.gone = e.Gone
	e.Drop = slices.SortedFunc(maps.Keys(s.drop), object.Ref.Compare)
	var err error
	if e.Replace, err = c.staleIndex(ctx, ix, s.drop); err != nil {
		return err
	}
	o.replaced = len(e.Replace)
	if st, err = st.Apply(e, signer, object.Hash{}); err != nil {
		return err
	}
	c.res.add(s)
	c.res.BytesUnused += c.plan.unused
	for _, prefix := range garbagePrefixes {
		err := c.garbage(ctx, st, prefix, "", func(info backends.Info) bool {
			c.countDeleted(info.Name, info.Size)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}
