package pack

import (
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// minEntry is less than any segment takes in an encoded directory. It bounds how many structs
// the decoder makes of given bytes.
const minEntry = 48

type wireDirectory struct {
	Origins  []seal.Origin `cbor:"1,keyasint"`
	Segments wire.Raw      `cbor:"2,keyasint"`
}

type wireSegment struct {
	Origin   uint32   `cbor:"1,keyasint"`
	Ordinal  uint64   `cbor:"2,keyasint"`
	Coding   uint8    `cbor:"3,keyasint"`
	Stored   uint32   `cbor:"4,keyasint"`
	Plain    uint32   `cbor:"5,keyasint"`
	IDs      []byte   `cbor:"6,keyasint"`
	Lengths  []uint32 `cbor:"7,keyasint"`
	Bases    []byte   `cbor:"8,keyasint,omitempty"`
	Depth    uint8    `cbor:"9,keyasint,omitempty"`
	ChainSum uint64   `cbor:"10,keyasint,omitempty"`
	Sketch   []byte   `cbor:"11,keyasint,omitempty"`
}

// EncodeDirectory returns the plaintext of a directory. Offsets are not written: they follow
// from the order and the lengths.
func EncodeDirectory(d *Directory) ([]byte, error) {
	segments := make([]wireSegment, len(d.Segments))
	for i := range d.Segments {
		s := &d.Segments[i]
		segments[i] = wireSegment{
			Origin: uint32(s.Origin), Ordinal: s.Ordinal, Coding: uint8(s.Coding),
			Stored: s.Stored, Plain: s.Plain,
			IDs: joinIDs(s.IDs), Lengths: s.Lengths,
			Bases: joinIDs(s.Bases), Depth: s.Depth, ChainSum: s.ChainSum,
		}
		if s.HasSketch {
			segments[i].Sketch = AppendSketch(nil, s.Sketch)
		}
	}
	raw, err := wire.Marshal(segments)
	if err != nil {
		return nil, err
	}
	w := wireDirectory{Origins: make([]seal.Origin, len(d.Origins)), Segments: raw}
	for i, o := range d.Origins {
		w.Origins[i] = *o
	}
	return wire.Marshal(&w)
}

// DecodeDirectory reads the plaintext of a directory. end is the offset in the pack where the
// segments and the padding end: the length of all that comes before the sealed directory.
// Everything in the result has been checked.
func DecodeDirectory(plain []byte, end int64) (*Directory, error) {
	var w wireDirectory
	if err := wire.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("%w: directory: %w", ErrInvalid, err)
	}
	if n := ArrayLen(w.Segments); n <= 0 || n > len(w.Segments)/minEntry {
		return nil, fmt.Errorf("%w: directory with %d segments in %d bytes", ErrInvalid, n, len(w.Segments))
	}
	var segments []wireSegment
	if err := wire.Unmarshal(w.Segments, &segments); err != nil {
		return nil, fmt.Errorf("%w: directory: %w", ErrInvalid, err)
	}
	d := &Directory{Segments: make([]Segment, len(segments))}
	for i := range w.Origins {
		if err := CheckOrigin(&w.Origins[i]); err != nil {
			return nil, fmt.Errorf("%w: origin %d: %w", ErrInvalid, i, err)
		}
		d.Origins = append(d.Origins, &w.Origins[i])
	}
	offset := int64(seal.HeaderSize)
	for i := range segments {
		s := &d.Segments[i]
		if err := s.fill(&segments[i], len(d.Origins)); err != nil {
			return nil, fmt.Errorf("segment %d: %w", i, err)
		}
		if offset+int64(s.Stored) > end {
			return nil, fmt.Errorf("%w: segment %d ends at %d of %d", ErrInvalid, i, offset+int64(s.Stored), end)
		}
		s.Offset = uint32(offset)
		offset += int64(s.Stored)
	}
	return d, checkOrdinals(d.Segments)
}

func (s *Segment) fill(w *wireSegment, origins int) error {
	if uint64(w.Origin) >= uint64(origins) {
		return fmt.Errorf("%w: origin %d of %d", ErrInvalid, w.Origin, origins)
	}
	ids, err := SplitIDs(w.IDs)
	if err != nil {
		return err
	}
	bases, err := SplitIDs(w.Bases)
	if err != nil {
		return err
	}
	*s = Segment{
		Origin: int(w.Origin), Ordinal: w.Ordinal, Coding: Coding(w.Coding),
		Stored: w.Stored, Plain: w.Plain, IDs: ids, Lengths: w.Lengths,
		Bases: bases, Depth: w.Depth, ChainSum: w.ChainSum,
	}
	if len(w.Sketch) > 0 {
		if s.Sketch, err = ParseSketch(w.Sketch); err != nil {
			return err
		}
		s.HasSketch = true
	}
	if err := s.Check(); err != nil {
		return err
	}
	return s.checkBlobs()
}

// checkOrdinals refuses two segments with one nonce: at most one of them could be genuine.
func checkOrdinals(segments []Segment) error {
	type nonce struct {
		origin  int
		ordinal uint64
	}
	seen := make(map[nonce]struct{}, len(segments))
	for i := range segments {
		n := nonce{segments[i].Origin, segments[i].Ordinal}
		if _, twice := seen[n]; twice {
			return fmt.Errorf("%w: ordinal %d of origin %d twice", ErrInvalid, n.ordinal, n.origin)
		}
		seen[n] = struct{}{}
	}
	return nil
}

// maxSealed is more than a sealed secret of any suite has. It must stay well below what an index segment
// may take for a blob, or one that lists only what is right could be too large.
const maxSealed = 2 << 10

// CheckOrigin reports whether an origin's numbers are possible. Whether it opens is for package
// seal to say.
func CheckOrigin(o *seal.Origin) error {
	if o.Kind != seal.Data && o.Kind != seal.Meta {
		return fmt.Errorf("%w: origin of %v", ErrInvalid, o.Kind)
	}
	if len(o.Sealed) == 0 || len(o.Sealed) > maxSealed {
		return fmt.Errorf("%w: sealed secret of %d bytes", ErrInvalid, len(o.Sealed))
	}
	return nil
}

func joinIDs(ids []object.BlobID) []byte {
	out := make([]byte, 0, len(ids)*len(object.BlobID{}))
	for i := range ids {
		out = append(out, ids[i][:]...)
	}
	return out
}

// SplitIDs is the inverse of joining ids.
func SplitIDs(joined []byte) ([]object.BlobID, error) {
	const n = len(object.BlobID{})
	if len(joined)%n != 0 {
		return nil, fmt.Errorf("%w: %d bytes of ids", ErrInvalid, len(joined))
	}
	if len(joined) == 0 {
		return nil, nil
	}
	ids := make([]object.BlobID, len(joined)/n)
	for i := range ids {
		ids[i] = object.BlobID(joined[i*n:])
	}
	return ids, nil
}

// ArrayLen returns the number of elements that the head of an encoded CBOR array announces, or
// -1 when raw does not begin with one.
func ArrayLen(raw []byte) int {
	if len(raw) == 0 || raw[0]>>5 != 4 {
		return -1
	}
	low := raw[0] & 31
	if low < 24 {
		return int(low)
	}
	n := 1 << (low - 24)
	if low > 27 || len(raw) < 1+n {
		return -1
	}
	v := uint64(0)
	for _, b := range raw[1 : 1+n] {
		v = v<<8 | uint64(b)
	}
	if v > wire.MaxItems {
		return -1
	}
	return int(v)
}
