package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

var errMissing = errors.New("snapshots need it and it is missing; nothing was changed; kura check lists what is lost")

// plan is what a run wants to drop, made on one state. It is carried out in slices, each of which is a
// session with an entry: what is committed is not lost when the run is cut off, and the next one goes on from
// there.
type plan struct {
	ix     *repo.Index
	dead   []object.Ref // live packs of which nothing is needed
	repack []*candidate // those of which something is, which is carried
	unused int64        // bytes that nobody needs in what stays
}

// candidate is a live pack and what is needed of it.
type candidate struct {
	ref    object.Ref
	size   int64
	added  uint64          // entry that added it
	needed int64           // stored bytes of segments
	listed int64           // bytes of the directory that these take
	live   map[uint32]part // of these, by offset; see collector.fill
	torn   bool            // whether lists are at odds about one of them
}

// part is what lists say of a needed segment.
type part struct {
	depth uint8
	bases local.Bases
}

// note notes a place of a needed blob.
func (c *candidate) note(p local.Place) {
	now := part{p.Depth, p.Bases}
	if was, ok := c.live[p.SegOffset]; ok && was != now {
		c.torn = true
	}
	c.live[p.SegOffset] = now
}

// unused is never negative: lists that claim more than fits into a pack must not hide what is unused in others.
func (c *candidate) unused() int64 { return max(0, c.size-c.needed-c.listed) }

// small reports whether the pack is to be merged with others.
func (c *candidate) small() bool { return c.size < int64(target(c.ref.Class))/4 }

func target(class object.Class) int {
	if class == object.TreePack {
		return pack.TreeTarget
	}
	return pack.DataTarget
}

// choose decides which packs to drop: all dead ones, sparse ones until few enough unneeded bytes are
// left, and small ones if there are several to merge.
func (c *collector) choose(ctx context.Context, ix *repo.Index, objects *objects) (*plan, error) {
	c.ev.phase("choosing packs")
	p := &plan{ix: ix}
	kept, total, err := c.candidates(ctx, p, objects)
	if err != nil {
		return nil, err
	}
	small := map[object.Class]int{}
	for i := range kept {
		if kept[i].small() {
			small[kept[i].ref.Class]++
		}
	}
	slices.SortFunc(kept, func(a, b candidate) int { // the sparsest first
		return cmp.Or(cmp.Compare(float64(b.unused())/float64(b.size), float64(a.unused())/float64(a.size)), a.ref.Compare(b.ref))
	})
	room := c.opts.MaxRepack - c.res.BytesRepacked
	for i := range kept {
		k := &kept[i]
		sparse := p.unused > c.opts.maxUnused(total) && k.unused() > overhead(k)
		if !sparse && (!k.small() || small[k.ref.Class] < 2) {
			continue
		}
		if c.frugal || c.opts.MaxRepack < 0 || c.opts.MaxRepack > 0 && k.needed > room {
			continue // a smaller one may do
		}
		room -= k.needed
		one := *k
		p.repack = append(p.repack, &one)
		p.unused -= k.unused()
		total -= k.unused()
	}
	if err := c.spareUnlisted(ctx, p); err != nil {
		return nil, err
	}
	p.unused = max(p.unused, 0)
	// Neighbours in time stay neighbours.
	slices.SortFunc(p.repack, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.ref.Class, b.ref.Class), cmp.Compare(a.added, b.added), a.ref.Compare(b.ref))
	})
	return p, nil
}

// maxUnused is how many bytes that nobody needs are left alone.
func (o *Options) maxUnused(total int64) int64 {
	switch {
	case o.MaxUnusedBytes > 0:
		return o.MaxUnusedBytes
	case o.MaxUnused < 0:
		return 0
	case o.MaxUnused >= 1:
		return total
	}
	return int64(o.MaxUnused * float64(total))
}

// candidates puts the dead packs into the plan, and returns the others that may be worth writing again, and the
// size of all others. Most are neither sparse nor small, and nothing of them is kept.
func (c *collector) candidates(ctx context.Context, p *plan, objects *objects) (kept []candidate, total int64, err error) {
	tallies, err := c.measure(ctx, p.ix)
	if err != nil {
		return nil, 0, err
	}
	for n := range tallies {
		t := &tallies[n]
		in, live := p.ix.Pack(uint32(n))
		if !live || !t.listed { // a pack can have a number from a segment that is valid no longer
			continue
		}
		added := p.ix.State().Packs[in.Ref].Added
		if _, ok := c.unreadable[added]; ok {
			continue
		}
		if t.segments == 0 {
			p.dead = append(p.dead, in.Ref)
			continue
		}
		size := objects.sizes[n]
		if (size < 0 || size > pack.MaxPackSize) && !t.sole {
			continue // it is claimed to hold what others hold: left to check, and to repair
		}
		if size < 0 {
			return nil, 0, &repo.DamageError{Object: in.Ref.Name(), Err: errMissing}
		}
		// The entry that added the pack says how large it is, and may say anything.
		if size > pack.MaxPackSize {
			return nil, 0, &repo.DamageError{Object: in.Ref.Name(), Err: fmt.Errorf("a pack of %d bytes", size)}
		}
		k := candidate{ref: in.Ref, size: size, added: added, needed: t.needed, listed: directoryBytes(t)}
		total += k.size
		p.unused += k.unused()
		if k.unused() > overhead(&k) || k.small() {
			kept = append(kept, k)
		}
	}
	slices.SortFunc(p.dead, object.Ref.Compare)
	return kept, total, nil
}

// directoryBytes is about what the directory has of a pack's needed segments and blobs.
func directoryBytes(t *tally) int64 { return 64*int64(t.segments) + 36*int64(t.blobs) }

// overhead is how many bytes of a pack are needed by nobody though nothing in it is dead: header,
// padding, parity. Packs that have no more than that are not worth writing again.
func overhead(k *candidate) int64 { return 4096 + k.size/8 }

// spareUnlisted takes packs out of the plan that hold, by their own directories, a needed blob which the index
// does not know. That the index lacks a needed blob means that it is lost, or that a list was lost, or
// was never true; then its pack must be there for repair to find. Without that, nothing is read.
func (c *collector) spareUnlisted(ctx context.Context, p *plan) error {
	if !c.lacking {
		return nil
	}
	var stays sync.Map // of object.Ref
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	look := func(ref object.Ref) {
		g.Go(func() error {
			dir, err := c.r.LoadDirectory(gctx, ref, p.ix.State().Packs[ref].Size)
			if err != nil && !errors.As(err, new(*repo.DamageError)) {
				return err
			}
			if err != nil || c.holdsUnlisted(p.ix, ref, dir) {
				stays.Store(ref, nil)
			}
			return nil
		})
	}
	for _, ref := range p.dead {
		look(ref)
	}
	for _, k := range p.repack {
		look(k.ref)
	}
	err := g.Wait()
	spared := func(ref object.Ref) bool { _, ok := stays.Load(ref); return ok }
	p.dead = slices.DeleteFunc(p.dead, spared)
	p.repack = slices.DeleteFunc(p.repack, func(k *candidate) bool { return spared(k.ref) })
	return err
}

func (c *collector) holdsUnlisted(ix *repo.Index, ref object.Ref, dir *pack.Directory) bool {
	var buf [8]local.Place
	for i := range dir.Segments {
		for _, id := range dir.Segments[i].IDs {
			if c.marks.has(ref.Class, id) && len(ix.Listed(id, buf[:0])) == 0 {
				return true
			}
		}
	}
	return false
}
