package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Index finds blobs as of one state of the log. It is immutable and safe for concurrent use, and
// stays usable until its Repository is closed; what it says may be outdated by then.
type Index struct {
	state *log.State
	view  lookups
	packs []index.PackRef // by the view's pack numbers
	live  []bool          // likewise

	depths  depths
	origins sync.Map // number in the view → *seal.Origin: reading one costs more than a lookup

	verifying sync.Mutex // held while the view is verified
	verified  bool

	listing  sync.Mutex // held while segments are found out
	segments []IndexSegment
}

// Place is where a copy of a blob lies.
type Place struct {
	PackNo   uint32 // number of the pack in the Index that made the Place
	Pack     object.Ref
	PackSize int64
	Segment         // the segment that holds the blob
	Offset   uint32 // of the blob in the segment's plaintext
	Length   uint32 // of the blob
}

// Segment is the part of a pack that is fetched, decrypted and decoded as one.
type Segment struct {
	At      uint32 // offset in the pack
	Stored  uint32 // length there
	Plain   uint32 // length of the plaintext
	Coding  pack.Coding
	Ordinal uint64
	Origin  *seal.Origin

	Depth uint8       // these two as in local.Place
	Bases local.Bases // see LoadBases
}

// SegmentOf is a segment as a pack's directory has it.
func SegmentOf(origin *seal.Origin, seg *pack.Segment) Segment {
	return Segment{
		At: seg.Offset, Stored: seg.Stored, Plain: seg.Plain, Coding: seg.Coding, Ordinal: seg.Ordinal,
		Origin: origin, Depth: seg.Depth, Bases: local.JoinBases(seg.Bases),
	}
}

// Index returns the index of the newest state known, bringing the local index up to date. The first
// call after opening, or after others committed, reads index segments; later ones cost nothing.
func (r *Repository) Index(ctx context.Context) (*Index, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.log.State()
	if r.index != nil && r.index.state == st && r.index.view.Err() == nil {
		return r.index, nil
	}
	ix, err := r.makeIndex(ctx, st)
	for try := 1; errors.Is(err, local.ErrDamaged) && try < rebuilds; try++ {
		ix, err = r.makeIndex(ctx, st) // whose Sync replaces what was damaged
	}
	for errors.Is(err, backends.ErrNotExist) || errors.Is(err, ErrMoved) {
		// A collector may have replaced the segment since, or whoever has the index knows more of the log: look at it
		// again, as often as it moves.
		if rerr := r.log.Refresh(ctx); rerr != nil {
			return nil, rerr
		}
		newer := r.log.State()
		if newer == st {
			break
		}
		st = newer
		ix, err = r.makeIndex(ctx, st)
	}
	if err != nil {
		return nil, err
	}
	r.index = ix
	return ix, nil
}

// rebuilds is how often an index is made again in a row because the files of the last one were damaged.
const rebuilds = 4

// VerifiedIndex is Index with a local index that was read as a whole and compared with the hashes of what was
// written, which happens once for each Index; one that is damaged is made anew. Whoever is about to say
// that something is missing or damaged asks for it first: a flipped bit in a cache must not look like one
// in the repository.
func (r *Repository) VerifiedIndex(ctx context.Context) (*Index, error) {
	for try := 1; ; try++ {
		ix, err := r.Index(ctx)
		if err != nil {
			return nil, err
		}
		err = ix.verifyOnce(ctx)
		if err == nil {
			return ix, nil
		}
		if !errors.Is(err, local.ErrDamaged) || try == rebuilds {
			return nil, err
		}
	}
}

func (ix *Index) verifyOnce(ctx context.Context) error {
	ix.verifying.Lock()
	defer ix.verifying.Unlock()
	if ix.verified {
		return ix.view.Err()
	}
	err := ix.Verify(ctx)
	ix.verified = err == nil
	return err
}

func (r *Repository) makeIndex(ctx context.Context, st *log.State) (*Index, error) {
	if r.far != nil {
		return r.makeFarIndex(ctx, st)
	}
	db, err := local.Open(r.cache.indexDir())
	if err != nil {
		return nil, err
	}
	db.Size = func(ref object.Ref) (int64, bool) {
		size, ok := st.Index[ref]
		return size, ok
	}
	want := make([]object.Ref, 0, len(st.Index))
	for ref := range st.Index {
		want = append(want, ref)
	}
	view, err := db.Sync(ctx, want, r.LoadIndexSegment)
	if err != nil {
		return nil, err
	}
	ix := &Index{state: st}
	ix.packs, ix.live = make([]index.PackRef, 0, view.NumPacks()), make([]bool, 0, view.NumPacks())
	for p, err := range view.Packs(ctx) {
		if err != nil {
			return nil, errors.Join(err, view.Close())
		}
		ix.packs = append(ix.packs, p)
		ix.live = append(ix.live, st.Live(p.Ref))
	}
	if len(ix.packs) != view.NumPacks() {
		return nil, errors.Join(errors.New("repo: the local index does not list all of its packs"), view.Close())
	}
	ix.view = r.views.hold(view)
	return ix, nil
}

