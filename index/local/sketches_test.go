package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

// sketched gives the blobs of a store sketches, of which few features are different.
func sketched(s *store, features uint64) {
	s.sketch = func(object.BlobID) (sk delta.Sketch, ok bool) {
		for i := range sk {
			sk[i] = s.rand.Uint64N(features)<<28 | uint64(i)
		}
		return sk, s.rand.IntN(4) > 0
	}
}

// sketches returns the sketches of the blobs of index segments.
func (s *store) sketches(refs []object.Ref) map[object.BlobID][]delta.Sketch {
	out := make(map[object.BlobID][]delta.Sketch)
	for _, ref := range refs {
		seg := s.segments[ref]
		for _, b := range seg.Blobs {
			if in := &seg.Segments[b.Segment]; in.HasSketch && !slices.Contains(out[b.ID], in.Sketch) {
				out[b.ID] = append(out[b.ID], in.Sketch)
			}
		}
	}
	return out
}

// checkSimilar compares what a view finds with the truth. known are the index segments that the levels may have known:
// their blobs, too, are counted where a level keeps only some of a feature.
func (s *store) checkSimilar(t testing.TB, v *View, refs, known []object.Ref) {
	t.Helper()
	live := s.sketches(refs)
	with := make(map[uint64]int) // feature → blobs
	for _, sketches := range s.sketches(known) {
		for _, sk := range sketches {
			for _, f := range sk {
				with[f]++
			}
		}
	}
	if v.HasSketches() && len(live) == 0 && v.allLive {
		t.Fatal("sketches of nothing")
	}
	asked := 0
	for _, sketches := range live {
		if asked++; asked > 300 {
			break
		}
		want := sketches[0]
		equal := func(id object.BlobID) int {
			n := 0
			for i, f := range want {
				if slices.ContainsFunc(live[id], func(sk delta.Sketch) bool { return sk[i] == f }) {
					n++
				}
			}
			return n
		}
		got := v.Similar(want, nil)
		if len(got) > maxSimilar {
			t.Fatalf("%d blobs", len(got))
		}
		few := with[want[0]] <= maxAlike && with[want[1]] <= maxAlike && with[want[2]] <= maxAlike
		for i, id := range got {
			if n := equal(id); n == 0 || few && i > 0 && n > equal(got[i-1]) || slices.Contains(got[:i], id) {
				t.Fatalf("%x: blob %d of %v has %d equal features", want, i, got, n)
			}
		}
		if !few {
			continue
		}
		all := 0
		for id := range live {
			if equal(id) > 0 {
				all++
			}
		}
		if len(got) != min(all, maxSimilar) {
			t.Fatalf("%x: %d blobs of %d", want, len(got), all)
		}
	}
	for range 100 {
		if got := v.Similar(delta.Sketch{s.rand.Uint64N(1<<20)<<28 | 7, 3, 4}, nil); len(got) != 0 {
			t.Fatalf("similar to nothing: %v", got)
		}
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestSimilar_GrowingAndShrinkingRepository_LivingBlobsTheMostEqualFirst(t *testing.T) {
	for _, features := range []uint64{1, 5, 300, 1 << 20} {
		if testing.Short() && features != 300 {
			continue
		}
		t.Run(fmt.Sprint(features), func(t *testing.T) {
			s := newStore(testrand.New(t))
			sketched(s, features)
			db := open(t, t.TempDir())
			for i := range 12 {
				s.add(s.session(), s.ids(1+s.rand.IntN(200)))
				if i%3 == 2 {
					v := s.sync(t, db, s.refs)
					s.check(t, v, s.refs)
					s.checkSimilar(t, v, s.refs, s.refs)
				}
			}
			known := slices.Clone(s.refs)
			for len(s.refs) > 1 {
				s.refs = slices.Delete(s.refs, s.rand.IntN(len(s.refs)), len(s.refs))
				if len(s.refs) == 0 {
					break
				}
				v := s.sync(t, db, s.refs)
				s.check(t, v, s.refs)
				s.checkSimilar(t, v, s.refs, known)
			}
		})
	}
}

func TestSimilar_IndexWithoutSketches_FindsNothing(t *testing.T) {
	s := newStore(testrand.New(t))
	s.add(s.session(), s.ids(100))
	v := s.sync(t, open(t, t.TempDir()), s.refs)
	if v.HasSketches() || len(v.Similar(delta.Sketch{}, nil)) != 0 {
		t.Error("found sketches")
	}
	sketched(s, 10)
	s.add(s.session(), s.ids(10000)) // one level without, one with
	v = s.sync(t, open(t, t.TempDir()), s.refs)
	s.checkSimilar(t, v, s.refs, s.refs)
	if !v.HasSketches() {
		t.Error("found no sketches")
	}
}

func TestSimilar_CopyInAnOlderAndANewerIndexSegment_GivenOnce(t *testing.T) {
	s := newStore(testrand.New(t))
	s.sketch = func(object.BlobID) (delta.Sketch, bool) { return delta.Sketch{1, 2, 3}, true }
	db := open(t, t.TempDir())
	ids := s.ids(3)
	for _, ref := range []object.Ref{s.single(ids[0]), s.single(ids[0]), s.single(ids[1])} {
		s.sync(t, db, s.refs[:slices.Index(s.refs, ref)+1])
	}
	v := s.sync(t, db, s.refs)
	if got, want := v.Similar(delta.Sketch{1, 2, 3}, nil), []object.BlobID{ids[1], ids[0]}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := v.Similar(delta.Sketch{3, 1, 2}, ids[2:3]); !slices.Equal(got[:1], ids[2:3]) || len(got) != 3 {
		t.Errorf("appended: %v", got)
	}
	v = s.sync(t, db, s.refs[1:2])
	if got, want := v.Similar(delta.Sketch{0, 2, 0}, nil), ids[:1]; !slices.Equal(got, want) {
		t.Errorf("after the others are gone: %v, want %v", got, want)
	}
}

// single makes an index segment of one blob.
func (s *store) single(id object.BlobID) object.Ref { return s.add(s.session(), []object.BlobID{id}) }

// TestSimilar_EverythingClaimsToBeAlike_FileAndAnswerStaySmall gives all of very many blobs the same sketch.
func TestSimilar_EverythingClaimsToBeAlike_FileAndAnswerStaySmall(t *testing.T) {
	notShort(t)
	const blobs = 200000
	m := newMade(2, blobs/2)
	m.sketch = func(uint64) delta.Sketch { return delta.Sketch{1<<48 - 1, 1<<48 - 1, 0} }
	v, err := open(t, t.TempDir()).Sync(t.Context(), m.refs, m.load)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, o := range v.levels {
		if o.Sketches > 2*maxAlike {
			t.Errorf("%d entries of two features", o.Sketches)
		}
	}
	if got := v.Similar(delta.Sketch{1<<48 - 1, 0, 1<<48 - 1}, nil); len(got) == 0 || len(got) > maxSimilar {
		t.Errorf("%d blobs", len(got))
	}
	if err := v.Err(); err != nil {
		t.Error(err)
	}
}

func TestSimilar_LevelCutOffInUse_ErrorInsteadOfACrash(t *testing.T) {
	s := newStore(testrand.New(t))
	sketched(s, 1000)
	s.add(s.session(), s.ids(5000))
	db := open(t, t.TempDir())
	v := s.sync(t, db, s.refs)
	if err := os.Truncate(v.levels[0].path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	for _, sketches := range s.sketches(s.refs) {
		v.Similar(sketches[0], nil)
	}
	if v.Err() == nil {
		t.Fatal("nothing was noticed")
	}
	s.checkSimilar(t, s.sync(t, db, s.refs), s.refs, s.refs)
}

func TestSketchBlocks_AnyEntries_TheNewestOfEachFeatureFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.Uint64Range(1, 400).Draw(t, "features")
		want := make(map[uint64][]string) // feature → entries, the newest first, each blob once
		var entries []string
		for range rapid.IntRange(0, 500).Draw(t, "entries") {
			id := object.BlobID{byte(rapid.IntRange(0, 5).Draw(t, "blob"))}
			feature := rapid.Uint64Max(kinds-1).Draw(t, "feature") << 37
			entries = append(entries, string(appendEntry(nil, feature, rapid.Uint32().Draw(t, "source"), &id)))
		}
		slices.Sort(entries)
		var blocks [][2][]byte
		w := &sketchWriter{put: func(key, block []byte) error {
			if !validBlock(key, block) || len(block) > blockSize {
				t.Fatalf("block %x: %x", key, block)
			}
			if n := len(blocks); n > 0 && bytes.Compare(blocks[n-1][0], key) >= 0 {
				t.Fatalf("block %x after %x", key, blocks[n-1][0])
			}
			blocks = append(blocks, [2][]byte{bytes.Clone(key), bytes.Clone(block)})
			return nil
		}}
		for _, e := range entries {
			if err := w.add([]byte(e)); err != nil {
				t.Fatal(err)
			}
			f := binary.BigEndian.Uint64([]byte("\x00\x00" + e[:featureSize]))
			has := func(known string) bool { return known[prefixAt:] == e[prefixAt:] }
			if len(want[f]) < maxAlike && !slices.ContainsFunc(want[f], has) {
				want[f] = append(want[f], e)
			}
		}
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		for n := range kinds + 1 {
			f := n << 37
			key := appendFeature(nil, f)
			var got []byte
			for _, b := range blocks {
				if bytes.Compare(b[0], key) >= 0 {
					got = entriesOf(b[1], key)
					break
				}
			}
			if string(got) != strings.Join(want[f], "") {
				t.Fatalf("feature %x: %x, want %x", f, got, want[f])
			}
		}
	})
}
