package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// singles returns an index segment of a data pack with so many blobs in segments of their own, and a tree pack with one.
func singles(r *rand.Rand, n int) *Segment {
	s := &Segment{
		Packs: []PackRef{
			{Ref: object.Ref{Class: object.DataPack, Hash: object.Hash{1}}, Size: pack.MaxPackSize},
			{Ref: object.Ref{Class: object.TreePack, Hash: object.Hash{2}}, Size: pack.MaxPackSize},
		},
		Origins: []*seal.Origin{newOrigin(r, seal.Data), newOrigin(r, seal.Meta)},
	}
	for i := range n + 1 {
		ps := PackSegment{Offset: uint32(seal.HeaderSize + i*200), Ordinal: uint64(i), Stored: 100 + seal.Overhead, Plain: 100}
		b := Blob{Segment: uint32(i), Length: 100}
		if i == n {
			ps.Pack, ps.Origin = 1, 1
		}
		fill(r, b.ID[:])
		s.Segments, s.Blobs = append(s.Segments, ps), append(s.Blobs, b)
	}
	return s
}

func makeDelta(p *PackSegment) {
	p.Coding, p.Depth, p.Bases, p.ChainSum = pack.Delta, 1, []object.BlobID{{1}}, uint64(p.Stored)
}

func TestSketches_AnySegments_KeptByAllThatRewrites(t *testing.T) {
	r := testrand.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := singles(r, rapid.IntRange(1, 300).Draw(rt, "segments"))
		feature := rapid.Uint64Max(1<<48 - 1)
		for i := range len(s.Segments) - 1 {
			p := &s.Segments[i]
			if rapid.Bool().Draw(rt, "sketch") {
				p.HasSketch, p.Sketch = true, delta.Sketch{feature.Draw(rt, "a"), feature.Draw(rt, "b"), feature.Draw(rt, "c")}
			}
			if rapid.IntRange(0, 3).Draw(rt, "delta") == 0 {
				makeDelta(p)
			}
		}
		want := facts(s)
		ids, places, sketches, err := EncodeColumns(s)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := DecodeColumns(ids, places, sketches)
		if err != nil {
			rt.Fatal(err)
		}
		if !reflect.DeepEqual(got.Segments, s.Segments) {
			rt.Fatalf("segments %+v, want %+v", got.Segments, s.Segments)
		}
		merged := &Segment{}
		for range 2 { // the second time nothing is new
			if err := merged.Merge(got, func(object.Ref) bool { return true }); err != nil {
				rt.Fatal(err)
			}
		}
		if !slices.Equal(facts(merged), want) {
			rt.Fatal("merged: the blobs differ")
		}
		slices.SortFunc(s.Blobs, func(a, b Blob) int { return int(a.Segment) - int(b.Segment) })
		middle := len(s.Blobs) / 2
		if got := facts(s.part(s.Blobs[:middle]), s.part(s.Blobs[middle:])); !slices.Equal(got, want) {
			rt.Fatal("split: the blobs differ")
		}
	})
}

func TestDecodeColumns_DeltasAndSketchesThatCannotBe_Refused(t *testing.T) {
	r := testrand.New(t)
	sketch := func(p *PackSegment) { p.HasSketch = true }
	for name, spoil := range map[string]func(*Segment){
		"delta in a tree pack":  func(s *Segment) { makeDelta(&s.Segments[3]) },
		"sketch in a tree pack": func(s *Segment) { sketch(&s.Segments[3]) },
		"delta of two blobs":    func(s *Segment) { makeDelta(&s.Segments[0]); s.Blobs[1].Segment = 0 },
		"sketch of two blobs":   func(s *Segment) { sketch(&s.Segments[0]); s.Blobs[1].Segment = 0 },
		"delta of a part":       func(s *Segment) { makeDelta(&s.Segments[0]); s.Blobs[0].Length-- },
		"sketch of a part":      func(s *Segment) { sketch(&s.Segments[0]); s.Blobs[0].Offset, s.Blobs[0].Length = 1, 99 },
		"delta against itself":  func(s *Segment) { makeDelta(&s.Segments[0]); s.Segments[0].Bases[0] = s.Blobs[0].ID },
		"delta against itself among others": func(s *Segment) {
			makeDelta(&s.Segments[0])
			s.Segments[0].Bases = append(s.Segments[0].Bases, s.Blobs[0].ID, object.BlobID{3})
		},
		"delta of no base": func(s *Segment) { makeDelta(&s.Segments[0]); s.Segments[0].Bases = nil },
		"delta of many bases": func(s *Segment) {
			makeDelta(&s.Segments[0])
			s.Segments[0].Bases = make([]object.BlobID, pack.MaxBases+1)
		},
		"delta of no depth":    func(s *Segment) { makeDelta(&s.Segments[0]); s.Segments[0].Depth = 0 },
		"delta of great depth": func(s *Segment) { makeDelta(&s.Segments[0]); s.Segments[0].Depth = pack.MaxDepth + 1 },
		"delta in a short sum": func(s *Segment) { makeDelta(&s.Segments[0]); s.Segments[0].ChainSum-- },
		"delta in an endless sum": func(s *Segment) {
			makeDelta(&s.Segments[0])
			s.Segments[0].ChainSum = 1 << 63
		},
		"bases without delta": func(s *Segment) { s.Segments[0].Bases = []object.BlobID{{1}} },
	} {
		s := singles(r, 3)
		spoil(s)
		isRefused(t, name, s)
	}
}

func TestDecodeColumns_SketchesOfNoSegment_Refused(t *testing.T) {
	s := singles(testrand.New(t), 3)
	ids, places, _, err := EncodeColumns(s)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, pack.SketchSize)
	entry := func(step uint64) []byte { return append(binary.AppendUvarint(nil, step), one...) }
	for name, c := range map[string][]byte{
		"past the end":   entry(uint64(len(s.Segments))),
		"that wraps":     entry(1<<64 - 1),
		"twice":          slices.Concat(entry(1), entry(0)),
		"later past end": slices.Concat(entry(2), entry(2)),
		"later wraps":    slices.Concat(entry(2), entry(1<<64-2)),
		"cut":            entry(0)[:pack.SketchSize],
		"only a number":  {0},
		"endless number": bytes.Repeat([]byte{0xff}, 30),
		"a byte more":    append(entry(0), 0),
		"in a tree pack": entry(3),
	} {
		if _, err := DecodeColumns(ids, places, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	got, err := DecodeColumns(ids, places, slices.Concat(entry(0), entry(1), entry(1)))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got.Segments {
		if p.HasSketch != (i < 3) {
			t.Errorf("segment %d: %v", i, p.HasSketch)
		}
	}
}
