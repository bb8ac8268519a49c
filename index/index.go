package index

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

const (
	// MaxBlobs is the most blobs a writer puts in one index segment.
	MaxBlobs = 131072

	// MaxPlaces is the most places of one blob in one index segment. Whatever looks for a blob meets all of its places: one that
	// is listed a million times would hold everybody up.
	MaxPlaces = 1024

	// maxRead is the most blobs a reader accepts in one.
	maxRead = 1048576
)

var (
	// ErrInvalid is returned for an index segment that breaks the rules of the format.
	ErrInvalid = errors.New("index: invalid")

	// ErrTooLarge is returned by Encode for more than MaxBlobs blobs.
	ErrTooLarge = errors.New("index: too many blobs for one index segment")
)

// PackRef names a pack and its size.
type PackRef struct {
	Ref  object.Ref
	Size int64
}

// PackSegment describes one segment of a pack.
type PackSegment struct {
	Pack    uint32 // index into Packs
	Offset  uint32 // in the pack
	Ordinal uint64
	Origin  uint32 // index into Origins
	Stored  uint32 // with the AEAD tag
	Plain   uint32
	Coding  pack.Coding

	Depth    uint8 // these three as in pack.Segment
	Bases    []object.BlobID
	ChainSum uint64

	Sketch    delta.Sketch // of the only blob
	HasSketch bool
}

// Blob says where one copy of a blob lies.
type Blob struct {
	ID      object.BlobID
	Segment uint32 // index into Segments
	Offset  uint32 // in the segment's plaintext
	Length  uint32
}

// Segment is an index segment. It is not safe for concurrent changes.
type Segment struct {
	Packs    []PackRef
	Origins  []*seal.Origin
	Segments []PackSegment
	Blobs    []Blob // from Decode: ascending by id

	origins map[object.Hash]uint32 // by the hash of their encoding, for AddPack
	merged  map[listing]struct{}   // what Segments has, for Merge
}

// AddPack adds all blobs of a pack, as its directory lists them.
func (s *Segment) AddPack(ref object.Ref, size int64, dir *pack.Directory) error {
	// Only the origins that are used: a directory may have others, an index segment not more than blobs.
	origins := make(map[int]uint32)
	for i := range dir.Segments {
		n := dir.Segments[i].Origin
		if _, known := origins[n]; known {
			continue
		}
		at, err := s.originIndex(dir.Origins[n])
		if err != nil {
			return err
		}
		origins[n] = at
	}
	n := uint32(len(s.Packs))
	s.Packs = append(s.Packs, PackRef{Ref: ref, Size: size})
	for i := range dir.Segments {
		d := &dir.Segments[i]
		at := uint32(len(s.Segments))
		s.Segments = append(s.Segments, PackSegment{
			Pack: n, Offset: d.Offset, Origin: origins[d.Origin], Ordinal: d.Ordinal,
			Coding: d.Coding, Stored: d.Stored, Plain: d.Plain,
			Bases: d.Bases, Depth: d.Depth, ChainSum: d.ChainSum,
			Sketch: d.Sketch, HasSketch: d.HasSketch,
		})
		offset := uint32(0)
		for j, id := range d.IDs {
			s.Blobs = append(s.Blobs, Blob{ID: id, Segment: at, Offset: offset, Length: d.Lengths[j]})
			offset += d.Lengths[j]
		}
	}
	return nil
}

// originIndex returns where Origins has the origin, which is appended if it is new.
func (s *Segment) originIndex(o *seal.Origin) (uint32, error) {
	if s.origins == nil {
		s.origins = make(map[object.Hash]uint32)
		for i, known := range s.Origins {
			h, err := hashOrigin(known)
			if err != nil {
				return 0, err
			}
			s.origins[h] = uint32(i)
		}
	}
	h, err := hashOrigin(o)
	if err != nil {
		return 0, err
	}
	i, known := s.origins[h]
	if !known {
		i = uint32(len(s.Origins))
		s.origins[h] = i
		s.Origins = append(s.Origins, o)
	}
	return i, nil
}

