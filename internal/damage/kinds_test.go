package damage

import (
	"bytes"
	"math/rand/v2"
	"slices"

	"github.com/kura-backup/kura/pack/parity"
)

// kind is a way to damage an object. change gives the new bytes, or nil if this does not apply to it; partners
// are the objects that it may meet. With swaps, the partner that was met gets the object's bytes.
type kind struct {
	name     string
	change   func(rng *rand.Rand, obj []byte) []byte
	partners func(w *world, it *item) []item
	swaps    bool
	missing  bool
}

// sector is what disks lose at a time, page what they do at most.
const (
	sector = 512
	page   = 4096
)

var kinds = []kind{
	{name: "one bit flipped", change: func(rng *rand.Rand, obj []byte) []byte { return flip(rng, obj, 1) }},
	{name: "many bits flipped", change: func(rng *rand.Rand, obj []byte) []byte { return flip(rng, obj, 2+rng.IntN(200)) }},
	{name: "torn sectors", change: tear},
	{name: "within parity", change: spend},
	{name: "truncated", change: func(rng *rand.Rand, obj []byte) []byte { return obj[:1+rng.IntN(len(obj)-1)] }},
	{name: "truncated in parity", change: cutParity},
	{name: "zeroed page", change: zeroPage},
	{name: "zeroed to its end", change: func(rng *rand.Rand, obj []byte) []byte {
		clear(obj[rng.IntN(len(obj)):])
		return obj
	}},
	{name: "all zeros", change: func(_ *rand.Rand, obj []byte) []byte { return make([]byte, len(obj)) }},
	{name: "random bytes", change: func(rng *rand.Rand, obj []byte) []byte { return noise(rng, obj) }},
	{name: "ranges swapped", change: swapRanges},
	{name: "range repeated", change: func(rng *rand.Rand, obj []byte) []byte {
		at, n := span(rng, len(obj))
		return slices.Insert(obj, at, bytes.Clone(obj[at:at+n])...)
	}},
	{name: "range overwritten", change: func(rng *rand.Rand, obj []byte) []byte {
		at, n := span(rng, len(obj))
		copy(obj[rng.IntN(len(obj)-n+1):], bytes.Clone(obj[at:at+n]))
		return obj
	}},
	{name: "bytes behind it", change: func(rng *rand.Rand, obj []byte) []byte {
		return append(obj, noise(rng, make([]byte, 1+rng.IntN(2*page)))...)
	}},
	{name: "repeated as a whole", change: func(_ *rand.Rand, obj []byte) []byte { return slices.Concat(obj, obj) }},
	{name: "empty", change: func(*rand.Rand, []byte) []byte { return []byte{} }},
	{name: "missing", missing: true},
	{name: "another of its class", partners: (*world).siblings},
	{name: "swapped with another", partners: (*world).siblings, swaps: true},
	{name: "of another class", partners: func(w *world, _ *item) []item { return w.all }},
	{name: "of a forked history", partners: func(w *world, it *item) []item { return sameName(it, w.byFork[classOf(it.name)]) }},
	{name: "of another repository", partners: func(w *world, it *item) []item { return sameName(it, w.byElse[classOf(it.name)]) }},
}

// siblings are the objects that lie in the same folder.
func (w *world) siblings(it *item) (out []item) {
	for _, o := range w.all {
		if classOf(o.name) == classOf(it.name) && o.name != it.name {
			out = append(out, o)
		}
	}
	return out
}

// sameName prefers, of other objects, the one with the same name.
func sameName(it *item, others []item) []item {
	for _, o := range others {
		if o.name == it.name && !bytes.Equal(o.data, it.data) {
			return []item{o}
		}
	}
	return others
}

func flip(rng *rand.Rand, obj []byte, n int) []byte {
	for range n {
		obj[rng.IntN(len(obj))] ^= 1 << rng.IntN(8)
	}
	return obj
}

