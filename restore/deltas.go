package restore

import (
	"cmp"
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

const (
	// maxBases is how many bases are planned in a batch, counted for each delta. What would be beyond is read for each
	// delta when it is its turn.
	maxBases = 128 << 10
	// maxMade is how many segments may be decoded for one that files need. What writers make takes far less, and what has
	// been decoded is mostly kept; but in a chain that was made to need more than can be kept the work is sixteenfold
	// with each step.
	maxMade = 1024
)

// base is a blob that a delta is made against, where it is planned to be read.
type base struct {
	seg            *segment
	id             object.BlobID
	offset, length uint32
}

// linked reports whether a segment is decoded in a [lane]: it is a delta whose bases are planned, or such a base.
func (s *segment) linked() bool { return len(s.bases) > 0 || s.users > 0 }

// planBases plans the bases of a delta, and theirs: of each blob the least deep copy. If that turns out to be damaged
// the deltas that need it are tried again on their own, with all copies of it. Where a base can not be planned
// none is; nor where they are more than is allowed, which loading them says.
func (b *batch) planBases(s *segment) {
	n := s.Bases.Len()
	if n == 0 || b.bases+n > maxBases {
		return
	}
	places := make([]repo.Place, n)
	joined := int64(0)
	for i := range places {
		var ok bool
		if places[i], ok = b.baseOf(s, s.Bases.At(i)); !ok {
			return
		}
		joined += int64(places[i].Length)
	}
	if joined > pack.MaxJoined {
		return
	}
	b.bases += n
	bases := make([]base, n)
	for i := range places {
		p := &places[i]
		seg, isNew := b.segment(p, false)
		if isNew {
			b.planBases(seg)
		}
		bases[i] = base{seg: seg, id: s.Bases.At(i), offset: p.Offset, length: p.Length}
	}
	for i := range bases {
		bases[i].seg.users++
	}
	s.bases = bases
}

// baseOf finds the copy of a base. It is less deep than the delta, which is what ends the recursion.
func (b *batch) baseOf(s *segment, id object.BlobID) (repo.Place, bool) {
	var buf [8]local.Place
	places := b.ix.Places(id, buf[:0]) // the least deep first
	if len(places) == 0 || places[0].Depth >= s.Depth {
		return repo.Place{}, false
	}
	p, err := b.ix.Place(places[0])
	return p, err == nil
}

// order returns the linked segments of a batch that have blobs for files, in the order in which the files need
// them, but bases before their deltas; and all that are linked, in the order of their first use.
func (b *batch) order() (wanted, all []*segment) {
	seen := map[*segment]bool{}
	var visit func(s *segment)
	visit = func(s *segment) {
		if seen[s] {
			return
		}
		seen[s] = true
		for i := range s.bases {
			visit(s.bases[i].seg)
		}
		all = append(all, s)
		if len(s.needs) > 0 {
			wanted = append(wanted, s)
		}
	}
	for _, s := range b.deltas {
		visit(s)
	}
	if b.bases == 0 && len(all) == 0 {
		return nil, nil
	}
	for _, p := range b.packs { // bases of deltas that were given up in planning
		for _, s := range p.segments {
			if s.linked() && len(s.needs) > 0 {
				visit(s)
			}
		}
	}
	return wanted, all
}

// linkedRanges joins linked segments to ranges, in the order of their first use.
func linkedRanges(all []*segment, r repo.Reach) []*linkedRange {
	byPack := map[object.Ref][]*segment{}
	for _, s := range all {
		byPack[s.pack] = append(byPack[s.pack], s)
	}
	of := make(map[*segment]*linkedRange, len(all))
	for ref, segments := range byPack {
		for _, f := range joinRanges(ref, segments, r) {
			lr := &linkedRange{fetch: f, ready: make(chan struct{})}
			for _, s := range f.segments {
				s.in, of[s] = lr, lr
			}
		}
	}
	var out []*linkedRange
	for _, s := range all {
		if lr := of[s]; !lr.listed {
			lr.listed = true
			out = append(out, lr)
		}
	}
	return out
}

// cost is about how much memory it takes to decode a linked segment, with all of its bases.
func (s *segment) cost() int64 {
	if s.memory > 0 {
		return s.memory
	}
	var most, next, joined, one int64 // next: the second most
	for i := range s.bases {
		cost := s.bases[i].seg.cost()
		most, next = max(most, cost), max(next, min(most, cost))
		joined += int64(s.bases[i].length)
		one = max(one, int64(s.bases[i].seg.Plain))
	}
	if len(s.bases) == 1 {
		s.memory = max(most, one+int64(s.Plain))
	} else {
		s.memory = max(most, joined+max(next, one, int64(s.Plain)))
	}
	return s.memory
}

// first is the base that takes the most memory to decode. It is decoded before there is anything to hold of the others:
// so a long chain, of which each step has one deep base, takes no more than a short one.
func (s *segment) first() int {
	first := 0
	for i := range s.bases {
		if s.bases[i].seg.memory > s.bases[first].seg.memory {
			first = i
		}
	}
	return first
}

// disjoint returns those of a pack's segments that do not overlap with one before, and the others. It sorts them. Only
// forged lists have others.
func disjoint(segments []*segment) (apart, others []*segment) {
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.At, b.At) })
	end := int64(0)
	for _, s := range segments {
		if int64(s.At) < end {
			others = append(others, s)
			continue
		}
		apart = append(apart, s)
		end = int64(s.At) + int64(s.Stored)
	}
	return apart, others
}

// joinRanges returns the ranges of a pack that the segments lie in, which it sorts. Those that overlap are read apart.
func joinRanges(ref object.Ref, segments []*segment, r repo.Reach) (out []fetch) {
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.At, b.At) })
	for i, s := range segments {
		from, end := int64(s.At), int64(s.At)+int64(s.Stored)
		if i > 0 {
			last := &out[len(out)-1]
			if from >= last.from+last.length && r.Joins(last.from, last.length, &s.Segment) {
				last.length = end - last.from
				last.segments = append(last.segments, s)
				continue
			}
		}
		out = append(out, fetch{pack: ref, from: from, length: end - from, segments: []*segment{s}})
	}
	return out
}
