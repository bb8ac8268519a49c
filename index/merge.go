package index

import "github.com/kura-backup/kura/internal/object"

// segmentAt identifies a segment of a pack, whichever index segment lists it.
type segmentAt struct {
	pack   object.Ref
	offset uint32
}

// Merge adds what old lists of the packs that keep accepts. What s lists already is not added twice.
// The order of s's blobs is restored by Encode.
func (s *Segment) Merge(old *Segment, keep func(object.Ref) bool) error {
	if s.merged == nil {
		s.merged = make(map[segmentAt]struct{})
		for i := range s.Segments {
			s.merged[s.at(i)] = struct{}{}
		}
	}
	packs := make(map[object.Ref]uint32, len(s.Packs))
	for i, p := range s.Packs {
		packs[p.Ref] = uint32(i)
	}
	const none = ^uint32(0)
	numbers := make([]uint32, len(old.Segments)) // old index → index in s
	for i, ps := range old.Segments {
		at := old.at(i)
		_, known := s.merged[at]
		if known || !keep(at.pack) {
			numbers[i] = none
			continue
		}
		s.merged[at] = struct{}{}
		n, ok := packs[at.pack]
		if !ok {
			n = uint32(len(s.Packs))
			packs[at.pack] = n
			s.Packs = append(s.Packs, old.Packs[ps.Pack])
		}
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

func (s *Segment) at(i int) segmentAt {
	ps := &s.Segments[i]
	return segmentAt{s.Packs[ps.Pack].Ref, ps.Offset}
}