func noise(rng *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// span draws a range that is neither empty nor everything, unless there is but one byte.
func span(rng *rand.Rand, size int) (at, n int) {
	n = 1 + rng.IntN(max(size-1, 1))
	if n > page {
		n = 1 + rng.IntN(page)
	}
	return rng.IntN(size - n + 1), n
}

// tear fills one to four sectors in a row with noise.
func tear(rng *rand.Rand, obj []byte) []byte {
	at := rng.IntN(len(obj)) / sector * sector
	noise(rng, obj[at:min(at+(1+rng.IntN(4))*sector, len(obj))])
	return obj
}

func zeroPage(rng *rand.Rand, obj []byte) []byte {
	at := rng.IntN(len(obj)) / page * page
	clear(obj[at:min(at+page, len(obj))])
	return obj
}

func swapRanges(rng *rand.Rand, obj []byte) []byte {
	if len(obj) < 2 {
		return nil
	}
	n := 1 + rng.IntN(min(len(obj)/2, page))
	a := rng.IntN(len(obj) - 2*n + 1)
	b := a + n + rng.IntN(len(obj)-a-2*n+1)
	first := bytes.Clone(obj[a : a+n])
	copy(obj[a:], obj[b:b+n])
	copy(obj[b:], first)
	return obj
}

// layout is where the parts of an object with parity lie, as docs/format.md has it.
type layout struct {
	body, sector    int
	sectors, groups int // of the body; in how many groups
	m               int // parity sectors of each group
}

func layoutOf(obj []byte) (l layout, ok bool) {
	f, ok := parity.ParseFooter(obj[max(len(obj)-parity.FooterSize, 0):])
	if !ok || f.Size() != int64(len(obj)) {
		return l, false
	}
	l.body, l.sector = int(f.Body), 512
	if l.body > 65536 {
		l.sector = 4096
	}
	ceil := func(a, b int) int { return (a + b - 1) / b }
	l.sectors = ceil(l.body, l.sector)
	l.groups = ceil(l.sectors, 25600/(100+int(f.Percent)))
	l.m = max(2, ceil(ceil(l.sectors, l.groups)*int(f.Percent), 100))
	return l, true
}

func (l *layout) count() int { return l.sectors + l.groups*l.m } // of all sectors

func (l *layout) table() int { return 4 * l.count() }

// at is where a sector lies: of the body, and behind these of the parity.
func (l *layout) at(i int) (from, to int) {
	if i < l.sectors {
		return i * l.sector, min((i+1)*l.sector, l.body)
	}
	from = l.body + parity.FooterSize + l.table() + (i-l.sectors)*l.sector
	return from, from + l.sector
}

func (l *layout) groupOf(i int) int {
	if i < l.sectors {
		return i % l.groups
	}
	return (i - l.sectors) % l.groups
}

// within reports whether parity must be able to mend the damage: the length is the same, one of the two footers is
// whole, and no group has lost more than it can spare, a sector being lost if its bytes or both of its
// sums are. Of an object that ends too early the body and the first footer must be there.
func within(obj, damaged []byte) bool {
	l, ok := layoutOf(obj)
	if !ok {
		return false
	}
	if len(damaged) < len(obj) {
		return len(damaged) >= l.body+parity.FooterSize && bytes.Equal(damaged, obj[:len(damaged)])
	}
	if len(damaged) != len(obj) {
		return false
	}
	same := func(from, n int) bool { return bytes.Equal(obj[from:from+n], damaged[from:from+n]) }
	end := len(obj) - parity.FooterSize
	if !same(l.body, parity.FooterSize) && !same(end, parity.FooterSize) {
		return false
	}
	lost := make([]int, l.groups)
	for i := range l.count() {
		from, to := l.at(i)
		first, second := l.body+parity.FooterSize+4*i, end-l.table()+4*i
		if !same(from, to-from) || !same(first, 4) && !same(second, 4) {
			lost[l.groupOf(i)]++
		}
	}
	return slices.Max(lost) <= l.m
}

// spend damages as many sectors of each group as parity can mend, and one copy of the tables and footers.
func spend(rng *rand.Rand, obj []byte) []byte {
	l, ok := layoutOf(obj)
	if !ok {
		return nil
	}
	left := slices.Repeat([]int{l.m}, l.groups)
	for _, i := range rng.Perm(l.count()) {
		g := l.groupOf(i)
		if left[g] == 0 {
			continue
		}
		left[g]--
		from, to := l.at(i)
		if rng.IntN(2) == 0 {
			noise(rng, obj[from:to])
		} else {
			flip(rng, obj[from:to], 1)
		}
	}
	size := parity.FooterSize + l.table()
	switch rng.IntN(3) {
	case 0:
		noise(rng, obj[l.body:l.body+size])
	case 1:
		clear(obj[len(obj)-size:])
	}
	return obj
}

// cutParity cuts off the end, behind the first footer.
func cutParity(rng *rand.Rand, obj []byte) []byte {
	l, ok := layoutOf(obj)
	if !ok {
		return nil
	}
	from := l.body + parity.FooterSize
	return obj[:from+rng.IntN(len(obj)-from)]
}
