package pack

import (
	"fmt"

	"github.com/kura-backup/kura/internal/zst"
)

// EncodeSegment compresses the plaintext of a segment. Where that saves less than 1/32 the
// coding is [Raw] and plain itself is returned; otherwise the frame is appended to dst, whose
// capacity may hold it without an allocation.
func EncodeSegment(dst, plain []byte, level zst.Level) (stored []byte, coding Coding) {
	out := zst.Encode(dst, plain, level)
	if len(out)-len(dst) > len(plain)-len(plain)/32 {
		return plain, Raw
	}
	return out, Zstd
}

// DecodeSegment appends the plaintext of a segment to dst, given its decrypted bytes and what
// the directory says of them.
func DecodeSegment(dst, stored []byte, coding Coding, plain int) ([]byte, error) {
	switch coding {
	case Raw:
		if len(stored) != plain {
			return nil, fmt.Errorf("%w: raw segment of %d bytes, want %d", ErrInvalid, len(stored), plain)
		}
		return append(dst, stored...), nil
	case Zstd:
		out, err := zst.Decode(dst, stored, plain)
		if err != nil {
			return nil, fmt.Errorf("%w: segment: %w", ErrInvalid, err)
		}
		if len(out)-len(dst) != plain {
			return nil, fmt.Errorf("%w: segment of %d bytes, want %d", ErrInvalid, len(out)-len(dst), plain)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: %v", ErrCoding, coding)
}
