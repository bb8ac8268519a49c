package restore

import (
	"cmp"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// A batch is closed when it has this many entries, blobs to write, or bytes. The first ones are smaller, so that
// fetching begins soon. A blob to write takes about 90 bytes of memory and a file 250, and at most three batches
// exist at a time.
const (
	firstEntries = 2 << 10
	maxEntries   = 24 << 10
	maxNeeds     = 64 << 10
	maxBytes     = 4 << 30
)

// batch is a part of the plan: what is to be written, and from where.
type batch struct {
	ix       *repo.Index
	packs    []*packPlan // in the order in which the files need them
	byPack   map[uint32]*packPlan
	segments map[segmentKey]*segment

	unresolved []need // blobs that ix does not have

	empty  []*file // files without data
	others []*other
	links  []*link

	entries, needs int
	bytes          int64
}

type segmentKey struct{ pack, at uint32 }

// packPlan is what is needed of a pack.
type packPlan struct {
	ref      object.Ref
	segments []*segment
}

// segment is a segment with everything that needs it.
type segment struct {
	repo.Segment
	pack  object.Ref
	needs []need
}

// need is a blob that belongs into a file.
type need struct {
	file   *file
	at     int64 // offset in the file
	id     object.BlobID
	offset uint32 // in the segment's plaintext
	length uint32
	err    error // why there is no place for it
}

func newBatch(ix *repo.Index) *batch {
	return &batch{ix: ix, byPack: map[uint32]*packPlan{}, segments: map[segmentKey]*segment{}}
}

func (b *batch) full(limit int) bool {
	return b.entries >= limit || b.needs >= maxNeeds || b.bytes >= maxBytes
}

// add plans a blob. n has no place yet.
func (b *batch) add(n need) error {
	b.needs++
	b.bytes += int64(n.length)
	p, err := b.ix.Lookup(n.id)
	if err != nil {
		if !lost(err) {
			return err
		}
		n.err = err
		b.unresolved = append(b.unresolved, n)
		return nil
	}
	n.offset = p.Offset
	if p.Length != n.length {
		// The id is of the blob's bytes, so the snapshot is wrong about its length.
		n.err = &repo.DamageError{Object: p.Pack.Name(), Blob: n.id, Err: tree.ErrInvalid}
		b.unresolved = append(b.unresolved, n)
		return nil
	}
	key := segmentKey{p.PackNo, p.At}
	s := b.segments[key]
	if s == nil {
		s = &segment{Segment: p.Segment, pack: p.Pack}
		b.segments[key] = s
		pp := b.byPack[p.PackNo]
		if pp == nil {
			pp = &packPlan{ref: p.Pack}
			b.byPack[p.PackNo] = pp
			b.packs = append(b.packs, pp)
		}
		pp.segments = append(pp.segments, s)
	}
	s.needs = append(s.needs, n)
	return nil
}

// reach says how ranges of packs are joined.
type reach struct {
	gap   int64 // bytes between two segments that are rather read than left out
	limit int64 // of a range of more than one segment
}

// Reading is nearly free where a request is; elsewhere a request costs as much as half a megabyte.
var (
	localReach  = reach{gap: 32 << 10, limit: 2 << 20}
	remoteReach = reach{gap: 512 << 10, limit: 4 << 20}
)

// fetch is a range of a pack, and the segments in it.
type fetch struct {
	pack     object.Ref
	from     int64
	length   int64
	segments []*segment
}

// fetches joins the segments that are needed to ranges.
func (b *batch) fetches(r reach) []fetch {
	var out []fetch
	for _, p := range b.packs {
		slices.SortFunc(p.segments, func(a, b *segment) int { return cmp.Compare(a.At, b.At) })
		for i, s := range p.segments {
			from, end := int64(s.At), int64(s.At)+int64(s.Stored)
			if i > 0 {
				last := &out[len(out)-1]
				if from-(last.from+last.length) <= r.gap && end-last.from <= r.limit {
					last.length = max(last.length, end-last.from)
					last.segments = append(last.segments, s)
					continue
				}
			}
			out = append(out, fetch{pack: p.ref, from: from, length: end - from, segments: []*segment{s}})
		}
	}
	return out
}
