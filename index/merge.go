package index

import (
	"encoding/binary"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// listing identifies what is said of one segment of a pack: where it is, how it is to be read, and which
// blobs are in it. Two index segments that say the same of it have the same listing.
type listing object.Hash

// Merge adds what old lists of the packs that keep accepts. What s lists already is not added twice; where
// the two say different things of one segment, both stay: only the pack's directory could tell which of
// them is wrong. The order of s's blobs is restored by Encode.
func (s *Segment) Merge(old *Segment, keep func(object.Ref) bool) error {
	if s.merged == nil {
		s.sort()
		have, err := s.listings()
		if err != nil {
			return err
		}
		s.merged = make(map[listing]struct{}, len(have))
		for _, l := range have {
			s.merged[l] = struct{}{}
		}
	}
	listings, err := old.listings()
	if err != nil {
		return err
	}
	packs := make(map[object.Ref]uint32, len(s.Packs))
	for i, p := range s.Packs {
		packs[p.Ref] = uint32(i)
	}
	const none = ^uint32(0)
	has := make([]bool, len(old.Segments)) // a segment without blobs says nothing, and there can be more of these than blobs
	for _, b := range old.Blobs {
		has[b.Segment] = true
	}
	numbers := make([]uint32, len(old.Segments)) // old index → index in s
	for i, ps := range old.Segments {
		in := old.Packs[ps.Pack]
		_, known := s.merged[listings[i]]
		if known || !has[i] || !keep(in.Ref) {
			numbers[i] = none
			continue
		}
		s.merged[listings[i]] = struct{}{}
		n, ok := packs[in.Ref]
		if !ok {
			n = uint32(len(s.Packs))
			packs[in.Ref] = n
			s.Packs = append(s.Packs, in)
		}
		s.Packs[n].Size = max(s.Packs[n].Size, in.Size) // one that is too small would not hold the other's segments
		origin, err := s.originIndex(old.Origins[ps.Origin])
		if err != nil {
			return err
		}
		ps.Pack, ps.Origin = n, origin
		numbers[i] = uint32(len(s.Segments))
		s.Segments = append(s.Segments, ps)
	}
	for _, b := range old.Blobs {
		if n := numbers[b.Segment]; n != none {
			b.Segment = n
			s.Blobs = append(s.Blobs, b)
		}
	}
	return nil
}

// listings returns what s, whose blobs are sorted, says of each of its segments.
func (s *Segment) listings() ([]listing, error) {
	origins := make([]object.Hash, len(s.Origins))
	for i, o := range s.Origins {
		var err error
		if origins[i], err = hashOrigin(o); err != nil {
			return nil, err
		}
	}
	said := make([][]byte, len(s.Segments))
	for i, ps := range s.Segments {
		in := s.Packs[ps.Pack].Ref
		origin := origins[ps.Origin]
		ps.Pack, ps.Origin = 0, 0 // numbers in s; what they stand for follows
		head, err := wire.Canonical(ps)
		if err != nil {
			return nil, err
		}
		said[i] = append(append(append(append(head, byte(in.Class)), in.Session[:]...), in.Hash[:]...), origin[:]...)
	}
	for i := range s.Blobs {
		b := &s.Blobs[i]
		to := append(said[b.Segment], b.ID[:]...)
		said[b.Segment] = binary.LittleEndian.AppendUint64(to, uint64(b.Offset)<<32|uint64(b.Length))
	}
	out := make([]listing, len(said))
	for i, b := range said {
		out[i] = listing(object.Sum(b))
	}
	return out, nil
}
