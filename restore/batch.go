package restore

import (
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// A batch is closed when it has this many entries, blobs to write, bytes, or large attributes. The first ones are smaller, so that
// fetching begins soon. A blob to write takes about 90 bytes of memory and a file 250, and at most three batches
// exist at a time.
const (
	firstEntries = 2 << 10
	maxEntries   = 24 << 10
	maxNeeds     = 64 << 10
	maxBytes     = 4 << 30
	maxMemory    = 8 << 20
)

// batch is a part of the plan: what is to be written, and from where.
type batch struct {
	ix       *repo.Index
	packs    []*packPlan // in the order in which the files need them
	byPack   map[packKey]*packPlan
	segments map[segmentKey]*segment

	unresolved []need // blobs that ix does not have
	lost       []need // blobs of which all places were tried

	checks []*check // files that may be in the target already
	spans  []span   // of files that are written in pieces

	deltas []*segment // those with blobs for files, in the order in which the files need them
	bases  int        // what all planned deltas need, counted for each

	empty  []*file // files without data
	others []*other
	links  []*link

	entries, needs int
	bytes          int64
	memory         int64 // of extended attributes and such
}

// segmentKey is all that is said of a segment, and whether its pack is to be read as a whole. Lists may say different
// things of one: somebody may claim that a blob lies in it which does not, and that must not cost those that do; and a
// delta has only bases of less depth.
type segmentKey struct {
	packKey
	at, stored, plain uint32
	coding            pack.Coding
	depth             uint8
	ordinal           uint64
	origin            *seal.Origin
	bases             local.Bases
}

// packKey is a pack, and whether it is to be read as a whole.
type packKey struct {
	pack  uint32
	whole bool
}

// packPlan is what is needed of a pack.
type packPlan struct {
	ref      object.Ref
	size     int64
	whole    bool // read all of it, and mend it if need be
	segments []*segment
}

// segment is a segment with everything that needs it.
type segment struct {
	repo.Segment
	pack  object.Ref
	needs []need

	bases  []base // of a delta, if they are planned
	users  int    // how often it is needed: for deltas still to be decoded, and for files; guarded by lane.mu
	memory int64  // what cost has found

	in    *linkedRange // guarded, as what follows, by lane.mu
	bytes []byte       // ciphertext that was fetched with others, in buf
	buf   *budget.Buffer
	taken bool // the ciphertext was used, or is not wanted from the range any more
	plain *plaintext
}

// need is a blob that belongs into a file.
type need struct {
	file   *file
	at     int64 // offset in the file
	id     object.BlobID
	offset uint32 // in the segment's plaintext
	length uint32
	tries  uint16 // how often it was tried to get it
	same   bool   // the file has it already
	err    error  // of the first try
}

func newBatch(ix *repo.Index) *batch {
	return &batch{ix: ix, byPack: map[packKey]*packPlan{}, segments: map[segmentKey]*segment{}}
}

func (b *batch) full(limit int) bool {
	return b.entries >= limit || b.needs >= maxNeeds || b.bytes >= maxBytes || b.memory >= maxMemory
}

// count says that a blob, or another part of a file, belongs to the batch.
func (b *batch) count(bytes int64) {
	b.needs++
	b.bytes += bytes
}

// add plans a blob, from the place that is next to be tried: each of its places, and then the packs of all of
// them as a whole, from which they can be mended.
func (b *batch) add(n need) error {
	var buf [8]local.Place
	places := b.ix.Places(n.id, buf[:0])
	if len(places) == 0 {
		_, err := b.ix.Lookup(n.id)
		if err != nil && !lost(err) {
			return err
		}
		n.fail(err)
		b.unresolved = append(b.unresolved, n)
		return nil
	}
	for int(n.tries) < 2*len(places) {
		whole := int(n.tries) >= len(places)
		p, err := b.ix.Place(places[int(n.tries)%len(places)])
		n.tries++
		if err != nil && !lost(err) {
			return err
		}
		if err != nil { // the local index is damaged
			n.fail(err)
			b.unresolved = append(b.unresolved, n)
			return nil
		}
		if p.Length == n.length {
			n.offset = p.Offset
			b.plan(n, &p, whole)
			return nil
		}
		// The id is of the blob's bytes, so the snapshot is wrong about its length.
		n.fail(&repo.DamageError{Object: p.Pack.Name(), Blob: n.id, Err: tree.ErrInvalid})
	}
	b.lost = append(b.lost, n)
	return nil
}

// fail remembers the first error.
func (n *need) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

func (b *batch) plan(n need, p *repo.Place, whole bool) {
	s, isNew := b.segment(p, whole)
	if isNew && !whole {
		b.planBases(s)
	}
	if len(s.bases) > 0 && len(s.needs) == 0 {
		b.deltas = append(b.deltas, s)
	}
	s.needs = append(s.needs, n)
}

// segment returns the segment at a place, and plans to read it if that is new.
func (b *batch) segment(p *repo.Place, whole bool) (s *segment, isNew bool) {
	of := packKey{p.PackNo, whole}
	key := segmentKey{of, p.At, p.Stored, p.Plain, p.Coding, p.Depth, p.Ordinal, p.Origin, p.Bases}
	if s := b.segments[key]; s != nil {
		return s, false
	}
	s = &segment{Segment: p.Segment, pack: p.Pack}
	b.segments[key] = s
	pp := b.byPack[of]
	if pp == nil {
		pp = &packPlan{ref: p.Pack, size: p.PackSize, whole: whole}
		b.byPack[of] = pp
		b.packs = append(b.packs, pp)
	}
	pp.segments = append(pp.segments, s)
	return s, true
}

// fetch is a range of a pack, and the segments in it. They do not overlap: each is decrypted in place.
type fetch struct {
	pack     object.Ref
	from     int64
	length   int64
	whole    bool // verified, and mended if need be
	segments []*segment
}

// fetches joins the segments that are needed to ranges, but for those that are linked.
func (b *batch) fetches(r repo.Reach) []fetch {
	var out []fetch
	for _, p := range b.packs {
		if p.whole {
			for rest := p.segments; len(rest) > 0; {
				var apart []*segment
				apart, rest = disjoint(rest)
				out = append(out, fetch{pack: p.ref, length: p.size, whole: true, segments: apart})
			}
			continue
		}
		other := func(s *segment) bool { return len(s.needs) == 0 || s.linked() }
		out = append(out, joinRanges(p.ref, slices.DeleteFunc(slices.Clone(p.segments), other), r)...)
	}
	return out
}
