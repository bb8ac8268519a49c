package pack

import (
	"fmt"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/zst"
)

// EncodeSegment compresses the plaintext of a segment. Where that saves less than 1/32 the
// coding is [Raw] and plain itself is returned; otherwise a frame that lies in scratch.
func EncodeSegment(scratch *freelist.Scratch, plain []byte, level zst.Level) (stored []byte, coding Coding) {
	if zst.IsNoise(plain) {
		return plain, Raw
	}
	out := zst.Encode(scratch.For(zst.MaxEncoded(len(plain))), plain, level)
	if len(out) > len(plain)-len(plain)/32 {
		return plain, Raw
	}
	return out, Zstd
}

// EncodeDelta returns a segment's stored bytes, in scratch, given the stream that package delta has made of it.
func EncodeDelta(scratch *freelist.Scratch, stream []byte, level zst.Level) []byte {
	return zst.Encode(scratch.For(zst.MaxEncoded(len(stream))), stream, level)
}

// DecodeSegment appends the plaintext of a segment to dst, given its decrypted bytes, what the directory says
// of them, and for a delta the plaintexts of its bases, joined.
func DecodeSegment(dst, stored []byte, coding Coding, plain int, base []byte) ([]byte, error) {
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
	case Delta:
		stream, err := DecodeStream(nil, stored, plain)
		if err != nil {
			return nil, err
		}
		out, err := delta.Apply(dst, base, stream, plain)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: %v", ErrCoding, coding)
}

// DecodeStream appends to dst the stream of a delta, as package delta has it, given the decrypted bytes of a segment and the length of its
// plaintext.
func DecodeStream(dst, stored []byte, plain int) ([]byte, error) {
	out, err := zst.Decode(dst, stored, plain) // a longer one is not written
	if err != nil {
		return nil, fmt.Errorf("%w: delta: %w", ErrInvalid, err)
	}
	return out, nil
}
