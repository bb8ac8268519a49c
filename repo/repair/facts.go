package repair

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// facts is what has to be known of an index segment to decide whether it stays. Index segments are immutable,
// so each is read once in a run, however often the commit is tried.
type facts struct {
	bad    error // why it can not be used
	mended bool  // it can, but only with the help of its parity
	packs  map[object.Ref]coverage
}

// coverage says how much of a pack an index segment lists.
type coverage struct {
	blobs int
	// fromStart is set if the segments that are listed follow one another from the pack's first on.
	fromStart bool
}

// whole reports whether no other index segment can list more of the pack, if those who wrote it meant well.
// A pack that is listed in several has so many blobs that its first part has more than this.
func (c coverage) whole() bool { return c.fromStart && c.blobs <= pack.MaxBlobsPerSegment }

func (w *writer) factsOf(ctx context.Context, ref object.Ref) (*facts, error) {
	if f, ok := w.facts[ref]; ok {
		return f, nil
	}
	f := &facts{}
	seg, err := w.r.LoadIndexSegment(ctx, ref)
	switch {
	case err == nil:
		f.packs = coverageOf(seg)
		obj, err := w.r.Store().Get(ctx, ref.Name(), 0, -1, nil)
		f.mended = err != nil || object.Sum(obj) != ref.Hash
	case errors.Is(err, wire.ErrNewer) && !w.all:
		return nil, err
	case isDamage(ctx, err):
		f.bad = err
	default:
		return nil, err
	}
	w.facts[ref] = f
	return f, nil
}

func coverageOf(s *index.Segment) map[object.Ref]coverage {
	out := make(map[object.Ref]coverage, len(s.Packs))
	blobs := make([]int, len(s.Segments))
	for i := range s.Blobs {
		blobs[s.Blobs[i].Segment]++
	}
	order := make([]int, len(s.Segments))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &s.Segments[a], &s.Segments[b]
		return cmp.Or(cmp.Compare(x.Pack, y.Pack), cmp.Compare(x.Offset, y.Offset))
	})
	end := uint32(0)
	for i, n := range order {
		ps := &s.Segments[n]
		ref := s.Packs[ps.Pack].Ref
		c := out[ref]
		if i == 0 || s.Segments[order[i-1]].Pack != ps.Pack {
			end, c.fromStart = seal.HeaderSize, true
		}
		c.fromStart = c.fromStart && ps.Offset == end
		end = ps.Offset + ps.Stored
		c.blobs += blobs[n]
		out[ref] = c
	}
	return out
}

// found is a segment of a pack as an index segment has it.
type found struct {
	origin *seal.Origin
	seg    pack.Segment
}

// placesOf returns what the valid index segments say of the segments of packs. They may say different things of
// one: which is right, if any, its tag shows.
func (w *writer) placesOf(ctx context.Context, want map[object.Ref]struct{}) (map[object.Ref][]found, error) {
	out := map[object.Ref][]found{}
	for ref := range w.r.State().Index {
		seg, err := w.r.LoadIndexSegment(ctx, ref)
		if err != nil && !isDamage(ctx, err) {
			return nil, err
		}
		if err != nil {
			continue
		}
		addFound(out, seg, want)
	}
	return out, nil
}

func addFound(out map[object.Ref][]found, s *index.Segment, want map[object.Ref]struct{}) {
	at := map[uint32]*pack.Segment{} // by the number in s
	blobs := slices.Clone(s.Blobs)
	slices.SortStableFunc(blobs, func(a, b index.Blob) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Offset, b.Offset))
	})
	next := map[uint32]uint32{} // where the next blob must begin
	for _, b := range blobs {
		ps := &s.Segments[b.Segment]
		if _, ok := want[s.Packs[ps.Pack].Ref]; !ok || next[b.Segment] != b.Offset {
			continue // of another pack, or listed twice, or with a gap before it: then the lengths do not add up
		}
		seg := at[b.Segment]
		if seg == nil {
			seg = &pack.Segment{
				Ordinal: ps.Ordinal, Coding: ps.Coding, Offset: ps.Offset, Stored: ps.Stored, Plain: ps.Plain,
				Bases: ps.Bases, Depth: ps.Depth, ChainSum: ps.ChainSum, Sketch: ps.Sketch, HasSketch: ps.HasSketch,
			}
			at[b.Segment] = seg
		}
		seg.IDs, seg.Lengths = append(seg.IDs, b.ID), append(seg.Lengths, b.Length)
		next[b.Segment] += b.Length
	}
	for n, seg := range at {
		if next[n] != seg.Plain {
			continue
		}
		ps := &s.Segments[n]
		ref := s.Packs[ps.Pack].Ref
		out[ref] = append(out[ref], found{s.Origins[ps.Origin], *seg})
	}
}

// directory reads the directory of a pack, mending the pack if it must.
func directory(ctx context.Context, r *repo.Repository, ref object.Ref, size int64) (*pack.Directory, error) {
	dir, err := r.LoadDirectory(ctx, ref, size)
	if err == nil || !isDamage(ctx, err) {
		return dir, err
	}
	obj, _, lerr := r.LoadPack(ctx, ref, size, nil)
	if lerr != nil {
		return nil, lerr
	}
	if dir, err = pack.OpenDirectory(r.Keys(), ref.Class, obj); err != nil {
		err = &repo.DamageError{Object: ref.Name(), Err: seal.AsWritten(err)}
	}
	return dir, err
}
