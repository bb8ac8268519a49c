package repair

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// ownPack is a pack that this run has stored.
type ownPack struct {
	ref  object.Ref
	size int64
	dir  *pack.Directory
}

// writer makes the one collect entry of a run. What is dropped and added is decided by the caller; the index
// segments that the entry replaces and adds follow from that and from the state.
type writer struct {
	r       *repo.Repository
	sid     object.SessionID
	ev      *Events
	all     bool // list all packs anew
	drop    map[object.Ref]struct{}
	add     []*ownPack
	facts   map[object.Ref]*facts
	last    *rebuilt
	entry   uint64
	refused []object.Ref // packs that no index segment lists and whose directories can not be read
}

// rebuilt is a change of the index, and what was stored for it.
type rebuilt struct {
	bad     []object.Ref // segments that can not be used, or only with the help of their parity
	replace []object.Ref // bad among them
	list    []object.Ref // live packs whose directories are read
	drop    []object.Ref
	put     []log.PackRef
	unread  []object.Ref // of list, those that could not be read
	newer   []object.Ref // and those that are not understood
}

func (b *rebuilt) same(o *rebuilt) bool {
	return slices.Equal(b.replace, o.replace) && slices.Equal(b.list, o.list) && slices.Equal(b.drop, o.drop)
}

func newWriter(r *repo.Repository, ev *Events) *writer {
	return &writer{
		r: r, sid: object.NewSessionID(r.State().N), ev: ev,
		drop: map[object.Ref]struct{}{}, facts: map[object.Ref]*facts{},
	}
}

// commit adds the entry. On every retry the whole of the new state is looked at again.
func (w *writer) commit(ctx context.Context) error {
	st, err := w.r.CommitReading(ctx, w.build)
	if err == nil && st.Closed(w.sid) {
		w.entry = st.N
	}
	return err
}

func (w *writer) build(ctx context.Context, st *log.State) (*log.Entry, error) {
	if !st.Open(w.sid) {
		return nil, ErrRevoked
	}
	e := &log.Entry{Kind: log.KindCollect, Session: w.sid, Clock: clock.Now().UnixNano()}
	for _, p := range w.add {
		if !st.Addable(p.ref) { // adopted by somebody, and dropped since
			return nil, ErrRevoked
		}
		e.Add = append(e.Add, log.PackRef{Ref: p.ref, Size: p.size})
	}
	b, err := w.plan(ctx, st)
	if err != nil {
		return nil, err
	}
	e.Drop = b.drop
	if len(e.Drop)+len(e.Add)+len(b.replace)+len(b.list) == 0 {
		return nil, nil
	}
	// What an earlier try has stored is right for this one if it was made for the same change.
	if w.last == nil || !w.last.same(b) {
		if err := w.rebuild(ctx, st, b); err != nil {
			return nil, err
		}
		w.last = b
	}
	e.Replace, e.Index = w.last.replace, w.last.put
	w.refused = w.last.unread
	if len(e.Drop)+len(e.Add)+len(e.Replace)+len(e.Index) == 0 {
		return nil, nil
	}
	return e, nil
}

// live reports whether a pack is live after the entry, and was before it.
func (w *writer) live(st *log.State, ref object.Ref) bool {
	_, dropped := w.drop[ref]
	return st.Live(ref) && !dropped
}

// plan decides which index segments go, and which packs are listed anew from their directories: if segments are
// lost, those that the others do not list from beginning to end.
func (w *writer) plan(ctx context.Context, st *log.State) (*rebuilt, error) {
	b := &rebuilt{}
	listed := map[object.Ref]struct{}{}
	lost := false
	segments := slices.SortedFunc(maps.Keys(st.Index), object.Ref.Compare)
	for i, ref := range segments {
		w.ev.step(i, len(segments))
		f, err := w.factsOf(ctx, ref)
		if err != nil {
			return nil, err
		}
		stale := f.bad != nil || f.mended || w.all
		for p, c := range f.packs {
			stale = stale || !w.live(st, p)
			if c.whole() {
				listed[p] = struct{}{}
			}
		}
		lost = lost || f.bad != nil
		if f.bad != nil || f.mended {
			b.bad = append(b.bad, ref)
		}
		if stale {
			b.replace = append(b.replace, ref)
		}
	}
	for ref := range st.Packs {
		_, known := listed[ref]
		if w.live(st, ref) && (w.all || lost && !known) {
			b.list = append(b.list, ref)
		}
		if _, dropped := w.drop[ref]; dropped {
			b.drop = append(b.drop, ref)
		}
	}
	slices.SortFunc(b.list, object.Ref.Compare)
	slices.SortFunc(b.drop, object.Ref.Compare)
	return b, nil
}

// rebuild stores the index segments of a change: what the directories of its packs say, and what the segments
// that go say of the other packs that stay. Together with the segments that stay they list every copy in every
// live pack whose directory can be read or which was listed before.
func (w *writer) rebuild(ctx context.Context, st *log.State, b *rebuilt) error {
	out := &indexWriter{w: w}
	for _, p := range w.add {
		if err := out.add(ctx, p); err != nil {
			return err
		}
	}
	read := map[object.Ref]struct{}{}
	for i, ref := range b.list {
		w.ev.step(i, len(b.list))
		size := st.Packs[ref].Size
		dir, err := directory(ctx, w.r, ref, size)
		if err != nil && !isDamage(ctx, err) {
			return err
		}
		if errors.Is(err, wire.ErrNewer) {
			b.newer = append(b.newer, ref)
			continue
		}
		if err != nil {
			b.unread = append(b.unread, ref)
			continue
		}
		read[ref] = struct{}{}
		if err := out.add(ctx, &ownPack{ref, size, dir}); err != nil {
			return err
		}
	}
	keep := func(ref object.Ref) bool {
		_, again := read[ref]
		return w.live(st, ref) && !again
	}
	for _, ref := range b.replace {
		if w.facts[ref].bad != nil {
			continue
		}
		old, err := w.r.LoadIndexSegment(ctx, ref)
		if err != nil {
			return err
		}
		if err := out.merge(ctx, old, keep); err != nil {
			return err
		}
	}
	if err := out.flush(ctx, index.MaxBlobs); err != nil {
		return err
	}
	b.put = out.put
	return nil
}

// indexWriter fills index segments.
type indexWriter struct {
	w   *writer
	seg index.Segment
	put []log.PackRef
}

func (o *indexWriter) add(ctx context.Context, p *ownPack) error {
	n := 0
	for i := range p.dir.Segments {
		n += len(p.dir.Segments[i].IDs)
	}
	if err := o.flush(ctx, n); err != nil {
		return err
	}
	return o.seg.AddPack(p.ref, p.size, p.dir)
}

func (o *indexWriter) merge(ctx context.Context, old *index.Segment, keep func(object.Ref) bool) error {
	if err := o.flush(ctx, len(old.Blobs)); err != nil {
		return err
	}
	return o.seg.Merge(old, keep)
}

// flush stores what there is if there is no room for so many blobs more.
func (o *indexWriter) flush(ctx context.Context, room int) error {
	if len(o.seg.Blobs) == 0 || len(o.seg.Blobs)+room <= index.MaxBlobs {
		return nil
	}
	refs, err := o.w.r.PutIndex(ctx, o.w.sid, &o.seg)
	o.put = append(o.put, refs...)
	o.seg = index.Segment{}
	return err
}
