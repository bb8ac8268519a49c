package chunk

import (
	"bytes"
	"testing"

	"github.com/restic/chunker"
	"pgregory.net/rapid"
)

// TestKnown_AnyRangesSearched_FindsWhatASearchFinds: whatever parts of a stream were searched before, from wherever in
// them, and however many cuts there are.
func TestKnown_AnyRangesSearched_FindsWhatASearchFinds(t *testing.T) {
	const pol = chunker.Pol(0x3DA3358B4DC173)
	r := newRabin(pol)
	rapid.Check(t, func(rt *rapid.T) {
		// Zeros have a cut behind each byte; other bytes all the same have none.
		var data []byte
		for range rapid.IntRange(1, 12).Draw(rt, "parts") {
			part := []byte{rapid.SampledFrom([]byte{0, 0, 'a'}).Draw(rt, "byte")}
			data = append(data, bytes.Repeat(part, rapid.IntRange(1, 300).Draw(rt, "length"))...)
		}
		data = append(make([]byte, windowSize), data...)
		offset := rapid.Int64Range(0, 1<<40).Draw(rt, "offset")
		var k known
		for at := windowSize; at < len(data); {
			n := rapid.IntRange(1, min(400, len(data)-at)).Draw(rt, "piece")
			if rapid.Bool().Draw(rt, "searched") {
				it := &item{slab: data, at: at, n: n, pos: offset + int64(at)}
				it.search(r, offset+rapid.Int64Range(0, int64(len(data))).Draw(rt, "from"))
				k.add(it.searched, offset)
			}
			at += n
		}
		from := rapid.IntRange(windowSize, len(data)).Draw(rt, "first")
		to := rapid.IntRange(from, len(data)).Draw(rt, "last")
		if got, want := k.find(r, data, offset, from, to), r.find(data, from, to); got != want {
			rt.Errorf("%d, want %d", got, want)
		}
	})
}
