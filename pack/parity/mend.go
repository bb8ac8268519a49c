package parity

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Report says what was damaged in an object that could be mended.
type Report struct {
	Sectors, Bad             int  // of the body: all, and those that had to be made again
	ParitySectors, BadParity int  // the same of the section
	Section                  bool // a footer or a table was damaged, or the length was wrong
}

// Mend returns the object that accept takes for the right one, made from a damaged one and its
// parity; or [ErrBeyond]. accept is the only judge, and is called for a few candidates: what it
// refused is never returned. size is the length that the object should have, or 0: it helps when
// both footers are lost. obj is not changed, and what is returned may share its memory when no byte
// of it had to be.
func Mend(obj []byte, size int, accept func([]byte) bool) ([]byte, Report, error) {
	m := mender{obj: obj, accept: accept}
	if size > 0 && size < len(obj) && accept(obj[:size:size]) {
		return obj[:size:size], m.report(obj[:size]), nil
	}
	if len(obj) > 0 && accept(obj) {
		return obj, m.report(obj), nil
	}
	footers := m.footers(size)
	for _, f := range footers {
		if m.try(f, false) {
			return m.work, m.report(m.work), nil
		}
	}
	if len(footers) > 0 {
		return nil, Report{}, ErrBeyond
	}
	for _, f := range m.guesses(size) {
		if m.try(f, true) {
			return m.work, m.report(m.work), nil
		}
	}
	return nil, Report{}, ErrBeyond
}

// mender tries to make an object out of a damaged one.
type mender struct {
	obj    []byte
	accept func([]byte) bool
	work   []byte // a copy of obj that is being mended
}

// try mends what it can if the object has this footer, and reports whether the outcome is accepted.
// Of one that is guessed the value is unknown.
func (m *mender) try(f Footer, guessed bool) bool {
	if int(f.Body) > len(m.obj) {
		return false // what is after the body is missing, too
	}
	l := newLayout(int(f.Body), int(f.Percent))
	m.work = slices.Grow(m.work[:0], l.body+l.size())[:l.body+l.size()]
	n := copy(m.work, m.obj)
	clear(m.work[n:])
	body, section := m.work[:l.body], m.work[l.body:]
	states := l.find(m.work, n)
	damaged := slices.ContainsFunc(states[:l.sectors], func(s state) bool { return s != fits })
	if damaged && l.rebuild(body, section, states) && m.offer(l, f, guessed) {
		return true
	}
	// The body may be whole, and the tables damaged: nothing of the section is needed.
	copy(body, m.obj)
	return m.offer(l, f, guessed)
}

// offer makes the section of the body at work, and asks if that is the object.
func (m *mender) offer(l layout, f Footer, guessed bool) bool {
	body, section := m.work[:l.body], m.work[l.body:]
	if guessed {
		f.Value = likely(body)
	}
	return l.fill(body, section, f) == nil && m.accept(m.work)
}

// likely returns the value that the footer behind a body should have.
func likely(body []byte) uint32 {
	if n := len(body) - 8; n >= 0 && string(body[n+4:]) == packMagic {
		return binary.LittleEndian.Uint32(body[n:])
	}
	return 0
}

// state is what the tables say about a sector.
type state uint8

const (
	fits  state = iota // one of the sums fits
	lost               // the sums agree, and do not fit; or it is missing
	maybe              // neither sum fits, and they differ or are zero: they may be what is damaged
)

// find looks for damaged sectors, of the body first. Only n bytes of the object are there.
func (l layout) find(obj []byte, n int) []state {
	states := make([]state, l.sectors+l.paritySectors())
	body, section := obj[:l.body], obj[l.body:]
	for i := range states {
		var s uint32
		if i < l.sectors {
			s = sum(l.bodySector(body, i))
		} else {
			s = sum(l.paritySector(section, i-l.sectors))
			if l.body+l.firstParity()+(i-l.sectors+1)*l.sector > n {
				states[i] = lost
				continue
			}
		}
		var sums [2]uint32
		for t, at := range l.tables() {
			sums[t] = binary.LittleEndian.Uint32(section[at+i*sumSize:])
		}
		switch {
		case s == sums[0] || s == sums[1]:
		case sums[0] == sums[1] && sums[0] != 0:
			states[i] = lost
		default:
			states[i] = maybe
		}
	}
	return states
}

// rebuild makes the damaged sectors of the body again. It reports false where too many are.
func (l layout) rebuild(body, section []byte, states []state) bool {
	for g := range l.groups {
		if l.count(states, g, lost) > l.parity {
			return false
		}
	}
	shards := make([][]byte, 0, maxShards)
	last := l.lastSector(body)
	for g := range l.groups {
		shards = l.shards(shards[:0], body, last, section, g)
		l.drop(shards, states, g)
		code, err := coders.get(l.data(g), l.parity)
		if err != nil || code.ReconstructData(shards) != nil {
			return false
		}
	}
	copy(l.bodySector(body, l.sectors-1), last)
	return true
}

// drop empties the damaged ones among the sectors of group g. If they are too many, those that may
// be whole count as whole.
func (l layout) drop(shards [][]byte, states []state, g int) {
	all := l.count(states, g, lost)+l.count(states, g, maybe) <= l.parity
	for i := range shards {
		if s := states[l.index(g, i)]; s == lost || all && s == maybe {
			shards[i] = shards[i][:0]
		}
	}
}

// count returns how many sectors of group g are in a state.
func (l layout) count(states []state, g int, s state) int {
	n := 0
	for i := range l.data(g) + l.parity {
		if states[l.index(g, i)] == s {
			n++
		}
	}
	return n
}

// report compares the object as it was found with what it should be.
func (m *mender) report(whole []byte) Report {
	f, ok := footerOf(whole)
	if !ok {
		return Report{}
	}
	l := newLayout(int(f.Body), int(f.Percent))
	// differs is for a part of the object at some offset. What is not there differs, too.
	differs := func(part []byte, at int) bool {
		return at+len(part) > len(m.obj) || !bytes.Equal(part, m.obj[at:at+len(part)])
	}
	body, section := whole[:l.body], whole[l.body:]
	r := Report{Sectors: l.sectors, ParitySectors: l.paritySectors()}
	for i := range l.sectors {
		if differs(l.bodySector(body, i), i*l.sector) {
			r.Bad++
		}
	}
	for j := range l.paritySectors() {
		if differs(l.paritySector(section, j), l.body+l.firstParity()+j*l.sector) {
			r.BadParity++
		}
	}
	first, last := l.firstParity(), l.lastFooter()-l.tableSize()
	r.Section = len(whole) != len(m.obj) || differs(section[:first], l.body) || differs(section[last:], l.body+last)
	return r
}
