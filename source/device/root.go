package device

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/source"
)

// Root is the hash of all that a device holds; the package's documentation says how it is made.
type Root [32]byte

// String returns it in hexadecimal.
func (r Root) String() string { return hex.EncodeToString(r[:]) }

// rootHasher makes a Root of the hashes of blocks, in order.
type rootHasher struct{ h *blake3.Hasher }

func newRootHasher(size int64) rootHasher {
	h := blake3.New()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(size))) // a hash takes everything
	return rootHasher{h}
}

func (r rootHasher) add(leaf *[32]byte) { _, _ = r.h.Write(leaf[:]) }

func (r rootHasher) sum() (out Root) {
	r.h.Sum(out[:0])
	return out
}

// zeros is what a block of zeros is compared with: the runtime does that with vector instructions, many times faster than memory is read.
var zeros [BlockSize]byte

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// zeroLeaf is the hash of a whole block of zeros.
var zeroLeaf = sync.OnceValue(func() [32]byte { return blake3.Sum256(zeros[:]) })

func leafOf(data []byte, zero bool) [32]byte {
	if zero && len(data) == BlockSize {
		return zeroLeaf()
	}
	return blake3.Sum256(data)
}

// RootOf reads the first size bytes of a device and returns their hash.
func RootOf(ctx context.Context, d *Device, size int64, seen func(int64)) (Root, error) {
	known := clip(d.Holes(), size)
	if end(known) < size {
		return Root{}, &ReadError{d.path, d.size, ErrEnded}
	}
	b := startBlocks(ctx, d, size, known)
	defer b.stop()
	for {
		n, err := b.next()
		if err == io.EOF {
			return b.root.sum(), nil
		}
		if err != nil {
			return Root{}, err
		}
		if seen != nil {
			seen(n)
		}
		b.skip()
	}
}

// clip returns what of the ranges is in front of size.
func clip(ranges []source.Range, size int64) (out []source.Range) {
	for _, r := range ranges {
		out = appendRange(out, r.Kind, min(r.Length, size-r.Start))
	}
	return out
}
