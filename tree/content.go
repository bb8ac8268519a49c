package tree

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/kura-backup/kura/internal/object"
)

// Limits of contents.
const (
	MaxInlineExtents = 4096 // a content with more is cut into pages
	MaxPageExtents   = 8192 // a content page has no more
)

// ExtentKind says what an extent of a file is.
type ExtentKind uint8

// The kinds of extents.
const (
	Data  ExtentKind = 0 // a blob
	Hole  ExtentKind = 1 // not allocated in the file; reads as zeros
	Zeros ExtentKind = 2 // zeros that were read
)

func (k ExtentKind) String() string {
	switch k {
	case Data:
		return "data"
	case Hole:
		return "hole"
	case Zeros:
		return "zeros"
	}
	return fmt.Sprintf("extent kind %d", uint8(k))
}

// Extent is a part of a file. ID is set for data only.
type Extent struct {
	Kind   ExtentKind
	ID     object.BlobID
	Length int64
}

// Content is a file, or a part of one, as a list of extents. It is not safe for concurrent use while it
// is appended to.
type Content struct {
	IDs     []object.BlobID // of the extents that are data, in order
	Lengths []int64         // of all extents
	Kinds   []ExtentKind    // of all extents; nil when all are data
}

// IsZero reports whether c has no extents.
func (c *Content) IsZero() bool { return len(c.Lengths) == 0 && len(c.IDs) == 0 && len(c.Kinds) == 0 }

// Append adds an extent.
func (c *Content) Append(e Extent) {
	if e.Kind != Data && c.Kinds == nil {
		c.Kinds = make([]ExtentKind, len(c.Lengths), len(c.Lengths)+1)
	}
	if c.Kinds != nil {
		c.Kinds = append(c.Kinds, e.Kind)
	}
	if e.Kind == Data {
		c.IDs = append(c.IDs, e.ID)
	}
	c.Lengths = append(c.Lengths, e.Length)
}

// Extents returns the extents in order. The content must be a valid one, as decoding returns it.
func (c *Content) Extents() iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		next := 0
		for i, length := range c.Lengths {
			e := Extent{Length: length}
			if c.Kinds != nil {
				e.Kind = c.Kinds[i]
			}
			if e.Kind == Data {
				e.ID = c.IDs[next]
				next++
			}
			if !yield(e) {
				return
			}
		}
	}
}

// validate returns the number of bytes that c describes.
func (c *Content) validate(maxExtents int) (int64, error) {
	if len(c.Lengths) == 0 || len(c.Lengths) > maxExtents {
		return 0, invalid("content of %d extents", len(c.Lengths))
	}
	if c.Kinds != nil && len(c.Kinds) != len(c.Lengths) {
		return 0, invalid("%d kinds for %d extents", len(c.Kinds), len(c.Lengths))
	}
	var size int64
	data := 0
	for i, length := range c.Lengths {
		limit := int64(math.MaxInt64)
		switch {
		case c.Kinds == nil || c.Kinds[i] == Data:
			data++
			limit = object.MaxBlobSize
		case c.Kinds[i] > Zeros:
			return 0, newer("%v", c.Kinds[i])
		}
		if length < 1 || length > limit || length > math.MaxInt64-size {
			return 0, invalid("extent of %d bytes behind %d", length, size)
		}
		size += length
	}
	if data != len(c.IDs) {
		return 0, invalid("%d blob ids for %d extents of data", len(c.IDs), data)
	}
	return size, validateIDs(c.IDs)
}

// hasKinds reports whether the kinds must be written.
func (c *Content) hasKinds() bool {
	return slices.ContainsFunc(c.Kinds, func(k ExtentKind) bool { return k != Data })
}

// reset empties c and keeps its memory.
func (c *Content) reset() {
	c.IDs, c.Lengths, c.Kinds = c.IDs[:0], c.Lengths[:0], nil
}
