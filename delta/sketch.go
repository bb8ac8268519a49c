package delta

import "math/bits"

// Features is how many super-features a sketch has.
const Features = 3

// Sketch says what a block is like: if one of the features of two blocks is equal they probably have much in common.
// Each is below 1<<48, and none is made as one of another place is.
type Sketch [Features]uint64

const (
	featureBits = 48
	// Of each feature three transforms have to agree. With two, blocks of one kind that are not related have an equal feature too often
	// in a large repository; with four, too few blocks that were moved do (docs/delta.md has the figures).
	transforms = 3

	sampleBits  = 6  // a window is taken at one place of 64
	sampleValue = 21 // not zero, because windows that begin with zeros have that
	// sampleSkip is where the next window may begin: half of all places are never looked at. With a larger one it would take
	// longer behind an edit until the same places are taken again.
	sampleSkip = 64
	sampled    = 32 // bytes of a window
	leastSeen  = 24 // of 64 values that windows have to have: 64 KiB have some 500 windows
	mixA       = 0x9E3779B97F4A7C15
	mixB       = 0xD6E8FEB86659FD93
)

// multipliers are the first numbers of SplitMix64 from 0, made odd.
var multipliers = [Features * transforms]uint64{
	0xE220A8397B1DCDAF, 0x6E789E6AA1B965F5, 0x06C45D188009454F,
	0xF88BB8A8724C81ED, 0x1B39896A51A8749B, 0x53CB9F0C747EA2EB,
	0x2C829ABE1F4532E1, 0xC584133AC916AB3D, 0x3EE5789041C98AC3,
}

// SketchOf returns the sketch of data. It reports false where there are too few different windows to tell data from others.
// It is safe for concurrent use.
func SketchOf(data []byte) (Sketch, bool) {
	var f features
	for i := nextSample(data, 0); i >= 0; i = nextSample(data, i+sampleSkip) {
		f.add(data[i : i+sampled])
	}
	return f.sketch()
}

// nextSample returns where the next window from i on begins, or -1. It looks at eight places at a time, none of which waits
// for another: this was measured to be 2.5 times as fast as one after the other.
func nextSample(data []byte, i int) int {
	for ; i+8+sampled <= len(data); i += 8 {
		w := data[i : i+16 : i+16]
		switch {
		case isSample(load(w, 0)):
			return i
		case isSample(load(w, 1)):
			return i + 1
		case isSample(load(w, 2)):
			return i + 2
		case isSample(load(w, 3)):
			return i + 3
		case isSample(load(w, 4)):
			return i + 4
		case isSample(load(w, 5)):
			return i + 5
		case isSample(load(w, 6)):
			return i + 6
		case isSample(load(w, 7)):
			return i + 7
		}
	}
	for ; i+sampled <= len(data); i++ {
		if isSample(load(data, i)) {
			return i
		}
	}
	return -1
}

func isSample(x uint64) bool { return x*mixA>>(64-sampleBits) == sampleValue }

// features are the greatest values of each transform so far.
type features struct {
	greatest [Features * transforms]uint64
	seen     uint64
}

func (f *features) add(window []byte) {
	h := uint64(0)
	for i := 0; i < sampled; i += 8 {
		h = mix(h, load(window, i))
	}
	h = (h ^ h>>32) * mixA
	h ^= h >> 29
	f.seen |= 1 << (h & 63)
	// Unrolled, and without max, which always writes: 8 % of the time of a sketch.
	g, m := &f.greatest, &multipliers
	raise(&g[0], h*m[0])
	raise(&g[1], h*m[1])
	raise(&g[2], h*m[2])
	raise(&g[3], h*m[3])
	raise(&g[4], h*m[4])
	raise(&g[5], h*m[5])
	raise(&g[6], h*m[6])
	raise(&g[7], h*m[7])
	raise(&g[8], h*m[8])
}

// raise makes v the greatest, unless that is greater.
func raise(greatest *uint64, v uint64) {
	if v > *greatest {
		*greatest = v
	}
}

func (f *features) sketch() (s Sketch, ok bool) {
	if bits.OnesCount64(f.seen) < leastSeen {
		return s, false
	}
	for k := range s {
		h := uint64(k + 1)
		for _, v := range f.greatest[k*transforms : (k+1)*transforms] {
			h = mix(h, v)
		}
		s[k] = (h ^ h>>32) & (1<<featureBits - 1)
	}
	return s, true
}

func mix(h, v uint64) uint64 { return (bits.RotateLeft64(h, 29) ^ v) * mixB }
