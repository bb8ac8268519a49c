package index

import (
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// appendSketches appends the column of sketches: for each segment that has one, how many segments it comes after the
// one before it (the first: after the first segment), and the sketch.
func (s *Segment) appendSketches(dst []byte) []byte {
	last := 0
	for i := range s.Segments {
		p := &s.Segments[i]
		if !p.HasSketch {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(i-last))
		dst = pack.AppendSketch(dst, p.Sketch)
		last = i
	}
	return dst
}

// decodeSketches gives the segments, which have been decoded, their sketches.
func (s *Segment) decodeSketches(column []byte) error {
	at := uint64(0)
	for first := true; len(column) > 0; first = false {
		step, n := binary.Uvarint(column)
		if n <= 0 || step == 0 && !first || step >= uint64(len(s.Segments))-at {
			return fmt.Errorf("%w: sketch of segment %d+%d of %d", ErrInvalid, at, step, len(s.Segments))
		}
		at += step
		column = column[n:]
		p := &s.Segments[at]
		if s.Packs[p.Pack].Ref.Class != object.DataPack {
			return fmt.Errorf("%w: sketch in a %v pack", ErrInvalid, s.Packs[p.Pack].Ref.Class)
		}
		var err error
		if p.Sketch, err = pack.ParseSketch(column[:min(len(column), pack.SketchSize)]); err != nil {
			return fmt.Errorf("%w: segment %d: %w", ErrInvalid, at, err)
		}
		p.HasSketch = true
		column = column[pack.SketchSize:]
	}
	return nil
}
