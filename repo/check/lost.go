package check

import (
	"context"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// findLost finds out which blobs of damaged data packs can not be read from anywhere, so that the walk through
// the trees can say which files that costs. What tree packs lost the walk finds by itself.
func (c *checker) findLost(ctx context.Context, ix *repo.Index) error {
	if ix == nil || !c.dataDamaged() {
		return nil
	}
	segments := map[segmentAt]bool{} // whether they decode
	for e, err := range ix.All(ctx) {
		if err != nil {
			return err
		}
		at, lost, err := c.isLost(ctx, ix, e, segments)
		if err != nil {
			return err
		}
		if lost {
			c.lost[e.ID] = at
		}
	}
	return nil
}

func (c *checker) dataDamaged() bool {
	for ref := range c.damaged {
		if ref.Class == object.DataPack {
			return true
		}
	}
	return false
}

// segmentAt is a place in a pack, by the pack's number in the index.
type segmentAt struct{ pack, offset uint32 }

// isLost reports whether a blob that the index lists can not be read, and names a pack that should have it.
func (c *checker) isLost(ctx context.Context, ix *repo.Index, e local.Entry, segments map[segmentAt]bool) (at object.Ref, lost bool, err error) {
	for _, p := range e.Places {
		ref, _ := ix.Pack(p.Pack)
		if _, bad := c.damaged[ref.Ref]; !bad || ref.Ref.Class != object.DataPack {
			return at, false, nil // tree packs: see findLost
		}
		at = ref.Ref
	}
	for _, p := range e.Places {
		key := segmentAt{p.Pack, p.SegOffset}
		whole, known := segments[key]
		if !known {
			if whole, err = c.decodes(ctx, ix, p); err != nil {
				return at, false, err
			}
			segments[key] = whole
		}
		if whole {
			return at, false, nil
		}
	}
	return at, true, nil
}

// decodes reports whether the segment at a place can be read. Without the key that reads it nobody can tell
// one that is whole from one that is not, and none counts.
func (c *checker) decodes(ctx context.Context, ix *repo.Index, at local.Place) (bool, error) {
	p, err := ix.Place(at)
	if err != nil {
		return false, err
	}
	if !c.r.Keys().CanRead(kindOf(p.Pack.Class)) {
		return false, nil
	}
	ct, err := c.r.FetchRange(ctx, p.Pack, int64(p.At), int64(p.Stored), nil)
	if err == nil {
		// Without ids: the tag shows that it is what was written.
		err = c.r.VerifySegment(p.Pack, &p.Segment, nil, nil, ct)
	}
	if err != nil && !isDamage(ctx, err) {
		return false, err
	}
	return err == nil, nil
}
