package index

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func keyring(t testing.TB) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring([16]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// addPack adds a pack of random blobs, and returns them as facts (see below).
func addPack(t testing.TB, r *rand.Rand, s *Segment, class object.Class, origins []*seal.Origin, blobs int) []string {
	t.Helper()
	ref := object.Ref{Class: class}
	fill(r, ref.Session[:])
	fill(r, ref.Hash[:])
	dir := &pack.Directory{Origins: origins}
	var facts []string
	offset := uint32(seal.HeaderSize)
	for i := 0; blobs > 0; i++ {
		n := min(blobs, 1+r.IntN(4))
		seg := pack.Segment{Origin: r.IntN(len(origins)), Ordinal: uint64(i), Coding: pack.Coding(r.IntN(2)), Offset: offset}
		if class == object.DataPack && n == 1 {
			seg.Coding = pack.Coding(r.IntN(3))
			if seg.HasSketch = r.IntN(3) > 0; seg.HasSketch {
				seg.Sketch = delta.Sketch{r.Uint64N(1 << 48), 0, 1<<48 - 1}
			}
		}
		blobs -= n
		for range n {
			var id object.BlobID
			fill(r, id[:])
			seg.IDs = append(seg.IDs, id)
			seg.Lengths = append(seg.Lengths, 1+r.Uint32N(3000))
			seg.Plain += seg.Lengths[len(seg.Lengths)-1]
		}
		seg.Stored = seg.Plain + seal.Overhead
		if seg.Coding != pack.Raw {
			seg.Stored -= r.Uint32N(seg.Plain)
		}
		if seg.Coding == pack.Delta {
			seg.Bases, seg.Depth, seg.ChainSum = []object.BlobID{{1}, {2}}, 2, uint64(seg.Stored)+77
		}
		at := uint32(0)
		for j, id := range seg.IDs {
			facts = append(facts, fact(ref, origins[seg.Origin], PackSegment{
				Offset: seg.Offset, Ordinal: seg.Ordinal, Coding: seg.Coding, Stored: seg.Stored, Plain: seg.Plain,
				Bases: seg.Bases, Depth: seg.Depth, ChainSum: seg.ChainSum, Sketch: seg.Sketch, HasSketch: seg.HasSketch,
			}, Blob{ID: id, Offset: at, Length: seg.Lengths[j]}))
			at += seg.Lengths[j]
		}
		offset += seg.Stored
		dir.Segments = append(dir.Segments, seg)
	}
	if err := s.AddPack(ref, int64(offset)+100, dir); err != nil {
		t.Fatal(err)
	}
	return facts
}

// fact is a blob with all that is known of its place, whatever the numbers in the index segment.
func fact(ref object.Ref, o *seal.Origin, in PackSegment, b Blob) string {
	in.Pack, in.Origin, b.Segment = 0, 0, 0
	return fmt.Sprintf("%v %x %+v %+v", ref, o.Salt, in, b)
}

func facts(segments ...*Segment) []string {
	var out []string
	for _, s := range segments {
		for _, b := range s.Blobs {
			in := s.Segments[b.Segment]
			out = append(out, fact(s.Packs[in.Pack].Ref, s.Origins[in.Origin], in, b))
		}
	}
	slices.Sort(out)
	return out
}

func newOrigin(r *rand.Rand, kind seal.Kind) *seal.Origin {
	o := &seal.Origin{Kind: kind, Epoch: 1, Suite: 1, Sealed: make([]byte, 1200)}
	fill(r, o.Sealed)
	fill(r, o.Salt[:])
	fill(r, o.Commitment[:])
	return o
}

func random(t testing.TB, r *rand.Rand, packs, blobs int) (*Segment, []string) {
	t.Helper()
	s := &Segment{}
	var want []string
	data := []*seal.Origin{newOrigin(r, seal.Data), newOrigin(r, seal.Data)}
	meta := []*seal.Origin{newOrigin(r, seal.Meta)}
	for range packs {
		want = append(want, addPack(t, r, s, object.DataPack, data, blobs)...)
		want = append(want, addPack(t, r, s, object.TreePack, meta, blobs)...)
	}
	slices.Sort(want)
	return s, want
}

func TestEncode_PacksAdded_DecodesToTheirBlobs(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	s, want := random(t, r, 5, 40)
	if len(s.Origins) != 3 {
		t.Errorf("%d origins", len(s.Origins))
	}
	shared := slices.IndexFunc(s.Blobs, func(b Blob) bool { return s.Segments[b.Segment].Plain > b.Length })
	s.Blobs = append(s.Blobs, s.Blobs[shared], s.Blobs[shared]) // more places for one id
	want = append(want, facts(&Segment{Packs: s.Packs, Origins: s.Origins, Segments: s.Segments, Blobs: s.Blobs[len(s.Blobs)-2:]})...)
	slices.Sort(want)
	obj, err := Encode(k, s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(k, obj)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(facts(got), want) {
		t.Error("the blobs differ")
	}
	if !reflect.DeepEqual(got.Packs, s.Packs) || !reflect.DeepEqual(got.Segments, s.Segments) || !reflect.DeepEqual(got.Blobs, s.Blobs) {
		t.Error("the tables differ")
	}
	end, err := IDsEnd(obj[:HeadSize])
	if err != nil {
		t.Fatal(err)
	}
	ids, err := DecodeIDs(k, obj[:end])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(ids, got.Blobs, func(id object.BlobID, b Blob) bool { return id == b.ID }) {
		t.Error("the ids differ")
	}
	if _, err := DecodeIDs(k, obj[:end-1]); !errors.Is(err, ErrInvalid) {
		t.Errorf("ids that are cut off: %v", err)
	}
}

func TestSplit_Parts_HoldTheSameBlobs(t *testing.T) {
	r := testrand.New(t)
	s, want := random(t, r, 3, 25000)
	parts, err := s.Split(pack.MaxBlobsPerSegment)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 3 {
		t.Errorf("%d parts", len(parts))
	}
	if !slices.Equal(facts(parts...), want) {
		t.Error("the blobs differ")
	}
	k := keyring(t)
	for i, p := range parts {
		if len(p.Blobs) > pack.MaxBlobsPerSegment || len(p.Packs) == len(s.Packs) {
			t.Errorf("part %d: %d blobs, %d packs", i, len(p.Blobs), len(p.Packs))
		}
		if _, err := Encode(k, p); err != nil {
			t.Errorf("part %d: %v", i, err)
		}
	}
	if _, err := Encode(k, s); !errors.Is(err, ErrTooLarge) {
		t.Errorf("all at once: %v", err)
	}
	if whole, err := s.Split(len(s.Blobs)); err != nil || len(whole) != 1 || whole[0] != s {
		t.Errorf("what needs no split was split: %v", err)
	}
}

// TestSplit_SegmentWithMoreBlobsThanAPackCanHave_IsCut takes what only a forger lists: it must not be impossible to write
// it again.
func TestSplit_SegmentWithMoreBlobsThanAPackCanHave_IsCut(t *testing.T) {
	r := testrand.New(t)
	s, _ := random(t, r, 1, 10)
	tree := slices.IndexFunc(s.Segments, func(ps PackSegment) bool { return ps.Pack == 1 })
	for len(s.Blobs) <= 2*pack.MaxBlobsPerSegment {
		b := Blob{Segment: uint32(tree), Length: 1}
		fill(r, b.ID[:])
		s.Blobs = append(s.Blobs, b)
	}
	want := facts(s)
	parts, err := s.Split(pack.MaxBlobsPerSegment)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(facts(parts...), want) {
		t.Error("the blobs differ")
	}
	for i, p := range parts {
		if _, err := Encode(keyring(t), p); err != nil || len(p.Blobs) > pack.MaxBlobsPerSegment {
			t.Errorf("part %d of %d blobs: %v", i, len(p.Blobs), err)
		}
	}
}

// TestMerge_SegmentsWithoutBlobs_AreLeftOut merges an index segment that lists, of a pack that stays, segments without any
// blob: with them there would be more segments than blobs, which no reader takes.
func TestMerge_SegmentsWithoutBlobs_AreLeftOut(t *testing.T) {
	r := testrand.New(t)
	forged, _ := random(t, r, 1, 10)
	goes, stays := forged.Packs[1].Ref, forged.Packs[0].Ref
	like := forged.Segments[slices.IndexFunc(forged.Segments, func(ps PackSegment) bool { return ps.Pack == 0 })]
	first := slices.IndexFunc(forged.Segments, func(ps PackSegment) bool { return ps.Pack == 1 })
	for i := range forged.Blobs {
		forged.Blobs[i].Segment, forged.Blobs[i].Offset, forged.Blobs[i].Length = uint32(first), 0, 1
	}
	for range len(forged.Blobs) - len(forged.Segments) {
		like.Ordinal++
		forged.Segments = append(forged.Segments, like)
	}
	k := keyring(t)
	obj, err := Encode(k, forged)
	if err != nil {
		t.Fatal(err)
	}
	if forged, err = Decode(k, obj); err != nil {
		t.Fatal(err)
	}
	merged, want := random(t, r, 1, 1)
	if err := merged.Merge(forged, func(ref object.Ref) bool { return ref != goes }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(facts(merged), want) {
		t.Error("the blobs differ")
	}
	if _, err := Encode(k, merged); err != nil {
		t.Error(err)
	}
	if slices.ContainsFunc(merged.Packs, func(p PackRef) bool { return p.Ref == stays }) {
		t.Error("a pack is listed of which there is nothing")
	}
}

func TestDecode_AnyBitFlippedOrCut_Refused(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	s, _ := random(t, r, 1, 3)
	obj, err := Encode(k, s)
	if err != nil {
		t.Fatal(err)
	}
	for at := range obj {
		bad := bytes.Clone(obj)
		bad[at] ^= 1 << r.IntN(8)
		if _, err := Decode(k, bad); err == nil {
			t.Errorf("a flipped bit in byte %d of %d was accepted", at, len(obj))
		}
		if _, err := Decode(k, obj[:at]); err == nil {
			t.Errorf("an object cut to %d bytes was accepted", at)
		}
	}
	if _, err := Decode(k, append(bytes.Clone(obj), 0)); err == nil {
		t.Error("a trailing byte was accepted")
	}
}

func TestDecodeColumns_BrokenRules_Refused(t *testing.T) {
	r := testrand.New(t)
	for name, spoil := range map[string]func(*Segment){
		"no blobs":              func(s *Segment) { s.Blobs = nil },
		"no packs":              func(s *Segment) { s.Packs = nil },
		"no origins":            func(s *Segment) { s.Origins = nil },
		"no segments":           func(s *Segment) { s.Segments = nil },
		"more packs than blobs": func(s *Segment) { s.Packs = append(s.Packs, make([]PackRef, 50)...) },
		"pack of another class": func(s *Segment) { s.Packs[0].Ref.Class = object.Index },
		"pack too large":        func(s *Segment) { s.Packs[0].Size = pack.MaxPackSize + 1 },
		"pack too small":        func(s *Segment) { s.Packs[0].Size = int64(s.Segments[0].Offset+s.Segments[0].Stored) - 1 },
		"origin of no kind":     func(s *Segment) { s.Origins[0].Kind = 0 },
		"origin of other kind":  func(s *Segment) { s.Segments[0].Origin = 2 },
		"unknown pack":          func(s *Segment) { s.Segments[0].Pack = 2 },
		"unknown origin":        func(s *Segment) { s.Segments[0].Origin = 3 },
		"in the header":         func(s *Segment) { s.Segments[0].Offset = 79 },
		"unknown coding":        func(s *Segment) { s.Segments[0].Coding = 3 },
		"stored too short":      func(s *Segment) { s.Segments[0].Stored = 16 },
		"depth without delta":   func(s *Segment) { s.Segments[0].Coding, s.Segments[0].Bases = pack.Zstd, nil; s.Segments[0].Depth = 1 },
		"unknown segment":       func(s *Segment) { s.Blobs[0].Segment = uint32(len(s.Segments)) },
		"empty blob":            func(s *Segment) { s.Blobs[0].Length = 0 },
		"blob past the end":     func(s *Segment) { s.Blobs[0].Offset, s.Blobs[0].Length = s.Segments[s.Blobs[0].Segment].Plain, 1 },
		"blob that wraps":       func(s *Segment) { s.Blobs[0].Offset, s.Blobs[0].Length = 1, 1<<32-1 },
		"one blob everywhere":   func(s *Segment) { listAgain(s, MaxPlaces) },
	} {
		s, _ := random(t, r, 1, 20)
		spoil(s)
		isRefused(t, name, s)
	}
}

// listAgain lists a blob in so many places more.
func listAgain(s *Segment, times int) {
	at := slices.IndexFunc(s.Blobs, func(b Blob) bool {
		return s.Segments[b.Segment].Coding != pack.Delta && !s.Segments[b.Segment].HasSketch
	})
	b := s.Blobs[at]
	for i := range times {
		b.Offset, b.Length = 0, 1+uint32(i)%s.Segments[b.Segment].Plain
		s.Blobs = append(s.Blobs, b)
	}
}

// A blob has as many places in one index segment as the format allows, also for who reads the ids alone, and no more.
func TestEncode_BlobInManyPlaces_UpToTheMost(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	s, _ := random(t, r, 1, 20)
	listAgain(s, MaxPlaces-1)
	obj, err := Encode(k, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(k, obj); err != nil {
		t.Error(err)
	}
	if parts, err := s.Split(MaxBlobs); err != nil || len(parts) != 1 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	s, _ = random(t, r, 1, 20)
	listAgain(s, MaxPlaces)
	ids, _, _, err := EncodeColumns(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkIDs(ids); !errors.Is(err, ErrInvalid) {
		t.Errorf("ids with one more: %v", err)
	}
}

// TestSplit_BlobInVeryManyPlaces_IsSpread takes what many hosts have stored at the same time, each its own copy, and what only a
// forger lists: one segment with the same blob again and again. Whoever merges index segments, or makes them from packs, can write them.
func TestSplit_BlobInVeryManyPlaces_IsSpread(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	origins := []*seal.Origin{newOrigin(r, seal.Data)}
	common := object.BlobID{1}
	s := &Segment{}
	for i := range 2*MaxPlaces + 100 {
		ref := object.Ref{Class: object.DataPack}
		fill(r, ref.Hash[:])
		seg := pack.Segment{Offset: seal.HeaderSize, IDs: []object.BlobID{common, {2, byte(i), byte(i >> 8)}}, Lengths: []uint32{5, 6}, Plain: 11, Stored: 11 + seal.Overhead}
		if err := s.AddPack(ref, 1000, &pack.Directory{Origins: origins, Segments: []pack.Segment{seg}}); err != nil {
			t.Fatal(err)
		}
	}
	listAgain(s, 3*MaxPlaces)
	want := facts(s)
	if _, err := Encode(k, s); !errors.Is(err, ErrInvalid) {
		t.Errorf("all at once: %v", err)
	}
	parts, err := s.Split(MaxBlobs)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(facts(parts...), want) {
		t.Error("the blobs differ")
	}
	for i, p := range parts {
		if _, err := Encode(k, p); err != nil {
			t.Errorf("part %d of %d: %v", i, len(parts), err)
		}
	}
	if len(parts) > 7 {
		t.Errorf("%d parts", len(parts))
	}
}

// isRefused wants a segment to be neither written nor read.
func isRefused(t *testing.T, name string, s *Segment) {
	t.Helper()
	ids, places, sketches, err := EncodeColumns(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, err := DecodeColumns(ids, places, sketches); !errors.Is(err, ErrInvalid) {
		t.Errorf("%s: error %v", name, err)
	}
	if _, err := Encode(keyring(t), s); err == nil {
		t.Errorf("%s: written", name)
	}
}

func TestDecodeColumns_SpoiledBytes_Refused(t *testing.T) {
	r := testrand.New(t)
	s, _ := random(t, r, 1, 20)
	ids, places, sketches, err := EncodeColumns(s)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := zst.Decode(nil, places, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(*wirePlaces)) []byte {
		var w wirePlaces
		if err := wire.Unmarshal(plain, &w); err != nil {
			t.Fatal(err)
		}
		f(&w)
		out, err := wire.Marshal(&w)
		if err != nil {
			t.Fatal(err)
		}
		return zst.Encode(nil, out, zst.Default)
	}
	swapped := bytes.Clone(ids)
	copy(swapped, ids[len(ids)-idSize:])
	for name, c := range map[string][2][]byte{
		"no ids":          {nil, places},
		"half an id":      {ids[:len(ids)-1], places},
		"one id less":     {ids[:len(ids)-idSize], places},
		"ids not sorted":  {swapped, places},
		"places cut":      {ids, places[:len(places)-1]},
		"no places":       {ids, nil},
		"a place less":    {ids, edit(func(w *wirePlaces) { w.Blobs = w.Blobs[:len(w.Blobs)-1] })},
		"a byte more":     {ids, edit(func(w *wirePlaces) { w.Blobs = append(w.Blobs, 0) })},
		"endless varint":  {ids, edit(func(w *wirePlaces) { w.Blobs = bytes.Repeat([]byte{0xff}, 200) })},
		"empty segments":  {ids, edit(func(w *wirePlaces) { w.Segments = append([]byte{0x84}, 0xa0, 0xa0, 0xa0, 0xa0) })},
		"packs are a map": {ids, edit(func(w *wirePlaces) { w.Packs = []byte{0xa0} })},
	} {
		if _, err := DecodeColumns(c[0], c[1], sketches); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := DecodeColumns(ids, edit(func(*wirePlaces) {}), sketches); err != nil {
		t.Errorf("nothing spoiled: %v", err)
	}
}

func golden(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The golden files are an index segment as it is stored, the keyring that opens it, and what is
// in it.
func TestGolden_StoredIndexSegment_ReadAsWritten(t *testing.T) {
	var keys, obj, listing []byte
	if *update {
		k := keyring(t)
		s, want := random(t, testrand.New(t), 1, 20)
		var err error
		if obj, err = Encode(k, s); err != nil {
			t.Fatal(err)
		}
		if keys, err = k.Encode(); err != nil {
			t.Fatal(err)
		}
		listing = []byte(strings.Join(want, "\n") + "\n")
	}
	k, err := seal.DecodeKeyring(golden(t, "keyring", keys))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(k, golden(t, "segment.index", obj))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(facts(s), "\n")+"\n", string(golden(t, "segment.txt", listing)); got != want {
		t.Errorf("content\n%swant\n%s", got, want)
	}
}

func BenchmarkDecode(b *testing.B) {
	k := keyring(b)
	s, _ := random(b, testrand.New(b), 4096, 16)
	obj, err := Encode(k, s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(obj))/float64(len(s.Blobs)), "bytes/blob")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(k, obj); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(obj))/float64(len(s.Blobs)), "bytes/blob")
}
