package local

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// A place is new if it is in no way among those before, however many these are.
func TestPlaceSet_AnyPlaces_OnlyThoseThatWereThereAreKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set placeSet
		var met []Place
		for i, n := range rapid.SliceOfN(rapid.Uint32Max(100), 0, 300).Draw(t, "offsets") {
			p := Place{SegOffset: n / 2, Bases: JoinBases([]object.BlobID{{byte(n % 2)}})}
			want := slices.Contains(met, p)
			if got := set.has(met, &p); got != want {
				t.Fatalf("place %d was there before: %v, want %v", i, got, want)
			}
			if !want {
				met = append(met, p)
			}
		}
	})
}

func TestPlaces_AnyPlaces_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []sourcedPlace
		var encoded []byte
		for range rapid.IntRange(0, 5).Draw(t, "places") {
			p := sourcedPlace{source: rapid.Uint32().Draw(t, "source"), Place: Place{
				Pack:      rapid.Uint32().Draw(t, "pack"),
				Origin:    rapid.Uint32().Draw(t, "origin"),
				Ordinal:   rapid.Uint64().Draw(t, "ordinal"),
				SegOffset: rapid.Uint32Max(pack.MaxPackSize).Draw(t, "offset"),
				Plain:     rapid.Uint32Range(1, object.MaxBlobSize).Draw(t, "plain"),
				Coding:    pack.Coding(rapid.IntRange(0, 2).Draw(t, "coding")),
			}}
			p.Stored = p.Plain + seal.Overhead
			if p.Coding != pack.Raw {
				p.Stored -= rapid.Uint32Max(p.Plain-1).Draw(t, "saved")
			}
			if p.Coding == pack.Delta {
				p.Depth = uint8(rapid.IntRange(1, pack.MaxDepth).Draw(t, "depth"))
				p.ChainSum = rapid.Uint64().Draw(t, "sum")
				p.Bases = Bases(rapid.SliceOfN(rapid.Byte(), idSize, pack.MaxBases*idSize).Draw(t, "bases"))
				p.Bases = p.Bases[:p.Bases.Len()*idSize]
			}
			p.Offset = rapid.Uint32Max(p.Plain-1).Draw(t, "at")
			p.Length = rapid.Uint32Range(1, p.Plain-p.Offset).Draw(t, "length")
			want = append(want, p)
			encoded = appendPlace(encoded, &p)
		}
		r := placeReader{rest: encoded}
		var got []sourcedPlace
		var p sourcedPlace
		for r.next(&p) {
			got = append(got, p)
		}
		if r.bad || !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestPlaces_AnyBytes_EndAndStayInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := placeReader{rest: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")}
		var p sourcedPlace
		for n := len(r.rest); r.next(&p); n = len(r.rest) {
			if len(r.rest) >= n {
				t.Fatal("no progress")
			}
			if uint64(p.Offset)+uint64(p.Length) > uint64(p.Plain) || p.Stored > p.Plain+seal.Overhead {
				t.Fatalf("place %+v", p)
			}
		}
		if !r.bad && len(r.rest) > 0 {
			t.Fatal("stopped early without saying why")
		}
	})
}

// TestPlaces_DeltaWithoutBasesOrOfNoDepth_IsBad: whoever follows chains of deltas counts on both.
func TestPlaces_DeltaWithoutBasesOrOfNoDepth_IsBad(t *testing.T) {
	base := Bases(make([]byte, idSize))
	for _, c := range []struct {
		depth uint8
		bases Bases
		bad   bool
	}{{1, base, false}, {pack.MaxDepth, base, false}, {0, base, true}, {pack.MaxDepth + 1, base, true}, {pack.MaxDepth, "", true}} {
		p := sourcedPlace{Place: Place{Plain: 100, Stored: 100, Length: 100, Coding: pack.Delta, Depth: c.depth, Bases: c.bases}}
		r, got := placeReader{rest: appendPlace(nil, &p)}, sourcedPlace{}
		if ok := r.next(&got); ok == c.bad || r.bad != c.bad {
			t.Errorf("depth %d, %d bases: %v", c.depth, c.bases.Len(), ok)
		}
	}
}

// notShort leaves a test in which goroutines share nothing, or no more than in smaller ones, out of the race run.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("for the race detector there are smaller tests")
	}
}

