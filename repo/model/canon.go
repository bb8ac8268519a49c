package model

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"slices"
)

// Two states that differ only in which slots things sit in, or in which of two
// equal actors did what, behave alike. canon renames both to one of them. It
// orders slots by what can be said of them without naming slots; where that
// leaves a tie the old order stays, so that two equal states may keep two
// forms. That costs room, not truth.

// renaming says where each slot went, old to new.
type renaming struct {
	packs, sess, segs [8]uint8
	writers           [maxWriters]uint8
	collectors        [maxCollectors]uint8
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd1b54a32d192ed03)
	return hi ^ lo
}

// local is what can be said of an actor without naming slots.
func (w *writer) local() uint64 {
	v := uint64(w.pc) | uint64(w.runs)<<8 | uint64(w.goal)<<16 | uint64(w.saves)<<24 | uint64(w.todo)<<32 | uint64(w.e.wants)<<40
	if w.stale {
		v |= 1 << 48
	}
	return mix(v, 11)
}

func (c *collector) local() uint64 {
	v := uint64(c.pc) | uint64(c.runs)<<8 | uint64(c.todo)<<16
	if c.stale {
		v |= 1 << 48
	}
	return mix(v, 12)
}

// canon renames s in place.
func (s *state) canon() renaming {
	var sk, pk, gk [8]uint64
	for i := range s.sess {
		k := &s.sess[i]
		sk[i] = mix(uint64(k.status)|uint64(k.snap)<<8|uint64(k.wants)<<16, 1)
	}
	for i := range s.packs {
		if p := &s.packs[i]; p.flags != 0 {
			sk[p.sess] += mix(uint64(p.copies)|uint64(p.flags)<<8, 2)
		}
	}
	for i := range s.segs {
		if k := &s.segs[i]; k.flags != 0 {
			sk[k.sess] += mix(uint64(k.flags)|uint64(bits.OnesCount32(k.list))<<8, 3)
		}
	}
	for i := range s.w {
		if w := &s.w[i]; w.pc != idle {
			l := w.local()
			if w.e.kind != noEntry {
				sk[w.e.sid] += mix(l, 4)
			}
			if w.prev != 0 {
				sk[w.prev-1] += mix(l, 5)
			}
		}
	}
	for i := range s.c {
		if c := &s.c[i]; c.pc != idle {
			l := c.local()
			sk[c.e.sid] += mix(l, 6)
			each(c.e.revoke, func(k int) { sk[k] += mix(l, 13) })
			each(c.e.gone|c.known, func(k int) { sk[k] += mix(l, 14) })
		}
	}
	for i := range s.flights {
		if f := &s.flights[i]; f.kind != noEntry {
			l := uint64(f.kind)<<8 | uint64(f.wants)
			sk[f.sid] += mix(l, 7)
			each(f.revoke, func(k int) { sk[k] += mix(l, 15) })
		}
	}
	for i := range s.packs {
		if p := &s.packs[i]; p.flags != 0 {
			pk[i] = mix(uint64(p.copies)|uint64(p.flags)<<8, sk[p.sess])
		}
	}
	for i := range s.w {
		if w := &s.w[i]; w.pc != idle {
			l := w.local()
			each(w.rely, func(p int) { pk[p] += mix(l, 8) })
			each(w.e.add, func(p int) { pk[p] += mix(l, 9) })
		}
	}
	for i := range s.c {
		if c := &s.c[i]; c.pc != idle {
			l := c.local()
			each(c.e.drop, func(p int) { pk[p] += mix(l, 8) })
			each(c.e.add, func(p int) { pk[p] += mix(l, 9) })
		}
	}
	// Index segments by the packs they list, packs by the segments that list
	// them, then sessions by what they own.
	var more [8]uint64
	for i := range s.segs {
		k := &s.segs[i]
		if k.flags == 0 {
			continue
		}
		gk[i] = mix(uint64(k.flags), sk[k.sess])
		own := gk[i]
		for m := k.list; m != 0; m &= m - 1 {
			b := bits.TrailingZeros32(m)
			gk[i] += mix(pk[b/blobs], uint64(b%blobs))
			more[b/blobs] += mix(own, 10)
		}
	}
	for i := range s.w {
		if w := &s.w[i]; w.pc != idle {
			each(w.e.segs, func(k int) { gk[k] += mix(w.local(), 16) })
		}
	}
	for i := range s.c {
		if c := &s.c[i]; c.pc != idle {
			each(c.e.segs, func(k int) { gk[k] += mix(c.local(), 17) })
			each(c.e.replace, func(k int) { gk[k] += mix(c.local(), 18) })
		}
	}
	for i := range s.packs {
		pk[i] += more[i]
	}
	owned := [8]uint64{}
	for i := range s.packs {
		if p := &s.packs[i]; p.flags != 0 {
			owned[p.sess] += mix(pk[i], 19)
		}
	}
	for i := range s.segs {
		if k := &s.segs[i]; k.flags != 0 {
			owned[k.sess] += mix(gk[i], 20)
		}
	}
	for i := range owned {
		sk[i] += owned[i]
	}
	var r renaming
	var order [8]int
	r.sess = rank(&sk, &order, func(i int) bool { return s.sess[i].status == sessFree })
	r.packs = rank(&pk, &order, func(i int) bool { return s.packs[i].flags == 0 })
	r.segs = rank(&gk, &order, func(i int) bool { return s.segs[i].flags == 0 })
	s.rename(&r)
	return r
}

func each(m uint8, f func(int)) {
	for ; m != 0; m &= m - 1 {
		f(bits.TrailingZeros8(m))
	}
}

