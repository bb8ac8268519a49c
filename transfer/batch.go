package transfer

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// maxNeeds is how many blobs a batch has when it is fetched. One takes about 250 bytes of memory.
const maxNeeds = 64 << 10

// batch is what is to be fetched of the source next, by pack: so each of its segments is read once, but for those
// of which one batch needs some blobs, and another one others.
type batch struct {
	ix    *repo.Index
	packs map[object.Ref]*packPlan
	order []*packPlan                // as the blobs were met
	ids   map[object.BlobID]struct{} // of needs and lost
	lost  []object.BlobID            // without a place in ix
}

// packPlan is what is needed of a pack.
type packPlan struct {
	ref   object.Ref
	needs []need
}

// need is a blob, and where it is.
type need struct {
	id object.BlobID
	repo.Place
}

func newBatch() *batch {
	return &batch{packs: map[object.Ref]*packPlan{}, ids: map[object.BlobID]struct{}{}}
}

func (b *batch) full() bool { return len(b.ids) >= maxNeeds }

// add plans to fetch a blob, unless that is planned already.
func (b *batch) add(ctx context.Context, c *copier, id object.BlobID) (err error) {
	if _, ok := b.ids[id]; ok {
		return nil
	}
	if b.ix == nil {
		if b.ix, err = c.from.Index(ctx); err != nil {
			return err
		}
	}
	b.ids[id] = struct{}{}
	at, err := b.ix.Lookup(id)
	if errors.As(err, new(*repo.DamageError)) {
		b.lost = append(b.lost, id)
		return nil
	}
	if err != nil {
		return err
	}
	p := b.packs[at.Pack]
	if p == nil {
		p = &packPlan{ref: at.Pack}
		b.packs[at.Pack] = p
		b.order = append(b.order, p)
	}
	p.needs = append(p.needs, need{id, at})
	return nil
}

// fetch is a range of a pack, and what is needed of it, by segments and then by their offsets.
type fetch struct {
	pack   object.Ref
	from   int64
	length int64
	needs  []need
}

// fetches joins the segments that are needed to ranges.
func (b *batch) fetches(r repo.Reach) []fetch {
	var out []fetch
	for _, p := range b.order {
		slices.SortFunc(p.needs, func(a, b need) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Place.Offset, b.Place.Offset))
		})
		for i, n := range p.needs {
			from, end := int64(n.At), int64(n.At)+int64(n.Stored)
			if i > 0 {
				last := &out[len(out)-1]
				same := p.needs[i-1].At == n.At
				if same || r.Joins(last.from, last.length, &n.Segment) {
					last.length = max(last.length, end-last.from)
					last.needs = append(last.needs, n)
					continue
				}
			}
			out = append(out, fetch{pack: p.ref, from: from, length: end - from, needs: []need{n}})
		}
	}
	return out
}