func hashOrigin(o *seal.Origin) (object.Hash, error) {
	raw, err := wire.Marshal(o)
	return object.Sum(raw), err
}

// sort puts the blobs in the order of the format, and copies of one blob in a stable one.
func (s *Segment) sort() {
	slices.SortFunc(s.Blobs, func(a, b Blob) int {
		return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Offset, b.Offset))
	})
}

// Split returns parts of at most limit blobs each, and MaxPlaces places of any one, that together hold what s holds. They are
// cut between segments of packs, but for a segment with more; limit must be at least pack.MaxBlobsPerSegment. Each part
// has only the packs, origins and segments it needs. If s is small enough it is the only part. The blobs of s are sorted.
func (s *Segment) Split(limit int) ([]*Segment, error) {
	if limit < pack.MaxBlobsPerSegment {
		return nil, fmt.Errorf("%w: limit of %d blobs", ErrInvalid, limit)
	}
	s.sort()
	if len(s.Blobs) <= limit && !s.crowded() {
		return []*Segment{s}, nil
	}
	blobs := slices.Clone(s.Blobs)
	slices.SortStableFunc(blobs, func(a, b Blob) int { return cmp.Compare(a.Segment, b.Segment) })
	var parts []*Segment
	for len(blobs) > 0 {
		most := fitting(blobs, limit)
		n := most
		if n < len(blobs) {
			cut := blobs[n].Segment
			for n > 0 && blobs[n-1].Segment == cut {
				n--
			}
			if n == 0 { // nobody stores such a segment, but a pack or an index segment may claim it
				n = most
			}
		}
		parts = append(parts, s.part(blobs[:n]))
		blobs = blobs[n:]
	}
	return parts, nil
}

// crowded reports whether one of the blobs, which are sorted, has more than MaxPlaces places.
func (s *Segment) crowded() bool {
	for i := MaxPlaces; i < len(s.Blobs); i++ {
		if s.Blobs[i].ID == s.Blobs[i-MaxPlaces].ID {
			return true
		}
	}
	return false
}

// fitting returns how many of the first blobs may be in one index segment.
func fitting(blobs []Blob, limit int) int {
	blobs = blobs[:min(limit, len(blobs))]
	places := make(map[object.BlobID]int, len(blobs))
	for i := range blobs {
		n := places[blobs[i].ID]
		if n == MaxPlaces {
			return i
		}
		places[blobs[i].ID] = n + 1
	}
	return len(blobs)
}

// part returns an index segment of the given blobs, which are in the order of their segments.
func (s *Segment) part(blobs []Blob) *Segment {
	out := &Segment{Blobs: slices.Clone(blobs)}
	packs, origins, segments := newRenumber(&s.Packs, &out.Packs), newRenumber(&s.Origins, &out.Origins), newRenumber(&s.Segments, &out.Segments)
	for i := range out.Blobs {
		b := &out.Blobs[i]
		n, fresh := segments.number(b.Segment)
		if fresh {
			ps := &out.Segments[n]
			ps.Pack, _ = packs.number(ps.Pack)
			ps.Origin, _ = origins.number(ps.Origin)
		}
		b.Segment = n
	}
	return out
}

// renumber copies what is used of one table to another and knows the new numbers.
type renumber[T any] struct {
	from, to *[]T
	numbers  map[uint32]uint32
}

func newRenumber[T any](from, to *[]T) *renumber[T] {
	return &renumber[T]{from, to, make(map[uint32]uint32)}
}

func (r *renumber[T]) number(old uint32) (n uint32, fresh bool) {
	n, known := r.numbers[old]
	if !known {
		n = uint32(len(*r.to))
		r.numbers[old] = n
		*r.to = append(*r.to, (*r.from)[old])
	}
	return n, !known
}