func TestSorter_MoreThanAnArena_SortedAndJoined(t *testing.T) {
	notShort(t)
	r := testrand.New(t)
	dir, err := durable.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, n := range []int{0, 1, 1000, 300000} {
		s := newSorter(dir, idSize, arenaSize)
		want := make(map[object.BlobID][]string)
		var ids []object.BlobID
		for i := range n {
			var id object.BlobID
			if fill(r, id[:]); i%10 == 9 {
				id = ids[r.IntN(len(ids))]
			}
			ids = append(ids, id)
			value := fmt.Sprintf("<%030d>", i)
			want[id] = append(want[id], value)
			if err := s.add(id[:], []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		if spilled := len(s.runs) > 1; spilled != (n > 200000) {
			t.Errorf("%d records: %d runs", n, len(s.runs))
		}
		var last []byte
		err := s.merge(func(id, values []byte) error {
			if last != nil && bytes.Compare(last, id) >= 0 {
				t.Fatalf("%x after %x", id, last)
			}
			last = bytes.Clone(id)
			var got []string
			for ; len(values) >= 32; values = values[32:] {
				got = append(got, string(values[:32]))
			}
			slices.Sort(got)
			if key := object.BlobID(id); !slices.Equal(got, want[key]) || len(values) != 0 {
				t.Fatalf("%x: %q, want %q", id, got, want[key])
			}
			delete(want, object.BlobID(id))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(want) != 0 {
			t.Errorf("%d ids are missing of %d", len(want), n)
		}
		s.close()
	}
}

func TestFilter_HasAllItWasGivenAndFewOthers(t *testing.T) {
	notShort(t)
	r := testrand.New(t)
	for _, n := range []int{0, 1, 39, 40, 5000, 100000} {
		ids := make([]object.BlobID, n)
		for i := range ids {
			fill(r, ids[i][:])
		}
		slices.SortFunc(ids, object.BlobID.Compare)
		f := filter{blocks: filterBlocks(uint64(n))}
		w := newFilterWriter(uint64(n), func(number uint32, chunk []byte) error {
			if int(number) != len(f.chunks) {
				t.Fatalf("chunk %d after %d", number, len(f.chunks))
			}
			f.chunks = append(f.chunks, chunk)
			return nil
		})
		for i := range ids {
			if err := w.add(ids[i][:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		if !f.valid() {
			t.Fatalf("%d ids: %d chunks for %d blocks", n, len(f.chunks), f.blocks)
		}
		for i := range ids {
			if !f.mayHave(ids[i][:]) {
				t.Fatalf("%d ids: %v is missing", n, ids[i])
			}
		}
		const others = 20000
		wrong := 0
		for range others {
			var id object.BlobID
			if fill(r, id[:]); f.mayHave(id[:]) {
				wrong++
			}
		}
		if wrong > others/40 { // 0.5 % are expected
			t.Errorf("%d ids: %d of %d others pass", n, wrong, others)
		}
	}
}

func TestPlan_Shapes(t *testing.T) {
	live, dead := object.Ref{Class: object.Index, Hash: object.Hash{1}}, object.Ref{Class: object.Index}
	for _, c := range []struct {
		live, dead []uint64 // places of each level
		want       int
	}{
		{nil, nil, 0},
		{[]uint64{10}, nil, 1},
		{[]uint64{90, 29, 1}, nil, 3},
		{[]uint64{89, 29, 1}, nil, 0},
		{[]uint64{900, 2, 1}, nil, 1},
		{[]uint64{1, 1, 1}, nil, 0},
		{[]uint64{100, 10, 1}, []uint64{33, 0, 0}, 3},
		{[]uint64{100, 10, 1}, []uint64{34, 0, 0}, 0},
		{[]uint64{100, 10, 1}, []uint64{0, 0, 1}, 2},
		{[]uint64{4e9, 1e9, 2e8, 4e7, 8e6, 1e6, 1e5}, nil, 5},
	} {
		var levels []level
		for i, n := range c.live {
			l := level{Sources: []source{{Session: live.Session, Hash: live.Hash, Places: n}}}
			if c.dead != nil {
				l.Sources = append(l.Sources, source{Session: dead.Session, Hash: dead.Hash, Places: c.dead[i]})
			}
			levels = append(levels, l)
		}
		if got := plan(levels, wantedOf([]object.Ref{live})); got != c.want {
			t.Errorf("%v, dead %v: from %d, want %d", c.live, c.dead, got, c.want)
		}
	}
}

func TestSync_MorePacksThanABatch_SeveralLevelsOneResult(t *testing.T) {
	notShort(t)
	s := newStore(testrand.New(t))
	for range 3 {
		ss := s.session()
		seg := &index.Segment{}
		for range maxBatchNumbers * 2 / 3 {
			ref, size, dir := s.pack(ss, s.ids(1))
			if err := seg.AddPack(ref, size, dir); err != nil {
				t.Fatal(err)
			}
		}
		s.put(ss, seg)
	}
	v := s.sync(t, open(t, t.TempDir()), s.refs)
	if v.NumPacks() != maxBatchNumbers*2/3*3 {
		t.Errorf("%d packs", v.NumPacks())
	}
	if err := v.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, ref := range s.refs {
		b := s.segments[ref].Blobs[i*1000]
		want := s.facts([]object.Ref{ref})[b.ID]
		if got := viewFacts(t, v, v.Lookup(b.ID, nil)); !slices.Equal(got, want) {
			t.Errorf("places %v, want %v", got, want)
		}
	}
}
