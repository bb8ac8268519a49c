package gc

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
)

// TestPrefixSet_AnyIDs_HasWhatWasAdded compares the set with a map, with ids that crowd in few shards and few slots.
func TestPrefixSet_AnyIDs_HasWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mask := rapid.SampledFrom([]uint64{^uint64(0), 0xffff, 0xff0000ff0000, 0x0001fffffffff0000, 1 << 63}).Draw(t, "mask")
		id := func(v uint64) (id object.BlobID) {
			binary.BigEndian.PutUint64(id[:], v&mask)
			return id
		}
		values := rapid.SliceOfN(rapid.Uint64(), 0, 400).Draw(t, "values")
		others := rapid.SliceOfN(rapid.Uint64(), 0, 50).Draw(t, "others")
		var s prefixSet
		model := map[uint64]struct{}{}
		for _, v := range values {
			p := prefix(id(v))
			_, known := model[p]
			if s.add(p) == known {
				t.Fatalf("add(%x): known before: %v", p, known)
			}
			model[p] = struct{}{}
		}
		if s.len() != len(model) {
			t.Fatalf("%d prefixes, want %d", s.len(), len(model))
		}
		for _, v := range append(others, values...) {
			p := prefix(id(v))
			if _, want := model[p]; s.has(p) != want {
				t.Fatalf("has(%x) is not %v", p, want)
			}
		}
	})
}

// TestPrefixSet_Million_TakesFewBytesForEach has ids like real ones, which are keyed hashes.
func TestPrefixSet_Million_TakesFewBytesForEach(t *testing.T) {
	if testing.Short() {
		t.Skip("in one goroutine")
	}
	const n = 1 << 20
	var s prefixSet
	for i := range uint64(n) {
		sum := object.Sum(binary.LittleEndian.AppendUint64(nil, i))
		s.add(prefix(object.BlobID(sum)))
	}
	slots := 0
	for i := range s.shards {
		slots += cap(s.shards[i].slots)
	}
	if s.len() < n-10 || 4*slots > 9*n {
		t.Errorf("%d of %d ids in %d bytes", s.len(), n, 4*slots)
	}
}