// LoadIndexSegment fetches and decodes an index segment.
func (r *Repository) LoadIndexSegment(ctx context.Context, ref object.Ref) (*index.Segment, error) {
	obj, err := r.store.Get(ctx, ref.Name(), 0, -1, nil)
	if errors.Is(err, backends.ErrNotExist) {
		return nil, &DamageError{Object: ref.Name(), Err: err}
	}
	if err != nil {
		return nil, err
	}
	// Any index segment opens under any name: the hash says that it is the one asked for.
	right := func(obj []byte) bool { return object.Sum(obj) == ref.Hash }
	if !right(obj) {
		if obj, _, err = parity.Mend(obj, 0, right); err != nil {
			return nil, &DamageError{Object: ref.Name(), Err: ErrHash}
		}
		r.mended.note(ref, nil)
	}
	body, _, _ := parity.Body(obj)
	seg, err := index.Decode(r.Keys(), body)
	if err != nil {
		return nil, &DamageError{Object: ref.Name(), Err: seal.AsWritten(err)}
	}
	return seg, nil
}

// State is the state of the log that the index was made for.
func (ix *Index) State() *log.State { return ix.state }

// NumPacks is the number of packs that the index knows, live or not. Their numbers are below it.
func (ix *Index) NumPacks() int { return len(ix.live) }

// Pack returns a pack by its number, and whether it is live.
func (ix *Index) Pack(n uint32) (index.PackRef, bool) { return ix.packs[n], ix.live[n] }

// Has reports whether a copy of the blob counts, and the number of its pack.
func (ix *Index) Has(id object.BlobID) (packNo uint32, ok bool) {
	p, ok := ix.find(id)
	return p.Pack, ok
}

// find returns the copy of least depth that counts.
func (ix *Index) find(id object.BlobID) (local.Place, bool) {
	var buf [8]local.Place
	deltas := false
	for _, p := range ix.lookUp(id, buf[:0]) {
		if ix.isLive(p) {
			if p.Depth == 0 {
				return p, true
			}
			deltas = true
		}
	}
	if !deltas {
		return local.Place{}, false
	}
	return newGround(ix, nil).find(id, anyDepth)
}

// isLive reports whether a place is in a live pack. One in a damaged file may have any number.
func (ix *Index) isLive(p local.Place) bool { return int(p.Pack) < len(ix.live) && ix.live[p.Pack] }

// Lookup returns a place of the blob that counts. Without one the error is a DamageError that
// wraps ErrNotFound; if it wraps local.ErrDamaged as well, VerifiedIndex may have one.
func (ix *Index) Lookup(id object.BlobID) (Place, error) {
	p, ok := ix.find(id)
	if !ok {
		return Place{}, ix.missing(id)
	}
	return ix.Place(p)
}

// missing is the error for a blob without a copy that counts.
func (ix *Index) missing(id object.BlobID) error {
	err := fmt.Errorf("no pack holds it: %w", ErrNotFound)
	var buf [8]local.Place
	if len(ix.Listed(id, buf[:0])) > 0 {
		err = fmt.Errorf("it is stored as a difference to a blob that no pack holds: %w", ErrNotFound)
	}
	if verr := ix.view.Err(); verr != nil { // a damaged cache file looks like a missing blob
		err = errors.Join(err, verr)
	}
	return &DamageError{Blob: id, Err: err}
}

// Places appends all copies of the blob that count to dst, the least deep first.
func (ix *Index) Places(id object.BlobID, dst []local.Place) []local.Place {
	return ix.counting(ix.Listed(id, dst))
}

// Listed appends all copies of the blob in live packs to dst, whether or not they count.
func (ix *Index) Listed(id object.BlobID, dst []local.Place) []local.Place {
	return slices.DeleteFunc(ix.lookUp(id, dst), func(p local.Place) bool { return !ix.isLive(p) })
}

// lookUp appends all places of the blob to dst. It is called for each file: through the interface dst would be memory to be
// allocated, since of a method that is not known the compiler must think that it keeps it.
func (ix *Index) lookUp(id object.BlobID, dst []local.Place) []local.Place {
	if near, ok := ix.view.(*view); ok {
		return near.Lookup(id, dst)
	}
	return append(dst, ix.view.Lookup(id, nil)...)
}

// placesBelow is Places of copies below a depth.
func (ix *Index) placesBelow(id object.BlobID, below uint8, dst []local.Place) []local.Place {
	return slices.DeleteFunc(ix.Places(id, dst), func(p local.Place) bool { return p.Depth >= below })
}

