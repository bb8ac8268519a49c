package dump

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math/bits"
)

// Digest is of a set of rows, whatever their order. The zero value is that of no rows.
type Digest [4]uint64

// add adds a row's hash.
func (d *Digest) add(sum *[sha256.Size]byte) {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
}

func (d Digest) String() string {
	var b [sha256.Size]byte
	for i, v := range d {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return hex.EncodeToString(b[:])
}

// rowHasher hashes rows that come in pieces.
type rowHasher struct {
	h   hash.Hash
	mid bool // in a row
	sum [sha256.Size]byte
}

func (r *rowHasher) more(p []byte) {
	if r.h == nil {
		r.h = sha256.New()
	}
	if !r.mid {
		r.h.Reset()
		r.mid = true
	}
	r.h.Write(p)
}

// end returns the hash of a row whose last piece is p.
func (r *rowHasher) end(p []byte) *[sha256.Size]byte {
	if !r.mid {
		r.sum = sha256.Sum256(p)
		return &r.sum
	}
	r.h.Write(p)
	r.mid = false
	r.h.Sum(r.sum[:0])
	return &r.sum
}
