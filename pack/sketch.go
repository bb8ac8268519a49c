package pack

import (
	"fmt"

	"github.com/kura-backup/kura/delta"
)

// SketchSize is the length of an encoded sketch: 48 bits, little-endian, for each feature.
const SketchSize = featureSize * delta.Features

const featureSize = 6

// AppendSketch appends the encoding of a sketch to dst.
func AppendSketch(dst []byte, sketch delta.Sketch) []byte {
	for _, f := range sketch {
		for i := range featureSize {
			dst = append(dst, byte(f>>(8*i)))
		}
	}
	return dst
}

// ParseSketch is the inverse of AppendSketch.
func ParseSketch(b []byte) (sketch delta.Sketch, err error) {
	if len(b) != SketchSize {
		return sketch, fmt.Errorf("%w: sketch of %d bytes", ErrInvalid, len(b))
	}
	for n := range sketch {
		for i := range featureSize {
			sketch[n] |= uint64(b[n*featureSize+i]) << (8 * i)
		}
	}
	return sketch, nil
}
