package gc

import (
	"cmp"
	"context"
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// tally is what is needed of a pack. There is one for each pack that the index knows.
type tally struct {
	needed   int64 // stored bytes of the segments with a needed blob
	segments int32 // how many these are
	blobs    int32 // needed ones
	listed   bool  // whether there is any blob of it in the index
	sole     bool  // whether one of the needed blobs has no other copy, and is lost without it
}

// maxRivals is how many blobs with several copies a run looks into. Of more it keeps all copies, and later runs
// go on from there.
const maxRivals = 1 << 16

// measure says of every live pack how much of it is needed; of a blob with rivals, which may be more than
// one copy. A live pack that no index segment lists is left alone: what is in it is not known here, and
// check reports it.
func (c *collector) measure(ctx context.Context, ix *repo.Index) ([]tally, error) {
	m := meter{ix: ix, tallies: make([]tally, ix.NumPacks()), shared: map[uint64]struct{}{}}
	var needed []local.Place
	var several []rivals
	found, last := 0, uint64(0) // needed data blobs in the index, by what marks keeps of their ids
	for e, err := range ix.AllListed(ctx) {
		if err != nil {
			return nil, err
		}
		for _, p := range e.Places {
			m.tallies[p.Pack].listed = true
		}
		at := prefix(e.ID)
		vital := c.marks.data.has(at)
		if vital && (found == 0 || at != last) {
			found, last = found+1, at
		}
		needed = c.needed(ix, e, needed[:0])
		switch {
		case len(needed) == 1:
			m.need(needed[0])
			ref, _ := ix.Pack(needed[0].Pack)
			if vital || ref.Ref.Class == object.TreePack {
				m.tallies[needed[0].Pack].sole = true
			}
		case len(needed) > 1 && len(several) < c.maxRivals:
			several = append(several, rivals{e.ID, slices.Clone(needed)})
		default:
			for _, p := range needed {
				m.need(p)
			}
		}
	}
	c.lacking = found < c.marks.data.len()
	if err := c.judge(ctx, ix, several); err != nil {
		return nil, err
	}
	for _, r := range several {
		for _, p := range c.verdicts.keep(ix, r.id, r.places) {
			m.need(p)
		}
	}
	return m.tallies, nil
}

// needed appends the places of a blob that is needed to dst.
func (c *collector) needed(ix *repo.Index, e local.Entry, dst []local.Place) []local.Place {
	for _, p := range e.Places {
		if ref, _ := ix.Pack(p.Pack); c.marks.has(ref.Ref.Class, e.ID) {
			dst = append(dst, p)
		}
	}
	return dst
}

// meter adds up what is needed of packs. A segment counts once: those that may have several blobs are
// remembered.
type meter struct {
	ix      *repo.Index
	tallies []tally
	shared  map[uint64]struct{} // number of the pack, offset of the segment
}

func (m *meter) need(p local.Place) {
	t := &m.tallies[p.Pack]
	t.blobs++
	if p.Offset != 0 || p.Length != p.Plain {
		key := uint64(p.Pack)<<32 | uint64(p.SegOffset)
		if _, counted := m.shared[key]; counted {
			return
		}
		m.shared[key] = struct{}{}
	}
	t.needed += int64(p.Stored)
	t.segments++
}

// fill finds the segments of the candidates that are needed.
func (c *collector) fill(ctx context.Context, ix *repo.Index, repack []*candidate) error {
	byRef := make(map[object.Ref]*candidate, len(repack))
	for _, k := range repack {
		k.live = map[uint32]part{}
		byRef[k.ref] = k
	}
	byNo := make(map[uint32]*candidate, len(repack))
	for n := range uint32(ix.NumPacks()) {
		if ref, live := ix.Pack(n); live && byRef[ref.Ref] != nil {
			byNo[n] = byRef[ref.Ref]
		}
	}
	var needed []local.Place
	for e, err := range ix.AllListed(ctx) {
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(e.Places, func(p local.Place) bool { return byNo[p.Pack] != nil }) {
			continue
		}
		if needed = c.needed(ix, e, needed[:0]); len(needed) > 1 {
			needed = c.verdicts.keep(ix, e.ID, needed)
		}
		for _, p := range needed {
			if k := byNo[p.Pack]; k != nil {
				k.note(p)
			}
		}
	}
	return nil
}

// packFinder finds the numbers of an index's live packs.
type packFinder struct {
	ix     *repo.Index
	sorted []uint32 // numbers, by the packs' names
}

func newPackFinder(ix *repo.Index) *packFinder {
	f := &packFinder{ix: ix}
	for n := range uint32(ix.NumPacks()) {
		if _, live := ix.Pack(n); live {
			f.sorted = append(f.sorted, n)
		}
	}
	slices.SortFunc(f.sorted, func(a, b uint32) int { return f.compare(a, b) })
	return f
}

func (f *packFinder) compare(a, b uint32) int {
	x, _ := f.ix.Pack(a)
	y, _ := f.ix.Pack(b)
	return cmp.Or(x.Ref.Compare(y.Ref), cmp.Compare(a, b))
}

func (f *packFinder) find(ref object.Ref) (no uint32, ok bool) {
	i, ok := slices.BinarySearchFunc(f.sorted, ref, func(n uint32, ref object.Ref) int {
		p, _ := f.ix.Pack(n)
		return p.Ref.Compare(ref)
	})
	if !ok {
		return 0, false
	}
	return f.sorted[i], true
}
