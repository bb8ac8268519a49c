package local

import (
	"encoding/binary"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// Place says where one copy of a blob lies.
type Place struct {
	Pack      uint32 // number of the pack in the view
	Origin    uint32 // number of the segment's origin in the view
	Ordinal   uint64 // of the segment, in its origin
	SegOffset uint32 // of the segment, in the pack
	Stored    uint32 // length of the segment in the pack
	Plain     uint32 // length of the segment's plaintext
	Offset    uint32 // of the blob, in that plaintext
	Length    uint32 // of the blob
	Coding    pack.Coding

	Depth    uint8 // these three with coding Delta, as in pack.Segment
	ChainSum uint64
	Bases    Bases
}

// Bases are the ids of the blobs that a delta is coded against, joined: so a Place stays comparable.
type Bases string

// JoinBases makes Bases of ids.
func JoinBases(ids []object.BlobID) Bases {
	if len(ids) == 0 {
		return ""
	}
	b := make([]byte, 0, len(ids)*idSize)
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return Bases(b)
}

// Len returns how many there are.
func (b Bases) Len() int { return len(b) / idSize }

// At returns one of them.
func (b Bases) At(i int) object.BlobID { return object.BlobID([]byte(b[i*idSize:][:idSize])) }

// sourcedPlace is a place with the number of the index segment that named it.
type sourcedPlace struct {
	Place
	source uint32
}

// A place is stored as a byte of flags and unsigned varints: source, pack, origin, ordinal,
// offset of the segment, its plain length, what coding saved (unless raw), the offset and
// length of the blob (unless it is the whole segment), and of a delta its depth, chain sum, number
// of bases and their ids.
const (
	codingMask = 0x03
	wholeFlag  = 0x04
	knownFlags = codingMask | wholeFlag
)

func appendPlace(dst []byte, p *sourcedPlace) []byte {
	flags := byte(p.Coding) & codingMask
	whole := p.Offset == 0 && p.Length == p.Plain
	if whole {
		flags |= wholeFlag
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(p.source))
	dst = binary.AppendUvarint(dst, uint64(p.Pack))
	dst = binary.AppendUvarint(dst, uint64(p.Origin))
	dst = binary.AppendUvarint(dst, p.Ordinal)
	dst = binary.AppendUvarint(dst, uint64(p.SegOffset))
	dst = binary.AppendUvarint(dst, uint64(p.Plain))
	if p.Coding != pack.Raw {
		dst = binary.AppendUvarint(dst, uint64(p.Plain+seal.Overhead-p.Stored))
	}
	if !whole {
		dst = binary.AppendUvarint(dst, uint64(p.Offset))
		dst = binary.AppendUvarint(dst, uint64(p.Length))
	}
	if p.Coding == pack.Delta {
		dst = binary.AppendUvarint(dst, uint64(p.Depth))
		dst = binary.AppendUvarint(dst, p.ChainSum)
		dst = binary.AppendUvarint(dst, uint64(p.Bases.Len()))
		dst = append(dst, p.Bases...)
	}
	return dst
}

// placeReader reads places one after another. bad is set by what cannot be a place.
type placeReader struct {
	rest []byte
	bad  bool
}

func (r *placeReader) uvarint(limit uint64) uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		r.bad = r.bad || v > limit
		return v
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// next reads a place into p. It reports false at the end, and at bytes that are no place.
func (r *placeReader) next(p *sourcedPlace) bool {
	if len(r.rest) == 0 || r.bad {
		return false
	}
	const max32 = 1<<32 - 1
	flags := r.rest[0]
	r.rest = r.rest[1:]
	p.Coding = pack.Coding(flags & codingMask)
	p.source = uint32(r.uvarint(max32))
	p.Pack = uint32(r.uvarint(max32))
	p.Origin = uint32(r.uvarint(max32))
	p.Ordinal = r.uvarint(1<<64 - 1)
	p.SegOffset = uint32(r.uvarint(pack.MaxPackSize))
	p.Plain = uint32(r.uvarint(object.MaxBlobSize))
	p.Stored = p.Plain + seal.Overhead
	if p.Coding != pack.Raw {
		p.Stored -= uint32(r.uvarint(uint64(p.Plain)))
	}
	p.Offset, p.Length = 0, p.Plain
	if flags&wholeFlag == 0 {
		p.Offset = uint32(r.uvarint(uint64(p.Plain)))
		p.Length = uint32(r.uvarint(uint64(p.Plain - p.Offset)))
	}
	p.Depth, p.ChainSum, p.Bases = 0, 0, ""
	if p.Coding == pack.Delta {
		p.Depth = uint8(r.uvarint(pack.MaxDepth))
		p.ChainSum = r.uvarint(1<<64 - 1)
		p.Bases = r.bases()
		r.bad = r.bad || p.Depth == 0 || p.Bases == ""
	}
	r.bad = r.bad || flags&^knownFlags != 0 || p.Coding > pack.Delta
	return !r.bad
}

// bases reads a number of ids and a copy of them: what is read lies in mapped memory.
func (r *placeReader) bases() Bases {
	n := int(r.uvarint(uint64(len(r.rest)/idSize))) * idSize
	if n > len(r.rest) { // the number itself took of what there was
		r.bad = true
		return ""
	}
	b := Bases(r.rest[:n])
	r.rest = r.rest[n:]
	return b
}

// fewPlaces is how many places are compared one by one: mostly there are one or two.
const fewPlaces = 32

// placeSet tells which of the places of one blob were met before. Who lists a blob in very many places makes looking for it
// take longer by as many, and not by their square.
type placeSet struct {
	many map[Place]struct{} // the first of them, once there are more than a few
}

// has reports whether a place is among those met so far, which are all different and only grow from one call to the next. Only
// what is wholly the same is: an index segment that is wrong about a place must not hide the one that is right.
func (s *placeSet) has(met []Place, p *Place) bool {
	if len(met) <= fewPlaces {
		for i := range met {
			if met[i] == *p {
				return true
			}
		}
		return false
	}
	if s.many == nil {
		s.many = make(map[Place]struct{}, 2*len(met))
	}
	for i := len(s.many); i < len(met); i++ {
		s.many[met[i]] = struct{}{}
	}
	_, ok := s.many[*p]
	return ok
}
