package check

import (
	"context"
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// loss says why a blob can not be read.
type loss struct {
	at   object.Ref    // the pack that it was in, or that what it is made of was in
	base object.BlobID // what that is; zero if it is the blob itself
}

// losses is one finding out of what is lost.
type losses struct {
	c        *checker
	ix       *repo.Index
	segments map[segmentAt]bool // whether they are what was written
	bases    map[baseAt]*loss   // nil for those that can be read
}

// segmentAt is a place in a pack, by the pack's number in the index.
type segmentAt struct{ pack, offset uint32 }

// baseAt asks for a copy of less than a depth.
type baseAt struct {
	id    object.BlobID
	below uint8
}

// findLost finds out which blobs of damaged data packs can not be read from anywhere, and which others are made of
// those, so that the walk through the trees can say which files that costs. What tree packs lost the walk finds by
// itself.
func (c *checker) findLost(ctx context.Context, ix *repo.Index) error {
	if ix == nil || !c.dataDamaged() {
		return nil
	}
	l := losses{c, ix, map[segmentAt]bool{}, map[baseAt]*loss{}}
	for e, err := range ix.All(ctx) {
		if err != nil {
			return err
		}
		lost, err := l.of(ctx, e.Places)
		if err != nil {
			return err
		}
		if lost != nil {
			c.lost[e.ID] = lost
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

// of returns why a blob can not be read that has these copies, or nil if it can be.
func (l *losses) of(ctx context.Context, places []local.Place) (lost *loss, err error) {
	for _, p := range places {
		if lost, err = l.copy(ctx, p); lost == nil || err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// copy is of for one copy.
func (l *losses) copy(ctx context.Context, p local.Place) (*loss, error) {
	ref, _ := l.ix.Pack(p.Pack)
	if _, bad := l.c.damaged[ref.Ref]; bad && ref.Ref.Class == object.DataPack { // tree packs: see findLost
		whole, err := l.whole(ctx, p)
		if err != nil || !whole {
			return &loss{at: ref.Ref}, err
		}
	}
	for i := range p.Bases.Len() {
		lost, err := l.base(ctx, baseAt{p.Bases.At(i), p.Depth})
		if err != nil || lost != nil {
			return lost, err
		}
	}
	return nil, nil
}

// base is of for what a delta is made of.
func (l *losses) base(ctx context.Context, b baseAt) (*loss, error) {
	if lost, known := l.bases[b]; known {
		return lost, nil
	}
	places := slices.DeleteFunc(l.ix.Places(b.id, nil), func(p local.Place) bool { return p.Depth >= b.below })
	lost, err := l.of(ctx, places)
	if lost != nil && lost.base.IsZero() {
		lost = &loss{lost.at, b.id}
	}
	l.bases[b] = lost
	return lost, err
}

// whole reports whether the segment at a place can be read, but for its bases. Without the key that reads it nobody can
// tell one that is whole from one that is not, and none counts.
func (l *losses) whole(ctx context.Context, at local.Place) (bool, error) {
	key := segmentAt{at.Pack, at.SegOffset}
	if whole, known := l.segments[key]; known {
		return whole, nil
	}
	c := l.c
	p, err := l.ix.Place(at)
	if err != nil {
		return false, err
	}
	if !c.r.Keys().CanRead(kindOf(p.Pack.Class)) {
		return false, nil
	}
	ct, err := c.r.FetchRange(ctx, p.Pack, int64(p.At), int64(p.Stored), nil)
	if err == nil {
		// Without ids: the tag shows that it is what was written.
		err = c.r.VerifySegment(ctx, nil, p.Pack, &p.Segment, nil, nil, ct)
	}
	if err != nil && !isDamage(ctx, err) {
		return false, err
	}
	l.segments[key] = err == nil
	return err == nil, nil
}
