package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

var errMissing = errors.New("snapshots need it and it is missing; nothing was changed; kura check lists what is lost")

// plan is what a run wants to drop, made on one state.
type plan struct {
	ix      *repo.Index
	drop    map[object.Ref]struct{} // live packs
	repack  []*candidate            // those of drop that have live segments, which are carried
	added   []*ownPack              // where the segments went
	carried map[spot]struct{}       // the segments in added, where they came from
}

// candidate is a live pack and what is needed of it.
type candidate struct {
	ref   object.Ref
	size  int64
	added uint64           // entry that added it
	live  map[uint32]int64 // offset → stored length of the segments with a needed blob
	sole  bool             // whether one of these blobs has no other copy
}

func (c *candidate) needed() (n int64) {
	for _, stored := range c.live {
		n += stored
	}
	return n
}

func (c *candidate) unused() int64 { return c.size - c.needed() }

// small reports whether the pack is to be merged with others.
func (c *candidate) small() bool { return c.size < int64(target(c.ref.Class))/4 }

func target(class object.Class) int {
	if class == object.TreePack {
		return pack.TreeTarget
	}
	return pack.DataTarget
}

// choose decides which packs to drop: all dead ones, sparse ones until few enough unneeded bytes are
// left, and small ones if there are several to merge. Where there is no room for that only the dead ones go.
func (c *collector) choose(ctx context.Context, ix *repo.Index, objects *objects) (*plan, error) {
	c.ev.phase("choosing packs")
	packs, err := c.measure(ctx, ix)
	if err != nil {
		return nil, err
	}
	p := &plan{ix: ix, drop: map[object.Ref]struct{}{}, carried: map[spot]struct{}{}}
	var kept []*candidate
	var total, unused int64
	for _, k := range packs {
		if _, ok := c.unreadable[k.added]; ok {
			continue
		}
		if len(k.live) == 0 {
			p.drop[k.ref] = struct{}{}
			continue
		}
		size, there := objects.sizes[k.ref]
		if !there && !k.sole {
			continue // it is claimed to hold what others hold: left to check, and to repair
		}
		if !there {
			return nil, &repo.DamageError{Object: k.ref.Name(), Err: errMissing}
		}
		// The entry that added the pack says how large it is, and may say anything.
		if k.size = size; size > pack.MaxPackSize {
			return nil, &repo.DamageError{Object: k.ref.Name(), Err: fmt.Errorf("a pack of %d bytes", size)}
		}
		kept = append(kept, k)
		total += k.size
		unused += k.unused()
	}
	slices.SortFunc(kept, func(a, b *candidate) int { // the sparsest first
		return cmp.Or(cmp.Compare(float64(b.unused())/float64(b.size), float64(a.unused())/float64(a.size)), a.ref.Compare(b.ref))
	})
	small := map[object.Class]int{}
	for _, k := range kept {
		if k.small() {
			small[k.ref.Class]++
		}
	}
	for _, k := range kept {
		if c.frugal {
			break
		}
		sparse := float64(unused) > c.opts.MaxUnused*float64(total) && k.unused() > overhead(k)
		if sparse || k.small() && small[k.ref.Class] > 1 {
			p.drop[k.ref] = struct{}{}
			p.repack = append(p.repack, k)
			unused -= k.unused()
			total -= k.unused()
		}
	}
	if err := c.spareUnlisted(ctx, p); err != nil {
		return nil, err
	}
	c.res.BytesUnused = max(unused, 0)
	// Neighbours in time stay neighbours.
	slices.SortFunc(p.repack, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.ref.Class, b.ref.Class), cmp.Compare(a.added, b.added), a.ref.Compare(b.ref))
	})
	return p, nil
}

// overhead is how many bytes of a pack are needed by nobody though nothing in it is dead: header,
// directory, padding. Packs that have no more than that are not worth writing again.
func overhead(k *candidate) int64 {
	blobs := int64(0)
	for range k.live {
		blobs += 64 // a segment's line in the directory, at least
	}
	return 4096 + blobs + k.size/8
}

