package local

import (
	"bytes"
	"cmp"
	"math/bits"
	"runtime/debug"
	"slices"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
)

// maxSimilar is the most blobs that Similar returns.
const maxSimilar = 8

// candidate is a blob with an equal feature.
type candidate struct {
	prefix [prefixSize]byte
	level  int   // the newest that has it
	equal  uint8 // a bit for each feature
}

// HasSketches reports whether Similar can find anything.
func (v *View) HasSketches() bool {
	return slices.ContainsFunc(v.levels, func(o *openLevel) bool { return o.Sketches > 0 })
}

// Similar appends at most eight blobs to dst that have a feature of the sketch: first those with the most equal ones,
// and of these the newest. Of very many with one feature only the newest are known.
func (v *View) Similar(sketch delta.Sketch, dst []object.BlobID) []object.BlobID {
	if !v.HasSketches() {
		return dst
	}
	r, err := v.take()
	if err != nil {
		_ = v.fail(err)
		return dst
	}
	defer v.put(r)
	dst, bad := r.similar(v, sketch, dst)
	if bad >= 0 {
		_ = v.fail(v.levels[bad].damaged("a lookup of similar blobs failed"))
	}
	return dst
}

// similar is to Similar what lookup is to Lookup.
func (r *reader) similar(v *View, sketch delta.Sketch, dst []object.BlobID) (out []object.BlobID, bad int) {
	at := 0
	out = dst
	defer unguard(debug.SetPanicOnFault(true), &at, &bad)
	r.candidates = r.candidates[:0]
	for at = len(r.sketches) - 1; at >= 0; at-- {
		if r.sketches[at] == nil {
			continue
		}
		for n, feature := range sketch {
			if !r.collect(v, at, n, feature) {
				return out, at
			}
		}
	}
	slices.SortStableFunc(r.candidates, func(a, b candidate) int {
		return -cmp.Compare(bits.OnesCount8(a.equal), bits.OnesCount8(b.equal))
	})
	for i := range r.candidates[:min(len(r.candidates), maxSimilar)] {
		c := &r.candidates[i]
		at = c.level
		k, _ := r.cursors[at].Seek(c.prefix[:])
		if len(k) != idSize || !bytes.HasPrefix(k, c.prefix[:]) {
			return out, at
		}
		out = append(out, object.BlobID(k))
	}
	return out, -1
}

// collect adds to the candidates what a level has of the feature with number n. It reports false if it is damaged.
func (r *reader) collect(v *View, level, n int, feature uint64) bool {
	key := appendFeature(r.feature[:0], feature)
	k, block := r.sketches[level].Seek(key)
	if k == nil {
		return true
	}
	if !validBlock(k, block) {
		return false
	}
next:
	for e := range slices.Chunk(entriesOf(block, key), entrySize) {
		if !v.allLive && !v.live.has(entrySource(e)) {
			continue
		}
		for i := range r.candidates {
			if c := &r.candidates[i]; bytes.Equal(c.prefix[:], entryPrefix(e)) {
				c.equal |= 1 << n
				continue next
			}
		}
		r.candidates = append(r.candidates, candidate{[prefixSize]byte(entryPrefix(e)), level, 1 << n})
	}
	return true
}
