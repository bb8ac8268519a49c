package delta

const (
	aroundBits = 12 // of the table's slots: 16 KiB, which stay in the core's nearest cache
	// What lies so far behind and ahead of where copying ended is looked for.
	behind = 256
	ahead  = 4 << 10
	// From so many bytes on that are new, and one in so many of those that were passed, the whole base is searched.
	newMost  = 20 << 10
	newShare = 3
)

// around finds windows of a base around the place where copying goes on. Where little is new that is where nearly all of
// it continues, and only the bases' parts around changes are looked at: to index all of a base took more time than the
// search. It has a window at every 16th byte as index does, but without chains: a later one takes the slot.
type around struct {
	table    [1 << aroundBits]uint32 // 1 + where a window begins
	from, to int                     // windows that begin in this range of the base are in the table
	base     []byte
}

// begin forgets the base before.
func (x *around) begin(base []byte) {
	clear(x.table[:])
	x.from, x.to, x.base = 0, 0, base
}

// cover puts the windows around a place into the table.
func (x *around) cover(at int) {
	if at >= x.from && at+ahead/2 <= x.to {
		return
	}
	lo, hi := max(at-behind, 0)&^(minStride-1), min(at+ahead, len(x.base)-window+1)
	if lo < x.from || lo > x.to {
		x.from, x.to = lo, lo
	}
	for ; x.to < hi; x.to += minStride {
		h := hash(load(x.base, x.to), load(x.base, x.to+8))
		x.table[h>>(64-aroundBits)] = uint32(x.to + 1)
	}
}

// find returns the match that is in the table of the target at pos, and its length from there on.
func (x *around) find(target []byte, pos int) (from, n int) {
	a, b := load(target, pos), load(target, pos+8)
	f := int(x.table[hash(a, b)>>(64-aroundBits)]) - 1
	if f < 0 || load(x.base, f) != a || load(x.base, f+8) != b {
		return 0, 0
	}
	return f, window + common(target[pos+window:], x.base[f+window:])
}
