package model

import "math/bits"

// view is what an actor can see: for each pack the copies it knows of.
type view [maxPacks]copies

// see lists what the index says of live packs and, for the packs of more, what
// their own directories say.
func (s *state) see(more packSet) view {
	var v view
	listed := s.listed()
	for i := range s.packs {
		p := &s.packs[i]
		if more&(1<<i) != 0 {
			v[i] = p.copies
			continue
		}
		if p.flags&live == 0 {
			continue
		}
		for b := range blobs {
			if listed&(1<<(i*blobs+b)) != 0 {
				v[i] |= p.copies & (plain(b) | delta(b))
			}
		}
	}
	return v
}

// with returns the packs of in that hold one of the given copies.
func (v *view) with(in packSet, c copies) packSet {
	var m packSet
	for ; in != 0; in &= in - 1 {
		if i := bits.TrailingZeros8(in); v[i]&c != 0 {
			m |= 1 << i
		}
	}
	return m
}

// grounding is how an actor judges deltas; each field is a rule.
type grounding struct {
	base  bool // a delta needs its base
	depth bool // of smaller depth
	chain bool // and the base its own
}

var sound = grounding{true, true, true}

// bases are the copies of the base of b that may ground a delta of b.
func (r grounding) bases(b int) copies {
	base := baseOf[b]
	if !r.depth || depthOf[base] < depthOf[b] {
		return plain(base) | delta(base)
	}
	return plain(base)
}

// grounds appends the pack sets of every ground of blob b in the packs of in,
// by copies of a depth below the given one.
func (v *view) grounds(to []packSet, in packSet, b, below int, r grounding) []packSet {
	for m := v.with(in, plain(b)); m != 0; m &= m - 1 {
		to = append(to, m&-m)
	}
	if depthOf[b] >= below {
		return to
	}
	for m := v.with(in, delta(b)); m != 0; m &= m - 1 {
		switch {
		case !r.base:
			to = append(to, m&-m)
		case !r.depth || !r.chain:
			for q := v.with(in, r.bases(b)); q != 0; q &= q - 1 {
				to = append(to, m&-m|q&-q)
			}
		default:
			var buf [40]packSet
			for _, q := range v.grounds(buf[:0], in, baseOf[b], depthOf[b], r) {
				to = append(to, m&-m|q)
			}
		}
	}
	return to
}

// counts reports whether blob b counts in the packs of in, by a copy of a depth
// below the given one.
func (v *view) counts(in packSet, b, below int, r grounding) bool {
	switch {
	case v.with(in, plain(b)) != 0:
		return true
	case depthOf[b] >= below || v.with(in, delta(b)) == 0:
		return false
	case !r.base:
		return true
	case !r.depth || !r.chain:
		return v.with(in, r.bases(b)) != 0
	}
	return v.counts(in, baseOf[b], depthOf[b], r)
}

// covers reports whether every blob of want counts in the packs of in.
func (v *view) covers(in packSet, want blobSet, r grounding) bool {
	for b := range blobs {
		if want&(1<<b) != 0 && !v.counts(in, b, anyDepth, r) {
			return false
		}
	}
	return true
}