// counting keeps those copies of a blob in live packs that count, the least deep first.
func (ix *Index) counting(places []local.Place) []local.Place {
	if !slices.ContainsFunc(places, func(p local.Place) bool { return p.Depth > 0 }) {
		return places
	}
	g := newGround(ix, nil)
	places = slices.DeleteFunc(places, func(p local.Place) bool { return !g.counts(p) })
	slices.SortStableFunc(places, func(a, b local.Place) int { return cmp.Compare(a.Depth, b.Depth) })
	return places
}

// Lists reports whether the index has every blob of a segment where the pack's directory has it, and if
// not, the first that it lacks.
func (ix *Index) Lists(ref object.Ref, dir *pack.Directory, seg *pack.Segment) (missing object.BlobID, ok bool, err error) {
	var buf [8]local.Place
	offset := uint32(0)
	for i, id := range seg.IDs {
		found := false
		for _, p := range ix.Listed(id, buf[:0]) {
			if p.SegOffset != seg.Offset || p.Offset != offset || p.Length != seg.Lengths[i] ||
				p.Stored != seg.Stored || p.Plain != seg.Plain || p.Coding != seg.Coding || p.Ordinal != seg.Ordinal ||
				p.Depth != seg.Depth || p.ChainSum != seg.ChainSum || p.Bases != local.JoinBases(seg.Bases) ||
				ix.packs[p.Pack].Ref != ref {
				continue
			}
			origin, err := ix.origin(p.Origin)
			if err != nil {
				return id, false, err
			}
			if origin.Equal(dir.Origins[seg.Origin]) {
				found = true
				break
			}
		}
		if !found {
			return id, false, ix.view.Err()
		}
		offset += seg.Lengths[i]
	}
	return missing, true, nil
}

// Place completes a place that All or Places has. The error is a DamageError when the local index is damaged.
func (ix *Index) Place(p local.Place) (Place, error) {
	ref := ix.packs[p.Pack]
	origin, err := ix.origin(p.Origin)
	if errors.Is(err, local.ErrDamaged) || errors.Is(err, local.ErrNumber) {
		err = &DamageError{Object: ref.Ref.Name(), Err: err}
	}
	return Place{
		PackNo: p.Pack, Pack: ref.Ref, PackSize: ref.Size, Offset: p.Offset, Length: p.Length,
		Segment: Segment{
			At: p.SegOffset, Stored: p.Stored, Plain: p.Plain, Coding: p.Coding, Ordinal: p.Ordinal,
			Origin: origin, Depth: p.Depth, Bases: p.Bases,
		},
	}, err
}

func (ix *Index) origin(n uint32) (*seal.Origin, error) {
	if o, ok := ix.origins.Load(n); ok {
		return o.(*seal.Origin), nil
	}
	o, err := ix.view.Origin(n)
	if err == nil {
		ix.origins.Store(n, o)
	}
	return o, err
}

// Verify reads all of the local index and compares it with the hashes of what was written. Whoever
// concludes from an absence that something can go has to call it first: a flipped bit in a cache
// must not cost a pack.
func (ix *Index) Verify(ctx context.Context) error { return ix.view.Verify(ctx) }

// All yields every blob of which a copy counts, in ascending order of ids, with all copies that do. The places are
// valid until the next step. An error ends it.
func (ix *Index) All(ctx context.Context) iter.Seq2[local.Entry, error] {
	return func(yield func(local.Entry, error) bool) {
		for e, err := range ix.AllListed(ctx) {
			if err == nil {
				e.Places = ix.counting(e.Places)
			}
			if (len(e.Places) > 0 || err != nil) && !yield(e, err) {
				return
			}
		}
	}
}

// AllListed yields every blob that a live pack holds, in ascending order of ids, with all copies in live packs, whether or
// not they count. The places are valid until the next step. An error ends it.
func (ix *Index) AllListed(ctx context.Context) iter.Seq2[local.Entry, error] {
	return func(yield func(local.Entry, error) bool) {
		var live []local.Place
		for e, err := range ix.view.All(ctx) {
			if err != nil {
				yield(local.Entry{}, err)
				return
			}
			live = live[:0]
			for _, p := range e.Places {
				if ix.isLive(p) {
					live = append(live, p)
				}
			}
			if len(live) > 0 && !yield(local.Entry{ID: e.ID, Places: live}, nil) {
				return
			}
		}
	}
}

// IndexSegment is a valid index segment and what it lists.
type IndexSegment struct {
	Ref    object.Ref
	Copies uint64
	Packs  []uint32 // numbers of packs, live or not
}

// Segments returns the valid index segments. The first call goes through the whole index.
func (ix *Index) Segments(ctx context.Context) ([]IndexSegment, error) {
	ix.listing.Lock()
	defer ix.listing.Unlock()
	if ix.segments != nil {
		return ix.segments, nil
	}
	sources, err := ix.view.Sources(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]IndexSegment, 0, len(sources))
	for _, s := range sources {
		out = append(out, IndexSegment{Ref: s.Ref, Copies: s.Copies, Packs: s.Packs})
	}
	ix.segments = out
	return out, nil
}
