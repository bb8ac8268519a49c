package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
)

// cutUp returns b in pieces of the given lengths, in turn.
func cutUp(b []byte, lengths ...int) *delta.Pieces {
	p := new(delta.Pieces)
	for i := 0; len(b) > 0; i++ {
		n := min(max(lengths[i%len(lengths)], 1), len(b))
		p.Add(b[:n:n])
		b = b[n:]
	}
	return p
}

func TestPieces_ChainOfGenerations_SameAsOneAfterTheOther(t *testing.T) {
	d := newDump(4, 300_000)
	blocks := [][]byte{d.bytes()}
	last := cutUp(blocks[0], len(blocks[0]))
	var e delta.Encoder
	for range 8 {
		base := blocks[len(blocks)-1]
		d.edit(.02, .02)
		target := d.bytes()
		stream, _ := encode(t, &e, base, target)
		next := new(delta.Pieces)
		if err := next.Apply(last, stream, len(target)); err != nil {
			t.Fatal(err)
		}
		if next.Len() != len(target) || !bytes.Equal(next.AppendTo(nil), target) {
			t.Fatalf("generation %d: %d bytes, want %d", len(blocks), next.Len(), len(target))
		}
		blocks, last = append(blocks, target), next
	}
	// Blocks that were moved about: copies lead far ahead and back.
	first, newest := blocks[0], blocks[len(blocks)-1]
	target := bytes.Join([][]byte{newest[200_000:], newest[:100_000], first[:1000], newest[100_000:250_000], newest[50_000:90_000]}, nil)
	stream, _ := encode(t, &e, newest, target)
	p := cutUp([]byte("before"), 2)
	if err := p.Apply(last, stream, len(target)); err != nil || string(p.AppendTo([]byte("x"))) != "xbefore"+string(target) {
		t.Errorf("moved about: %v", err)
	}
}

// TestPieces_AnyStream_SameAsWhole compares with Apply: what is made, and what is refused.
func TestPieces_AnyStream_SameAsWhole(t *testing.T) {
	d := newDump(1, 60_000)
	base := d.bytes()
	d.edit(.05, .05)
	target := d.bytes()
	var e delta.Encoder
	whole, _ := encode(t, &e, base, target)
	made, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		stream := flipped(t, whole, 0, 3)
		stream = stream[:len(stream)-rapid.SampledFrom([]int{0, 0, 0, 1, 100}).Draw(t, "cut")]
		want, werr := delta.Apply(nil, base, stream, len(target))
		p := cutUp([]byte("before"), 4)
		err := p.Apply(cutUp(base, rapid.SliceOfN(rapid.IntRange(10, 5000), 1, 5).Draw(t, "lengths")...), stream, len(target))
		if (err == nil) != (werr == nil) || string(p.AppendTo(nil)) != "before"+string(want) || p.Len() != len("before")+len(want) {
			t.Fatalf("%v and %d bytes; whole: %v and %d bytes", err, p.Len(), werr, len(want))
		}
		if makes := delta.Makes(base, stream, target); makes != (werr == nil && bytes.Equal(want, target)) {
			t.Fatalf("Makes says %v", makes)
		}
		if err == nil {
			made++
		} else {
			refused++
		}
	})
	if made == 0 || refused == 0 {
		t.Errorf("%d were made, %d refused: the test shows nothing", made, refused)
	}
}

// TestPieces_TooMany_AreRefused: a stream of half a megabyte must not take 300 MB of memory, nor a base in pieces times as many.
func TestPieces_TooMany_AreRefused(t *testing.T) {
	base := noise(1, 4000)
	bytewise := func(n int) []byte {
		var columns [3][]byte
		for i := range n {
			columns[0] = append(columns[0], 0)
			columns[1] = append(columns[1], 1)
			columns[2] = append(columns[2], byte(min(2*i, 2))) // the first, again and again
		}
		return append(binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)), uint64(n)), uint64(n)), bytes.Join(columns[:], nil)...)
	}
	p := cutUp([]byte("before"), 2)
	if err := p.Apply(cutUp(base, len(base)), bytewise(1<<17), 1<<17); !errors.Is(err, delta.ErrPieces) || p.Len() != 6 {
		t.Errorf("an operation for each byte: %d bytes, %v", p.Len(), err)
	}
	var often [3][]byte // all of the base, again and again
	for range 100 {
		often[0], often[1], often[2] = append(often[0], 0), binary.AppendUvarint(often[1], 4000), binary.AppendUvarint(often[2], 1+2*4000-1)
	}
	often[2] = append([]byte{0}, often[2][2:]...)
	stream := append([]byte{100, 0xc8, 1, 0xc7, 1}, bytes.Join(often[:], nil)...)
	want, err := delta.Apply(nil, base, stream, 400_000)
	if err != nil || !bytes.Equal(want, bytes.Repeat(base, 100)) {
		t.Fatalf("%d bytes, %v", len(want), err)
	}
	if err := p.Apply(cutUp(base, 1), stream, 400_000); !errors.Is(err, delta.ErrPieces) || p.Len() != 6 {
		t.Errorf("a base of one-byte pieces: %d bytes, %v", p.Len(), err)
	}
	if err := p.Apply(cutUp(base, 100), stream, 400_000); err != nil || p.Len() != 400_006 {
		t.Errorf("a base of few pieces: %d bytes, %v", p.Len(), err)
	}
}

func TestPieces_Whole_OnlyOfOnePiece(t *testing.T) {
	var p delta.Pieces
	if b, ok := p.Whole(); !ok || len(b) != 0 {
		t.Errorf("nothing: %q, %v", b, ok)
	}
	p.Add(nil)
	p.Add([]byte("one"))
	if b, ok := p.Whole(); !ok || string(b) != "one" {
		t.Errorf("one: %q, %v", b, ok)
	}
	p.Add([]byte("two"))
	if _, ok := p.Whole(); ok || p.Len() != 6 {
		t.Errorf("two: %v, %d bytes", ok, p.Len())
	}
	p.Reset()
	if b, ok := p.Whole(); !ok || len(b) != 0 || p.Len() != 0 {
		t.Errorf("reset: %q, %v, %d bytes", b, ok, p.Len())
	}
}
