package pack

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// What writers aim for, and what readers accept.
const (
	DataTarget = 16 << 20 // header and segments of a data pack
	TreeTarget = 4 << 20  // header and segments of a tree pack

	SmallBlob   = 256 << 10 // blobs below this share a segment with others
	GroupTarget = 1 << 20   // plaintext of a segment of small blobs

	MaxPackSize        = 128 << 20
	MaxBlobsPerSegment = 65536

	MaxBases  = 16       // of a delta
	MaxJoined = 16 << 20 // plaintext of these
	MaxDepth  = 8        // of a chain of deltas

	minStored   = seal.Overhead + 1
	maxChainSum = MaxDepth * (object.MaxBlobSize + seal.Overhead)
)

var (
	// ErrInvalid is returned for a pack or directory that breaks the rules of the format.
	ErrInvalid = errors.New("pack: invalid")

	// ErrCoding is returned for a segment whose coding this version cannot decode. It wraps [wire.ErrNewer].
	ErrCoding = fmt.Errorf("%w: unknown coding", wire.ErrNewer)

	// ErrVerify is returned when what was sealed does not decode to the plaintext it was made
	// from: the machine, not the repository, is at fault.
	ErrVerify = errors.New("pack: a segment does not decode to what was put in")

	// ErrTwice is returned by Builder.Carry for a segment whose number its pack has already: two packs that were
	// carried had it. It goes into another pack.
	ErrTwice = errors.New("pack: it has a segment of this number of the same origin")

	// ErrFull is returned when something does not fit into the pack.
	ErrFull = errors.New("pack: full")
)

// Coding says how the bytes of a segment are stored below the encryption.
type Coding uint8

// The codings.
const (
	Raw   Coding = 0 // the plaintext
	Zstd  Coding = 1 // one zstd frame
	Delta Coding = 2 // one zstd frame of what package delta makes of the blob and its bases
)

func (c Coding) String() string {
	switch c {
	case Raw:
		return "raw"
	case Zstd:
		return "zstd"
	case Delta:
		return "delta"
	}
	return fmt.Sprintf("coding %d", uint8(c))
}

// Segment describes one segment of a pack.
type Segment struct {
	Origin  int    // index into the directory's origins
	Ordinal uint64 // number within the origin
	Coding  Coding
	Offset  uint32 // in the pack
	Stored  uint32 // length in the pack, with the AEAD tag
	Plain   uint32 // length of the joined plaintexts
	IDs     []object.BlobID
	Lengths []uint32 // of the blobs, in the order of IDs

	Bases    []object.BlobID // with coding Delta: the blobs it is coded against, joined in this order;
	Depth    uint8           // one more than the depth of the deepest copy of these that was used; 0: none;
	ChainSum uint64          // Stored, and the largest sum of those copies

	Sketch    delta.Sketch // of the only blob, by which similar ones are found
	HasSketch bool
}

// Directory lists what is in a pack.
type Directory struct {
	Origins  []*seal.Origin
	Segments []Segment // in the order of their offsets
}

// Check reports whether a segment's numbers are possible. It is shared with the index, which
// repeats them: blobs are not looked at.
func (s *Segment) Check() error {
	switch {
	case s.Coding > Delta:
		return fmt.Errorf("%w: segment with %w: %v", ErrInvalid, ErrCoding, s.Coding)
	case s.Plain == 0 || s.Plain > object.MaxBlobSize:
		return fmt.Errorf("%w: segment of %d bytes", ErrInvalid, s.Plain)
	case s.Stored < minStored || s.Stored-seal.Overhead > s.Plain:
		return fmt.Errorf("%w: segment of %d bytes stored in %d", ErrInvalid, s.Plain, s.Stored)
	case s.Coding == Raw && s.Stored-seal.Overhead != s.Plain:
		return fmt.Errorf("%w: raw segment of %d bytes stored in %d", ErrInvalid, s.Plain, s.Stored)
	}
	if s.Coding != Delta {
		if len(s.Bases) != 0 || s.Depth != 0 || s.ChainSum != 0 {
			return fmt.Errorf("%w: %v segment with bases", ErrInvalid, s.Coding)
		}
		return nil
	}
	switch {
	case len(s.Bases) == 0 || len(s.Bases) > MaxBases:
		return fmt.Errorf("%w: delta with %d bases", ErrInvalid, len(s.Bases))
	case s.Depth == 0 || s.Depth > MaxDepth:
		return fmt.Errorf("%w: delta of depth %d", ErrInvalid, s.Depth)
	case s.ChainSum < uint64(s.Stored) || s.ChainSum > maxChainSum:
		return fmt.Errorf("%w: delta of %d bytes in a chain of %d", ErrInvalid, s.Stored, s.ChainSum)
	}
	return nil
}

func (s *Segment) checkBlobs() error {
	if len(s.IDs) == 0 || len(s.IDs) > MaxBlobsPerSegment || len(s.IDs) != len(s.Lengths) {
		return fmt.Errorf("%w: segment with %d ids and %d lengths", ErrInvalid, len(s.IDs), len(s.Lengths))
	}
	if len(s.IDs) != 1 && (s.Coding == Delta || s.HasSketch) {
		return fmt.Errorf("%w: delta or sketch of %d blobs", ErrInvalid, len(s.IDs))
	}
	if slices.Contains(s.Bases, s.IDs[0]) {
		return fmt.Errorf("%w: delta of a blob against itself", ErrInvalid)
	}
	sum := uint64(0)
	for _, n := range s.Lengths {
		if n == 0 {
			return fmt.Errorf("%w: empty blob", ErrInvalid)
		}
		sum += uint64(n)
	}
	if sum != uint64(s.Plain) {
		return fmt.Errorf("%w: blobs of %d bytes in a segment of %d", ErrInvalid, sum, s.Plain)
	}
	return nil
}

// checkIn reports whether packs of the class may have the segment.
func (s *Segment) checkIn(class object.Class) error {
	if class == object.TreePack && (s.Coding == Delta || s.HasSketch) {
		return fmt.Errorf("%w: delta or sketch in a tree pack", ErrInvalid)
	}
	return nil
}

func target(class object.Class) (int, error) {
	switch class {
	case object.DataPack:
		return DataTarget, nil
	case object.TreePack:
		return TreeTarget, nil
	}
	return 0, fmt.Errorf("%w: %v is no class of packs", ErrInvalid, class)
}

func kind(class object.Class) seal.Kind {
	if class == object.TreePack {
		return seal.Meta
	}
	return seal.Data
}

// Padme returns the length to which an object of n bytes is padded: at most 12 % more, with
// only O(log log n) bits of the true length left to see.
func Padme(n uint64) uint64 {
	if n < 2 {
		return n
	}
	e := uint(bits.Len64(n)) - 1
	s := uint(bits.Len(e))
	mask := uint64(1)<<(e-s) - 1
	return (n + mask) &^ mask
}
