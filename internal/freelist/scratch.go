package freelist

import "math/bits"

// MaxScratch is the most memory that a [Scratch] keeps. Few chunks are larger.
const MaxScratch = 4 << 20

// Scratch is memory that is used for one thing after the other. The zero value is ready, and nil keeps nothing. It is not safe
// for concurrent use.
type Scratch struct {
	mem []byte
}

// For returns an empty slice with room for n bytes, which is the caller's until the next call. What is kept grows by
// doubling, and something larger than MaxScratch gets memory of its own beside it: when that was kept, or what there was let
// go for it, a backup of noise allocated as many bytes as it read.
func (s *Scratch) For(n int) []byte {
	if s != nil && n <= cap(s.mem) {
		return s.mem[:0]
	}
	if s == nil || n > MaxScratch {
		return make([]byte, 0, n)
	}
	s.mem = make([]byte, 0, 1<<bits.Len(uint(max(n-1, 1<<15))))
	return s.mem
}

// Keep is told what became of a slice that For returned, which may have been grown.
func (s *Scratch) Keep(b []byte) {
	if s != nil && cap(s.mem) < cap(b) && cap(b) <= MaxScratch {
		s.mem = b[:0]
	}
}
