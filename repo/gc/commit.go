package gc

import (
	"context"
	"maps"
	"slices"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// commit adds the collect entry. On every retry the whole of the new state is looked at again.
func (c *collector) commit(ctx context.Context) error {
	c.ev.phase("committing")
	st, err := c.r.CommitReading(ctx, c.build)
	if err == nil && st.Closed(c.sid) {
		c.res.Entry = st.N
	}
	return err
}

func (c *collector) build(ctx context.Context, st *log.State) (*log.Entry, error) {
	if !st.Open(c.sid) {
		return nil, ErrRevoked
	}
	ix, err := c.mark(ctx) // of what is marked already nothing is read again
	if err != nil {
		return nil, err
	}
	if ix.State() != st {
		return nil, repo.ErrMoved
	}
	drop, add, err := c.rescue(ctx, ix)
	if err != nil {
		return nil, err
	}
	e := &log.Entry{Kind: log.KindCollect, Session: c.sid, Clock: clock.Now().UnixNano()}
	e.Drop = slices.SortedFunc(maps.Keys(drop), object.Ref.Compare)
	for _, p := range add {
		e.Add = append(e.Add, log.PackRef{Ref: p.ref, Size: p.size})
	}
	for _, id := range c.revoke {
		if st.Open(id) && id != c.sid {
			e.Revoke = append(e.Revoke, id)
		}
	}
	e.Gone = c.gone(st)
	if e.Replace, e.Index, err = c.replaceIndex(ctx, st, drop, add); err != nil {
		return nil, err
	}
	c.record(ix, drop, add, e)
	// An entry that changes nothing still closes the session, so that what an earlier try has uploaded
	// becomes garbage.
	if len(e.Drop)+len(e.Add)+len(e.Revoke)+len(e.Gone)+len(e.Replace) == 0 && !c.uploaded {
		return nil, nil
	}
	return e, nil
}

// rescue returns what is dropped and added on the index's state: of the plan's drops those that are
// live, but for packs that hold a copy of a needed blob that must stay (missed); and the plan's new packs
// unless nothing they were made from is dropped.
func (c *collector) rescue(ctx context.Context, ix *repo.Index) (map[object.Ref]struct{}, []*ownPack, error) {
	if err := ix.Verify(ctx); err != nil {
		return nil, nil, err
	}
	st := ix.State()
	drop := map[object.Ref]struct{}{}
	for ref := range c.plan.drop {
		if st.Live(ref) {
			drop[ref] = struct{}{}
		}
	}
	add := c.plan.added
	carried := c.plan.carried
	if !slices.ContainsFunc(c.plan.repack, func(k *candidate) bool { _, ok := drop[k.ref]; return ok }) {
		add, carried = nil, nil
	}
	for _, p := range add {
		if !st.Addable(p.ref) { // adopted by somebody, and dropped since
			add, carried = nil, nil
			break
		}
	}
	for e, err := range ix.All(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if len(drop) == 0 {
			break
		}
		for _, p := range c.missed(ix, e, drop, carried) {
			ref, _ := ix.Pack(p.Pack)
			delete(drop, ref.Ref)
		}
	}
	return drop, add, nil
}

// smallIndex is how many index segments with few blobs may lie around before they are merged.
const smallIndex = 8

// indexFacts is what the choice of index segments to replace needs to know of one. Segments are
// immutable, so it is read once in a run, however often the commit is tried.
type indexFacts struct {
	packs []object.Ref
	blobs int
}

func (c *collector) indexFacts(ctx context.Context, ref object.Ref) (*indexFacts, error) {
	if f, ok := c.facts[ref]; ok {
		return f, nil
	}
	seg, err := c.r.LoadIndexSegment(ctx, ref)
	if err != nil {
		return nil, err
	}
	f := &indexFacts{blobs: len(seg.Blobs)}
	for _, p := range seg.Packs {
		f.packs = append(f.packs, p.Ref)
	}
	c.facts[ref] = f
	return f, nil
}

// replacement is a set of index segments and what was stored in their place.
type replacement struct {
	replace []object.Ref
	drop    []object.Ref
	add     []*ownPack
	put     []log.PackRef
}

// staying tells which packs are live when those of drop are not.
func staying(st *log.State, drop map[object.Ref]struct{}) func(object.Ref) bool {
	return func(ref object.Ref) bool {
		_, dropped := drop[ref]
		return st.Live(ref) && !dropped
	}
}

// staleIndex chooses the index segments to replace: those that list packs which are not live after the
// entry, and small ones if there are many or others are written anyway.
func (c *collector) staleIndex(ctx context.Context, st *log.State, drop map[object.Ref]struct{}) ([]object.Ref, error) {
	live := staying(st, drop)
	var stale, small []object.Ref
	for _, ref := range slices.SortedFunc(maps.Keys(st.Index), object.Ref.Compare) {
		f, err := c.indexFacts(ctx, ref)
		if err != nil {
			return nil, err
		}
		switch {
		case slices.ContainsFunc(f.packs, func(p object.Ref) bool { return !live(p) }):
			stale = append(stale, ref)
		case f.blobs < index.MaxBlobs/4:
			small = append(small, ref)
		}
	}
	if len(small) > smallIndex || len(small) > 0 && len(stale) > 0 {
		stale = append(stale, small...)
	}
	return stale, nil
}

// replaceIndex stores index segments for the packs that are added, and in place of stale ones.
// Together with the ones that stay they list every copy in every live pack.
func (c *collector) replaceIndex(ctx context.Context, st *log.State, drop map[object.Ref]struct{}, add []*ownPack) ([]object.Ref, []log.PackRef, error) {
	stale, err := c.staleIndex(ctx, st, drop)
	if err != nil {
		return nil, nil, err
	}
	next := &replacement{replace: stale, drop: slices.SortedFunc(maps.Keys(drop), object.Ref.Compare), add: add}
	// What was merged for an earlier try is right for this one if it was made from the same segments
	// and leaves out the same packs.
	if last := c.replaced; last != nil && slices.Equal(last.replace, next.replace) && slices.Equal(last.drop, next.drop) && slices.Equal(last.add, next.add) {
		return last.replace, last.put, nil
	}
	if err := c.mergeIndex(ctx, next, staying(st, drop)); err != nil {
		return nil, nil, err
	}
	c.replaced = next
	return next.replace, next.put, nil
}

// mergeIndex stores the index segments of a replacement.
func (c *collector) mergeIndex(ctx context.Context, m *replacement, live func(object.Ref) bool) error {
	var seg index.Segment
	flush := func(room int) error {
		if len(seg.Blobs) == 0 || len(seg.Blobs)+room <= index.MaxBlobs {
			return nil
		}
		c.uploaded = true
		refs, err := c.r.PutIndex(ctx, c.sid, &seg)
		m.put = append(m.put, refs...)
		seg = index.Segment{}
		return err
	}
	for _, ref := range m.replace {
		old, err := c.r.LoadIndexSegment(ctx, ref)
		if err != nil {
			return err
		}
		if err := flush(len(old.Blobs)); err != nil {
			return err
		}
		if err := seg.Merge(old, live); err != nil {
			return err
		}
	}
	for _, p := range m.add {
		n := 0
		for i := range p.dir.Segments {
			n += len(p.dir.Segments[i].IDs)
		}
		if err := flush(n); err != nil {
			return err
		}
		if err := seg.AddPack(p.ref, p.size, p.dir); err != nil {
			return err
		}
	}
	return flush(index.MaxBlobs)
}

// record notes the numbers of the entry for the result.
func (c *collector) record(ix *repo.Index, drop map[object.Ref]struct{}, add []*ownPack, e *log.Entry) {
	var written int64
	for _, p := range add {
		written += p.size
	}
	c.summarise(ix, drop, written)
	c.res.PacksAdded = len(add)
	c.res.PacksAfter += len(add)
	c.res.Gone, c.res.Revoked = e.Gone, e.Revoke
	c.res.IndexReplaced, c.res.IndexAdded = len(e.Replace), len(e.Index)
}

// summarise fills in what dropping and writing that many bytes mean for the packs of a state.
func (c *collector) summarise(ix *repo.Index, drop map[object.Ref]struct{}, written int64) {
	st := ix.State()
	res := &c.res
	res.PacksBefore, res.BytesBefore, res.BytesAfter = len(st.Packs), 0, written
	res.PacksDropped, res.PacksRepacked = len(drop), 0
	for ref, p := range st.Packs {
		res.BytesBefore += p.Size
		if _, ok := drop[ref]; !ok {
			res.BytesAfter += p.Size
		}
	}
	for _, k := range c.plan.repack {
		if _, ok := drop[k.ref]; ok {
			res.PacksRepacked++
		}
	}
	res.PacksAfter = res.PacksBefore - len(drop)
}
