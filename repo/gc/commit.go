package gc

import (
	"context"
	"maps"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index/local"
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
		c.res.Entries++
		if c.slice.outcome.added > 0 {
			c.verdicts.follow(c.slice.carried)
		}
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
	if e.Replace, e.Index, err = c.replaceIndex(ctx, ix, drop); err != nil {
		return nil, err
	}
	if add != nil {
		e.Index = slices.Concat(e.Index, c.slice.list.put)
	}
	c.record(ix, drop, add, e)
	// An entry that changes nothing still closes the session, so that what an earlier try has uploaded
	// becomes garbage.
	if len(e.Drop)+len(e.Add)+len(e.Revoke)+len(e.Gone)+len(e.Replace) == 0 && !c.uploaded {
		return nil, nil
	}
	return e, nil
}

// rescue returns what is dropped and added on the index's state: of the slice's drops those that are
// live, but for packs that hold a copy of a needed blob that must stay (missed); and the slice's new packs
// unless nothing they were made from is dropped.
func (c *collector) rescue(ctx context.Context, ix *repo.Index) (map[object.Ref]struct{}, []*ownPack, error) {
	st := ix.State()
	drop := map[object.Ref]struct{}{}
	for ref := range c.slice.drop {
		if st.Live(ref) {
			drop[ref] = struct{}{}
		}
	}
	add := c.slice.added
	carried := c.slice.carried
	if !slices.ContainsFunc(c.slice.repack, func(k *candidate) bool { _, ok := drop[k.ref]; return ok }) {
		add, carried = nil, nil
	}
	for _, p := range add {
		if !st.Addable(p.ref) { // adopted by somebody, and dropped since
			add, carried = nil, nil
			break
		}
	}
	if len(drop) == 0 {
		return drop, add, nil
	}
	dropped := make([]bool, ix.NumPacks()) // by number: most blobs are in packs that stay
	for n := range dropped {
		ref, live := ix.Pack(uint32(n))
		_, dropped[n] = drop[ref.Ref]
		dropped[n] = dropped[n] && live
	}
	for e, err := range ix.AllListed(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(e.Places, func(p local.Place) bool { return dropped[p.Pack] }) {
			continue
		}
		for _, p := range c.missed(ix, e, dropped, carried) {
			ref, _ := ix.Pack(p.Pack)
			delete(drop, ref.Ref)
			dropped[p.Pack] = false
		}
	}
	return drop, add, nil
}

// record notes what the entry means for the result, and what it makes garbage.
func (c *collector) record(ix *repo.Index, drop map[object.Ref]struct{}, add []*ownPack, e *log.Entry) {
	var written int64
	for _, p := range add {
		written += p.size
	}
	o := c.slice.summarise(ix, drop, written)
	o.added = len(add)
	o.packsAfter += len(add)
	o.gone, o.revoked = e.Gone, e.Revoke
	st := ix.State()
	o.listed = len(e.Index)
	o.put = written
	for _, s := range e.Index {
		o.put += s.Size
	}
	for _, ref := range e.Replace {
		if _, own := c.own[ref.Session]; own {
			o.put -= st.Index[ref] // by an earlier entry of this run: countDeleted leaves out its own
		} else {
			o.replaced++
		}
	}
	c.slice.outcome = o

	c.slice.garbage = c.slice.garbage[:0]
	for _, ref := range e.Drop {
		c.slice.garbage = append(c.slice.garbage, backends.Info{Name: ref.Name(), Size: st.Packs[ref].Size})
	}
	for _, ref := range e.Replace {
		c.slice.garbage = append(c.slice.garbage, backends.Info{Name: ref.Name(), Size: st.Index[ref]})
	}
}

// summarise says what dropping and writing that many bytes mean for the packs of a state.
func (s *slice) summarise(ix *repo.Index, drop map[object.Ref]struct{}, written int64) (o outcome) {
	st := ix.State()
	o.packsBefore, o.bytesAfter, o.dropped = len(st.Packs), written, len(drop)
	for ref, p := range st.Packs {
		o.bytesBefore += p.Size
		if _, ok := drop[ref]; !ok {
			o.bytesAfter += p.Size
		}
	}
	for _, k := range s.repack {
		if _, ok := drop[k.ref]; ok {
			o.repacked++
		} else {
			o.unused += k.unused()
		}
	}
	o.packsAfter = o.packsBefore - len(drop)
	return o
}

// add takes in what an entry did.
func (r *Result) add(s *slice) {
	o := &s.outcome
	if r.PacksBefore == 0 && r.BytesBefore == 0 {
		r.PacksBefore, r.BytesBefore = o.packsBefore, o.bytesBefore
	}
	r.PacksAfter, r.BytesAfter = o.packsAfter, o.bytesAfter
	r.PacksDropped += o.dropped
	r.PacksRepacked += o.repacked
	r.PacksAdded += o.added
	r.BytesRepacked += s.bytes
	r.BytesAdded += o.put
	r.BytesUnused += o.unused
	r.Gone = append(r.Gone, o.gone...)
	r.Revoked = append(r.Revoked, o.revoked...)
	r.Damaged = append(r.Damaged, s.damaged...)
	r.IndexReplaced += o.replaced
	r.IndexAdded += o.listed
}