// measure says of every live pack which of its segments are needed; of a blob with rivals, which may be more
// than one. A live pack that no index segment lists is left alone: what is in
// it is not known here, and check reports it.
func (c *collector) measure(ctx context.Context, ix *repo.Index) ([]*candidate, error) {
	if err := ix.Verify(ctx); err != nil {
		return nil, err
	}
	st := ix.State()
	byNo := map[uint32]*candidate{}
	for n := range uint32(ix.NumPacks()) {
		ref, live := ix.Pack(n)
		if !live {
			continue
		}
		byNo[n] = &candidate{ref: ref.Ref, size: ref.Size, added: st.Packs[ref.Ref].Added, live: map[uint32]int64{}}
	}
	need := func(p local.Place) { byNo[p.Pack].live[p.SegOffset] = int64(p.Stored) }
	var needed []local.Place
	var several []rivals
	found, last := 0, uint64(0)     // needed data blobs in the index, by what marks keeps of their ids
	listed := map[uint32]struct{}{} // a pack can have a number from a segment that is valid no longer
	for e, err := range ix.All(ctx) {
		if err != nil {
			return nil, err
		}
		for _, p := range e.Places {
			listed[p.Pack] = struct{}{}
		}
		needed = needed[:0]
		for _, p := range e.Places {
			if c.marks.has(byNo[p.Pack].ref.Class, e.ID) {
				needed = append(needed, p)
			}
		}
		if at := prefix(e.ID); c.marks.has(object.DataPack, e.ID) && (found == 0 || at != last) {
			found, last = found+1, at
		}
		switch len(needed) {
		case 0:
		case 1:
			need(needed[0])
			byNo[needed[0].Pack].sole = true
		default:
			several = append(several, rivals{e.ID, slices.Clone(needed)})
		}
	}
	c.lacking = found < len(c.marks.data)
	if err := c.judge(ctx, ix, several); err != nil {
		return nil, err
	}
	for _, r := range several {
		for _, p := range c.verdicts.keep(ix, r.id, r.places) {
			need(p)
		}
	}
	var all []*candidate
	for n := range listed {
		all = append(all, byNo[n])
	}
	slices.SortFunc(all, func(a, b *candidate) int { return a.ref.Compare(b.ref) })
	return all, nil
}

// spareUnlisted takes packs out of the plan that hold, by their own directories, a needed blob which the index
// does not know. That the index lacks a needed blob means that it is lost, or that a list was lost, or
// was never true; then its pack must be there for repair to find. Without that, nothing is read.
func (c *collector) spareUnlisted(ctx context.Context, p *plan) error {
	if !c.lacking {
		return nil
	}
	for ref := range p.drop {
		dir, err := c.r.LoadDirectory(ctx, ref, p.ix.State().Packs[ref].Size)
		if err != nil && !errors.As(err, new(*repo.DamageError)) {
			return err
		}
		if err != nil || c.holdsUnlisted(p.ix, ref, dir) {
			delete(p.drop, ref)
		}
	}
	p.repack = slices.DeleteFunc(p.repack, func(k *candidate) bool { _, ok := p.drop[k.ref]; return !ok })
	return nil
}

func (c *collector) holdsUnlisted(ix *repo.Index, ref object.Ref, dir *pack.Directory) bool {
	for i := range dir.Segments {
		for _, id := range dir.Segments[i].IDs {
			if _, listed := ix.Has(id); !listed && c.marks.has(ref.Class, id) {
				return true
			}
		}
	}
	return false
}

// newPacks is how many packs carrying would fill, about.
func (p *plan) newPacks() (n int) {
	bytes := map[object.Class]int64{}
	for _, k := range p.repack {
		bytes[k.ref.Class] += k.needed()
	}
	for class, b := range bytes {
		size := int64(target(class))
		n += int((b + size - 1) / size)
	}
	return n
}

// estimate is how many bytes carrying would write.
func (p *plan) estimate() (n int64) {
	for _, k := range p.repack {
		n += k.needed()
	}
	return n
}
