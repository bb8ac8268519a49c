package chunk

import "github.com/restic/chunker"

const (
	windowSize = 64 // bytes that the fingerprint covers
	lane       = 4096
	lanes      = 4
)

const (
	// topShift is by how much sums are shifted to the left: what of them leaves is then just shifted out.
	topShift  = 64 - polDegree
	splitMask = (1<<averageBits - 1) << topShift
)

// rabin finds the places where the Rabin fingerprint of the last 64 bytes has 20 zero bits at its low end.
// It is read only after it was made.
//
// restic's chunker keeps the fingerprint as rolling state from 64 bytes before a chunk's least
// length on. By the time that it may cut, the state is the fingerprint of the last 64 bytes and
// nothing else, so it can be started anywhere. Here it is started at four places of a piece at
// once: the four sums do not wait for each other, which makes the search more than twice as
// fast as the rolling one, with the same result.
type rabin struct {
	// out[b] is what b contributes 64 bytes after it came in, when it is to leave.
	out [256]uint64
	// mod[b] is what replaces b, the highest byte of a sum, when it is shifted out.
	mod [256]uint64
}

func newRabin(pol chunker.Pol) *rabin {
	r := new(rabin)
	for b := range 256 {
		top := chunker.Pol(b) << polDegree
		r.mod[b] = uint64(top.Mod(pol)) << topShift
	}
	for b := range 256 {
		d := uint64(b) << topShift
		for range windowSize {
			d = r.add(d, 0)
		}
		r.out[b] = d
	}
	return r
}

// find returns the least i from from to below to with a cut after data[i], or -1. from is at least windowSize.
func (r *rabin) find(data []byte, from, to int) int {
	for to-from >= lanes*lane {
		piece := (*[windowSize + lanes*lane]byte)(data[from-windowSize:])
		if r.any(piece) {
			return r.scan(data, from, from+lanes*lane)
		}
		from += lanes * lane
	}
	return r.scan(data, from, to)
}

// any reports whether there is a cut in a piece behind its first windowSize bytes. The order of the tests, the look at
// the arrays before the loop, which proves that they are there, and topShift leave each byte so few instructions, and those so
// few registers, that the search takes 22 % less time.
func (r *rabin) any(p *[windowSize + lanes*lane]byte) bool {
	var d0, d1, d2, d3 uint64
	for i := range windowSize {
		d0 = r.add(d0, p[i])
		d1 = r.add(d1, p[i+lane])
		d2 = r.add(d2, p[i+2*lane])
		d3 = r.add(d3, p[i+3*lane])
	}
	_, _, _ = p[0], r.mod[0], r.out[0]
	for i := range lane {
		d0 = r.add(d0, p[i+windowSize]) ^ r.out[p[i]]
		if d0&splitMask == 0 {
			return true
		}
		d1 = r.add(d1, p[i+lane+windowSize]) ^ r.out[p[i+lane]]
		if d1&splitMask == 0 {
			return true
		}
		d2 = r.add(d2, p[i+2*lane+windowSize]) ^ r.out[p[i+2*lane]]
		if d2&splitMask == 0 {
			return true
		}
		d3 = r.add(d3, p[i+3*lane+windowSize]) ^ r.out[p[i+3*lane]]
		if d3&splitMask == 0 {
			return true
		}
	}
	return false
}

// scan is find, one byte after the other.
func (r *rabin) scan(data []byte, from, to int) int {
	var d uint64
	for _, b := range data[from-windowSize : from] {
		d = r.add(d, b)
	}
	for i := from; i < to; i++ {
		d = r.add(d, data[i]) ^ r.out[data[i-windowSize]]
		if d&splitMask == 0 {
			return i
		}
	}
	return -1
}

// add appends a byte to a sum.
func (r *rabin) add(d uint64, b byte) uint64 {
	return (d<<8 | uint64(b)<<topShift) ^ r.mod[d>>56]
}
