package gc

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// A writer's entry may name an index segment that lists packs of others, and lists in them what they do
// not hold. Nobody loses anything by that as long as a true copy stays; but a copy that exists only on
// such a list must not be the reason why the true one goes. So before a pack is dropped because of
// copies that other packs have, the directories of those are read: they are part of the packs.

// vouchers says of the packs that hold copies of what needed blobs have in dropped packs whether the
// index lists exactly what their directories do. Only those count as holding a copy.
func (c *collector) vouchers(ctx context.Context, ix *repo.Index, drop map[object.Ref]struct{}, carried map[object.BlobID]struct{}) (map[uint32]bool, error) {
	vouch := map[uint32]bool{}
	if len(drop) == 0 {
		return vouch, nil
	}
	listed := make([]int, ix.NumPacks()) // places in each pack
	for e, err := range ix.All(ctx) {
		if err != nil {
			return nil, err
		}
		for _, p := range e.Places {
			listed[p.Pack]++
		}
		if _, ok := carried[e.ID]; ok {
			continue
		}
		kept, dropped := c.split(ix, e, drop)
		if len(dropped) == 0 {
			continue
		}
		for _, p := range kept {
			vouch[p.Pack] = false
		}
	}
	for n := range vouch {
		ok, err := c.listedTruly(ctx, ix, n, listed[n])
		if err != nil {
			return nil, err
		}
		vouch[n] = ok
	}
	return vouch, nil
}

// split tells the places of a needed blob in packs that stay from those in packs that are dropped. A blob
// that nobody needs has neither.
func (c *collector) split(ix *repo.Index, e local.Entry, drop map[object.Ref]struct{}) (kept, dropped []local.Place) {
	for _, p := range e.Places {
		ref, _ := ix.Pack(p.Pack)
		if !c.marks.has(ref.Ref.Class, e.ID) {
			continue
		}
		if _, ok := drop[ref.Ref]; ok {
			dropped = append(dropped, p)
		} else {
			kept = append(kept, p)
		}
	}
	return kept, dropped
}

// listedTruly reports whether the index, which has so many places in the pack, has those that the pack's
// directory has and no others.
func (c *collector) listedTruly(ctx context.Context, ix *repo.Index, n uint32, places int) (bool, error) {
	ref, _ := ix.Pack(n)
	if c.truly[ref.Ref] == places && places > 0 {
		return true, nil
	}
	size, seen := c.plan.sizes[ref.Ref]
	if !seen { // put since
		size = ix.State().Packs[ref.Ref].Size
	}
	dir, err := c.r.LoadDirectory(ctx, ref.Ref, size)
	if damaged := (*repo.DamageError)(nil); errors.As(err, &damaged) {
		return false, nil // what is damaged vouches for nothing
	}
	if err != nil {
		return false, err
	}
	blobs := 0
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		blobs += len(seg.IDs)
		if _, ok, err := ix.Lists(ref.Ref, dir, seg); !ok || err != nil {
			return false, err
		}
	}
	if blobs != places {
		return false, nil
	}
	c.truly[ref.Ref] = places
	return true, nil
}