// rank orders slots by key, free ones last.
func rank(keys *[8]uint64, order *[8]int, free func(int) bool) (to [8]uint8) {
	for i := range order {
		order[i] = i
		if free(i) {
			keys[i] = ^uint64(0)
		}
	}
	// Insertion sort: eight slots, most of them free and in order.
	for i := 1; i < len(order); i++ {
		for j := i; j > 0 && keys[order[j]] < keys[order[j-1]]; j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	for i, old := range order {
		to[old] = uint8(i)
	}
	return to
}

func move(m uint8, to *[8]uint8) (n uint8) {
	for ; m != 0; m &= m - 1 {
		n |= 1 << to[bits.TrailingZeros8(m)]
	}
	return n
}

func moveList(m uint32, to *[8]uint8) (n uint32) {
	for ; m != 0; m &= m - 1 {
		b := bits.TrailingZeros32(m)
		n |= 1 << (int(to[b/blobs])*blobs + b%blobs)
	}
	return n
}

func (e *entry) rename(r *renaming) {
	if e.kind == noEntry {
		return
	}
	e.sid = r.sess[e.sid]
	e.add, e.drop = move(e.add, &r.packs), move(e.drop, &r.packs)
	e.segs, e.replace = move(e.segs, &r.segs), move(e.replace, &r.segs)
	e.sup, e.revoke, e.gone = move(e.sup, &r.sess), move(e.revoke, &r.sess), move(e.gone, &r.sess)
}

func (s *state) rename(r *renaming) {
	old := *s
	for i := range old.sess {
		s.sess[r.sess[i]] = old.sess[i]
	}
	for i := range old.packs {
		p := old.packs[i]
		if p.flags != 0 {
			p.sess = r.sess[p.sess]
		}
		s.packs[r.packs[i]] = p
	}
	for i := range old.segs {
		k := old.segs[i]
		if k.flags != 0 {
			k.sess = r.sess[k.sess]
			k.list = moveList(k.list, &r.packs)
		}
		s.segs[r.segs[i]] = k
	}
	s.ever = move(s.ever, &r.packs)
	for i := range s.w {
		w := &s.w[i]
		w.rely, w.blind = move(w.rely, &r.packs), move(w.blind, &r.packs)
		if w.prev != 0 {
			w.prev = r.sess[w.prev-1] + 1
		}
		w.e.rename(r)
	}
	for i := range s.c {
		c := &s.c[i]
		c.known = move(c.known, &r.sess)
		c.list = moveList(c.list, &r.packs)
		c.e.rename(r)
	}
	for i := range s.flights {
		s.flights[i].rename(r)
	}
	if f := &s.flights; bytes.Compare(f[0].bytes(nil), f[1].bytes(nil)) > 0 {
		f[0], f[1] = f[1], f[0]
	}
	var buf [maxWriters][32]byte
	var ws [maxWriters]int
	var wb [maxWriters][]byte
	for i := range s.w {
		ws[i], wb[i] = i, s.w[i].bytes(buf[i][:0])
	}
	slices.SortStableFunc(ws[:], func(a, b int) int { return bytes.Compare(wb[a], wb[b]) })
	was := s.w
	for i, from := range ws {
		s.w[i] = was[from]
		r.writers[from] = uint8(i)
	}
	r.collectors = [maxCollectors]uint8{0, 1}
	var cb [maxCollectors][32]byte
	if bytes.Compare(s.c[0].bytes(cb[0][:0]), s.c[1].bytes(cb[1][:0])) > 0 {
		s.c[0], s.c[1] = s.c[1], s.c[0]
		r.collectors = [maxCollectors]uint8{1, 0}
	}
}

func (e *entry) bytes(b []byte) []byte {
	if e.kind == noEntry {
		return append(b, 0)
	}
	return append(b, e.kind, e.sid, e.wants, e.add, e.segs, e.sup, e.drop, e.revoke, e.gone, e.replace)
}

// Idle actors sort last, so that the actors of small worlds keep their order.
func (w *writer) bytes(b []byte) []byte {
	if w.pc == idle {
		return append(b, 0xff, ^w.runs, w.saves)
	}
	b = append(b, w.pc, w.runs, bit(w.stale), w.saves, w.goal, w.prev, w.todo, w.rely, w.trust, w.blind)
	return w.e.bytes(b)
}

func (c *collector) bytes(b []byte) []byte {
	if c.pc == idle {
		return append(b, 0xff, ^c.runs)
	}
	b = append(b, c.pc, c.runs, bit(c.stale), c.todo, c.known, byte(c.list), byte(c.list>>8), byte(c.list>>16))
	return c.e.bytes(b)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var hashSeed = maphash.MakeSeed()

// hash is 64 bits of a state; ever is left out, because no rule depends on it.
// Among ten million states two share a hash with a chance of one in 370,000.
func (s *state) hash() uint64 {
	var buf [256]byte
	b := buf[:0]
	for i := range s.sess {
		k := &s.sess[i]
		b = append(b, k.status|k.snap<<2|k.wants<<4)
	}
	for i := range s.packs {
		p := &s.packs[i]
		b = append(b, p.sess, p.copies, p.flags)
	}
	for i := range s.segs {
		k := &s.segs[i]
		b = append(b, k.sess|k.flags<<3, byte(k.list), byte(k.list>>8), byte(k.list>>16))
	}
	for i := range s.w {
		b = s.w[i].bytes(b)
	}
	for i := range s.c {
		b = s.c[i].bytes(b)
	}
	for i := range s.flights {
		b = s.flights[i].bytes(b)
	}
	l := &s.left
	b = append(b, l.crashes, l.unclear, l.slow, l.twice, l.forgets, l.unforgets)
	return maphash.Bytes(hashSeed, b)
}
