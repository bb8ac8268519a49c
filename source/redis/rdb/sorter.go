package rdb

import (
	"bytes"
	"cmp"
	"slices"
)

// entry is something that is sorted.
type entry struct {
	off, size int64
	ord       uint64 // the how manieth it was
	key       uint32 // where in the arena its key is
	group     uint16
	length    uint16 // of the key
}

const entrySize = 32

// sorter sorts entries by group, key and offset in bounded memory. When there are more than it can hold it keeps the
// smallest, and the others come in a further pass over the same.
type sorter struct {
	arena   []byte
	entries []entry // in the order of the arena, until they are sorted

	after  entry // of a later pass: everything up to this one has had its turn
	behind []byte
	begun  bool

	until     entry // what is greater than this is not for this pass
	untilKey  []byte
	truncated bool
}

// newSorter returns a sorter that uses about so many bytes, and not much more than what has the given size can need.
func newSorter(memory int, size int64) *sorter {
	half := int64(memory / 2)
	return &sorter{
		arena:   make([]byte, 0, max(min(half, 2*size), leastMemory/2)),
		entries: make([]entry, 0, max(min(half, 8*size)/entrySize, 64)),
	}
}

// restart forgets everything.
func (s *sorter) restart() {
	*s = sorter{arena: s.arena[:0], entries: s.entries[:0], behind: s.behind[:0], untilKey: s.untilKey[:0]}
}

// again begins a further pass, for what is greater than the last of the entries that there are.
func (s *sorter) again() {
	last := s.entries[len(s.entries)-1]
	s.after, s.behind, s.begun = last, append(s.behind[:0], s.keyOf(last)...), true
	s.truncated = false
	s.arena, s.entries = s.arena[:0], s.entries[:0]
}

func (s *sorter) keyOf(e entry) []byte { return s.arena[e.key : e.key+uint32(e.length)] }

// compare compares entries that may have the same key: what came first in the file stays first.
func compare(a entry, aKey []byte, b entry, bKey []byte) int {
	if c := cmp.Compare(a.group, b.group); c != 0 {
		return c
	}
	if c := bytes.Compare(aKey, bKey); c != 0 {
		return c
	}
	return cmp.Compare(a.off, b.off)
}

// add notes an entry, if it is for this pass.
func (s *sorter) add(e entry, key []byte) {
	if s.begun && compare(e, key, s.after, s.behind) <= 0 {
		return
	}
	if len(s.entries) == cap(s.entries) || len(s.arena)+len(key) > cap(s.arena) {
		s.shrink()
	}
	if s.truncated && compare(e, key, s.until, s.untilKey) > 0 {
		return
	}
	e.key, e.length = uint32(len(s.arena)), uint16(len(key))
	s.arena = append(s.arena, key...)
	s.entries = append(s.entries, e)
}

// shrink drops about the greater half of the entries: those greater than the median of some of them, which is found without
// sorting them all.
func (s *sorter) shrink() {
	sample := make([]entry, 0, 2*samples)
	for i := 0; i < len(s.entries); i += 1 + len(s.entries)/samples {
		sample = append(sample, s.entries[i])
	}
	s.order(sample)
	s.until = sample[(len(sample)-1)/2] // at least one is greater
	s.untilKey, s.truncated = append(s.untilKey[:0], s.keyOf(s.until)...), true
	kept, at := 0, 0
	for _, e := range s.entries {
		key := s.keyOf(e)
		if compare(e, key, s.until, s.untilKey) > 0 {
			continue
		}
		e.key = uint32(at)
		at += copy(s.arena[at:], key)
		s.entries[kept] = e
		kept++
	}
	s.entries, s.arena = s.entries[:kept], s.arena[:at]
}

const samples = 1000

func (s *sorter) order(list []entry) {
	slices.SortFunc(list, func(a, b entry) int { return compare(a, s.keyOf(a), b, s.keyOf(b)) })
}

// sorted returns the entries of this pass in order, and whether another pass has to follow.
func (s *sorter) sorted() (entries []entry, more bool) {
	s.order(s.entries)
	return s.entries, s.truncated
}
