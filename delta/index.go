package delta

import (
	"encoding/binary"
	"math/bits"
)

const (
	window     = 16      // bytes that are looked up
	minStride  = 16      // from one window of the base that is in the index to the next
	maxWindows = 1 << 19 // fewer than that are in the index: 4.3 MiB of tables
	maxTries   = 2       // windows that are looked at for one place of the target

	numberBits = 20 // of an entry, for the number of a window; the others are a tag
	tagBits    = 32 - numberBits
	filterBits = 2 // how many more bits of a hash the filter has than the table
	wordBits   = 6
)

// index finds windows of a base by their content.
//
// Every stride-th window is in it, and targets are looked up at every place (or at every k-th one, k odd), so a match of
// window+k*stride-1 bytes is always met. An entry is 1 + the number of a window, and above that a tag of 12 bits more of its
// hash, so that nearly all places which are not in the base are told without a look at it. Windows with equal slots are chained, the last one first.
//
// The filter has a bit for each hash there is. It is an eighth of the table and stays in the core's cache, and seven of eight places that are not in
// the base end there: where much is new the search was measured to be a quarter faster with it, where little is, 5 % slower.
type index struct {
	table, chain []uint32
	filter       []uint64
	shift        uint
	stride       int
	base         []byte
}

// build indexes base, in the tables of the base before. Bases of 8 MiB and more get a greater stride rather than greater tables.
func (x *index) build(base []byte) {
	x.base, x.stride = base, minStride
	for len(base)/x.stride >= maxWindows {
		x.stride *= 2
	}
	n := 0
	if len(base) >= window {
		n = (len(base)-window)/x.stride + 1
	}
	slotBits := max(bits.Len(uint(n)), 10)
	x.shift = uint(64 - slotBits)
	x.table = resized(x.table, 1<<slotBits)
	clear(x.table)
	x.filter = resized(x.filter, 1<<(slotBits-wordBits+filterBits))
	clear(x.filter)
	x.chain = resized(x.chain, n)
	last := uint64(1)
	for i := range x.chain {
		h := hash(load(base, i*x.stride), load(base, i*x.stride+8))
		if h == last {
			continue // in a run of equal windows the first one is enough
		}
		last = h
		f := h >> (x.shift - filterBits)
		x.filter[f>>wordBits] |= 1 << (f % 64)
		slot := &x.table[h>>x.shift]
		x.chain[i] = *slot
		*slot = uint32(h>>(x.shift-tagBits))<<numberBits | uint32(i+1)
	}
}

// find returns the best match that is in the index of the target at pos, and its length from there on. The bytes of the target from lit on
// are not yet in any copy, so what lies before pos counts for a match, too.
func (x *index) find(target []byte, pos, lit int) (from, n int) {
	a, b := load(target, pos), load(target, pos+8)
	h := hash(a, b)
	f := h >> (x.shift - filterBits)
	if x.filter[f>>wordBits]>>(f%64)&1 == 0 {
		return 0, 0
	}
	entry := x.table[h>>x.shift]
	tag := uint32(h>>(x.shift-tagBits)) << numberBits
	best := 0
	for range maxTries {
		if entry == 0 {
			break
		}
		i := int(entry&(1<<numberBits-1)) - 1
		f := i * x.stride
		if entry>>numberBits<<numberBits == tag && load(x.base, f) == a && load(x.base, f+8) == b {
			m := window + common(target[pos+window:], x.base[f+window:])
			if total := m + commonBack(target[lit:pos], x.base[:f]); total > best {
				best, from, n = total, f, m
			}
		}
		entry = x.chain[i]
	}
	return from, n
}

func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func hash(a, b uint64) uint64 {
	return (a*0x9E3779B97F4A7C15 + bits.RotateLeft64(b, 31)) * 0xD6E8FEB86659FD93
}

func load(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// equalBlock is how much is compared at once where much is equal: several times as fast as word by word.
const equalBlock = 512

// common returns how many bytes a and b have in common at their beginnings.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for i+equalBlock <= n && string(a[i:i+equalBlock]) == string(b[i:i+equalBlock]) {
		i += equalBlock
	}
	for ; i+8 <= n; i += 8 {
		if x := load(a, i) ^ load(b, i); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// commonBack returns how many bytes a and b have in common at their ends.
func commonBack(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}
