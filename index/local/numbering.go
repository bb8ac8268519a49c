package local

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/kura-backup/kura/internal/object"
)

// numbering gives numbers to things, known by a hash, that get a record under their number.
// What a level has already keeps the number it has there.
type numbering struct {
	records, keys []byte // buckets
	base          uint32
	known         map[object.Hash]uint32
	inputs        []*input // the keys of the levels

	fresh []byte   // the records of new numbers, joined
	ends  []uint32 // of each in fresh
}

// newNumbering begins after the numbers of the levels, which must stay open until close.
func newNumbering(levels []*openLevel, records, keys []byte, base uint32) (*numbering, error) {
	n := &numbering{records: records, keys: keys, base: base, known: make(map[object.Hash]uint32)}
	for _, o := range levels {
		in := &input{level: o}
		n.inputs = append(n.inputs, in)
		if err := in.open(keys); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

func (n *numbering) close() {
	for _, in := range n.inputs {
		in.close()
	}
	n.inputs = nil
}

// size returns how many things are held in memory.
func (n *numbering) size() int { return len(n.known) }

func (n *numbering) span() numbers { return numbers{Base: n.base, Count: uint32(len(n.ends))} }

// number returns the number of a thing. record appends what a new one gets.
func (n *numbering) number(key object.Hash, record func(dst []byte) ([]byte, error)) (uint32, error) {
	if i, ok := n.known[key]; ok {
		return i, nil
	}
	for _, in := range n.inputs {
		value, err := in.seek(key[:])
		if err != nil {
			return 0, err
		}
		if value == nil {
			continue
		}
		if len(value) != 4 {
			return 0, in.level.damaged("number of %d bytes", len(value))
		}
		i := binary.BigEndian.Uint32(value)
		n.known[key] = i
		return i, nil
	}
	fresh, err := record(n.fresh)
	if err != nil {
		return 0, err
	}
	i := n.base + uint32(len(n.ends))
	n.fresh = fresh
	n.ends = append(n.ends, uint32(len(fresh)))
	n.known[key] = i
	return i, nil
}

// write puts the new records, and then their keys, into the level.
func (n *numbering) write(w *writer) error {
	if err := w.begin(n.records); err != nil {
		return err
	}
	start := uint32(0)
	for i, end := range n.ends {
		if err := w.put(numberKey(n.base+uint32(i)), n.fresh[start:end]); err != nil {
			return err
		}
		start = end
	}
	if err := w.begin(n.keys); err != nil {
		return err
	}
	keys := make([]object.Hash, 0, len(n.ends))
	for key, i := range n.known {
		if i >= n.base {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b object.Hash) int { return bytes.Compare(a[:], b[:]) })
	for _, key := range keys {
		if err := w.put(key[:], numberKey(n.known[key])); err != nil {
			return err
		}
	}
	return nil
}

// renumbering gives new numbers, in the order of their first use, to the old ones from base up
// to end. Those below base belong to levels that stay, and stay themselves.
type renumbering struct {
	base uint32
	news []uint32 // by old number - base: new number + 1, or 0
	used []uint32 // by new number - base: old number
}

func newRenumbering(base, end uint32) *renumbering {
	return &renumbering{base: base, news: make([]uint32, end-base)}
}

func (r *renumbering) span() numbers { return numbers{Base: r.base, Count: uint32(len(r.used))} }

// number returns the new number of old. It reports false for one that was never given.
func (r *renumbering) number(old uint32) (uint32, bool) {
	if n, ok := r.existing(old); ok || uint64(old) >= uint64(r.base)+uint64(len(r.news)) {
		return n, ok
	}
	n := r.base + uint32(len(r.used))
	r.used = append(r.used, old)
	r.news[old-r.base] = n + 1
	return n, true
}

// existing returns the new number of old if it is used.
func (r *renumbering) existing(old uint32) (uint32, bool) {
	if old < r.base {
		return old, true
	}
	if i := old - r.base; uint64(i) < uint64(len(r.news)) && r.news[i] != 0 {
		return r.news[i] - 1, true
	}
	return 0, false
}
