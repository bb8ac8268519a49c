package parity

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/kura-backup/kura/internal/object"
)

// What every object begins with, followed by its class; and what the body of every pack ends in, after
// the length of its sealed directory.
const (
	headerMagic = "KURA"
	packMagic   = "KPAK"
)

// maxFooters is how many footers of each kind are tried. An object has two, that say the same;
// somebody who wants to keep us busy could put more of them into it.
const maxFooters = 2

// footers finds the footers that lie where they say that they are: behind the body, or at the end.
// Those that fit the length that the object has, or should have, come first.
func (m *mender) footers(size int) []Footer {
	var fit, others []Footer
	for at := 0; ; {
		next := bytes.Index(m.obj[at:], []byte(magic))
		if next < 0 {
			return append(fit, others...)
		}
		at += next + len(magic)
		if at < FooterSize {
			continue
		}
		f, ok := ParseFooter(m.obj[at-FooterSize : at])
		if !ok || int64(at) != int64(f.Body)+FooterSize && int64(at) != f.Size() {
			continue
		}
		list := &others
		if n := f.Size(); n == int64(size) || n == int64(len(m.obj)) {
			list = &fit
		}
		if len(*list) < maxFooters && !slices.Contains(*list, f) {
			*list = append(*list, f)
		}
	}
}

// guesses returns what the footer may say, when there is none, if the object should have the given
// size, or the size that it has. Those whose tables fit best come first. Their values are not known.
func (m *mender) guesses(size int) []Footer {
	type guess struct {
		f     Footer
		score int
	}
	var all []guess
	sums := map[int][]uint32{smallSector: m.sums(smallSector), largeSector: m.sums(largeSector)}
	for _, n := range slices.Compact([]int{size, len(m.obj)}) {
		for percent := 1; percent <= MaxPercent; percent++ {
			for _, body := range bodies(n, percent, len(m.obj)) {
				l := newLayout(body, percent)
				g := guess{Footer{Body: uint32(body), Percent: uint8(percent)}, m.score(l, sums[l.sector])}
				if g.score > 0 || mayBeWhole(m.obj[:body]) {
					all = append(all, g)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b guess) int { return cmp.Compare(b.score, a.score) })
	var out []Footer
	for _, g := range all {
		if g.score < all[0].score/2 {
			break // the tables are there, and are not these
		}
		out = append(out, g.f)
	}
	return out
}

// mayBeWhole reports whether a body, of which no sum is left, may be one that needs none: it has the
// ends that it must have. It spares us to try fifty percentages on what is nothing but damage.
func mayBeWhole(body []byte) bool {
	if len(body) < len(headerMagic)+1 || string(body[:len(headerMagic)]) != headerMagic {
		return false
	}
	return !object.Class(body[len(headerMagic)]).IsPack() || bytes.HasSuffix(body, []byte(packMagic))
}

// bodies returns the lengths, up to most, of the bodies that make objects of n bytes.
func bodies(n, percent, most int) []int {
	var out []int
	most = min(n, most, MaxBody)
	add := func(sector, from, to int) {
		for s := max(1, ceil(from, sector)); s <= ceil(to, sector); s++ {
			// The section's length depends on the number of sectors alone.
			if b := n - newLayout(min(s*sector, to), percent).size(); b >= from && b <= to && ceil(b, sector) == s {
				out = append(out, b)
			}
		}
	}
	add(smallSector, 1, min(most, largeBody))
	add(largeSector, max(n/2, largeBody+1), most)
	return out
}

// sums returns the sums of all full sectors of the object, were it all body.
func (m *mender) sums(sector int) []uint32 {
	out := make([]uint32, len(m.obj)/sector)
	for i := range out {
		out[i] = sum(m.obj[i*sector : (i+1)*sector])
	}
	return out
}

// score is how many sums in the tables fit sectors of the body, given the sums of full sectors.
func (m *mender) score(l layout, full []uint32) int {
	n := 0
	for i := range l.sectors {
		var s uint32
		if (i+1)*l.sector <= l.body {
			s = full[i]
		} else {
			s = sum(l.bodySector(m.obj, i))
		}
		for _, at := range l.tables() {
			at += l.body + i*sumSize
			if at+sumSize <= len(m.obj) && s == binary.LittleEndian.Uint32(m.obj[at:]) {
				n++
				break
			}
		}
	}
	return n
}
