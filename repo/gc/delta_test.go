package gc_test

import (
	"slices"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

func wantDepth(t *testing.T, r *repo.Repository, data []byte, want ...int) {
	t.Helper()
	if got := testrepo.Depths(t, r, data); !slices.Equal(got, want) {
		t.Fatalf("copies of depths %v, want %v", got, want)
	}
}

// TestRun_DeltasWhoseBasesNoSnapshotNeeds_KeepsTheBases forgets generation after generation, the oldest first.
func TestRun_DeltasWhoseBasesNoSnapshotNeeds_KeepsTheBases(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 6)
	snaps := testrepo.CommitGenerations(t, r, contents)
	for i, c := range contents {
		wantDepth(t, r, c, i)
	}
	for i, snap := range snaps[:5] {
		forget(t, r, snap)
		prune(t, r)
		prune(t, r)
		fresh := testrepo.Open(t, store)
		for k := i + 1; k < len(snaps); k++ {
			wantDepth(t, fresh, contents[k], k)
			wantFile(t, fresh, snaps[k], contents[k])
		}
	}
	forget(t, r, snaps[5])
	if res := prune(t, r); res.PacksAfter != 0 {
		t.Errorf("%d packs are left", res.PacksAfter)
	}
}

// TestRun_DeltasOfSeveralBases_KeepsThemAll forgets all but one blob that is made of three, one of which is made of
// others.
func TestRun_DeltasOfSeveralBases_KeepsThemAll(t *testing.T) {
	r, store := testrepo.New(t)
	a, b, c := testrepo.Random(1, 300<<10), testrepo.Random(2, 300<<10), testrepo.Random(3, 300<<10)
	made := testrepo.Edited(4, slices.Concat(a[200<<10:], b, c[:100<<10]))
	last := testrepo.Edited(5, made)
	forget(t, r, testrepo.CommitFile(t, r, a, b, c))
	forget(t, r, testrepo.CommitLike(t, r, made, a, b, c))
	snap := testrepo.CommitLike(t, r, last, made)
	wantDepth(t, r, made, 1)
	wantDepth(t, r, last, 2)
	for range 2 {
		prune(t, r)
		wantFile(t, testrepo.Open(t, store), snap, last)
	}
}

// TestRun_DeltasInSparsePacks_AreCarriedAsTheyAre has deltas beside much that nobody needs.
func TestRun_DeltasInSparsePacks_AreCarriedAsTheyAre(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 1<<20, 4)
	chunks := [][]byte{contents[0]}
	for i := range 32 { // half of them beside what is needed, on average
		chunks = append(chunks, testrepo.Random(uint64(100+i), 260<<10))
	}
	forget(t, r, testrepo.CommitFile(t, r, chunks...))
	var last *repo.Snapshot
	for i := 1; i < 4; i++ {
		if last != nil {
			forget(t, r, last)
		}
		last = testrepo.CommitLike(t, r, contents[i], contents[i-1])
	}
	res := prune(t, r)
	if res.PacksRepacked == 0 || res.BytesAfter > 2<<20 {
		t.Errorf("nothing was carried: %+v", res)
	}
	fresh := testrepo.Open(t, store)
	for i, c := range contents {
		wantDepth(t, fresh, c, i)
	}
	wantFile(t, fresh, last, contents[3])
}

// TestRun_DeltasAndBasesOfNoSnapshot_Go has the base of a delta go while the delta is in a pack that stays. It does not
// count any more, is stored again, and its pack goes when nothing else in it is needed.
func TestRun_DeltasAndBasesOfNoSnapshot_Go(t *testing.T) {
	r, store := testrepo.New(t)
	base := testrepo.Random(1, 1<<20)
	data := testrepo.Edited(2, base)
	other := testrepo.Random(3, 4<<20)
	first := testrepo.CommitFile(t, r, base)

	s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Size: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.SaveLike(t, r, s, data, base)
	m := testrepo.Manifest(t, s, other) // which does not need the delta
	second, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		t.Fatal(err)
	}
	wantDepth(t, r, data, 1)
	forget(t, r, first)
	prune(t, r)
	fresh := testrepo.Open(t, store)
	wantFile(t, fresh, second, other)
	wantDepth(t, fresh, data)

	again := testrepo.CommitFile(t, fresh, data)
	forget(t, fresh, second)
	if res := prune(t, fresh); res.PacksAfter != 2 { // one of each class
		t.Errorf("%d packs are left", res.PacksAfter)
	}
	wantDepth(t, fresh, data, 0)
	wantFile(t, testrepo.Open(t, store), again, data)
}

// TestRun_PlainCopyBesideADelta_IsWhatIsKept has two clients store the same at the same time, of whom one knows
// something like it.
func TestRun_PlainCopyBesideADelta_IsWhatIsKept(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 3)
	first := testrepo.CommitFile(t, r, contents[0])
	one, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.CommitLike(t, r, contents[1], contents[0])
	plain, err := one.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, one, contents[1])})
	if err != nil {
		t.Fatal(err)
	}
	wantDepth(t, r, contents[1], 0, 1)
	last := testrepo.CommitLike(t, r, contents[2], contents[1])
	wantDepth(t, r, contents[2], 2) // as deep as any copy of its base makes it
	forget(t, r, first)
	for range 3 {
		if _, err := gc.Run(t.Context(), r, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
	}
	wantDepth(t, r, contents[0])
	wantDepth(t, r, contents[1], 0)
	fresh := testrepo.Open(t, store)
	wantFile(t, fresh, plain, contents[1])
	wantFile(t, fresh, last, contents[2])
}

// TestRun_TheSameDeltaTwice_TheLeastDeepStays has two clients store the same as deltas at the same time, one of them of
// something deeper, and has others made of it.
func TestRun_TheSameDeltaTwice_TheLeastDeepStays(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 3)
	snaps := testrepo.CommitGenerations(t, r, contents)
	data := testrepo.Edited(9, contents[2])
	one, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.SaveLike(t, r, one, data, contents[2])
	snaps = append(snaps, testrepo.CommitLike(t, r, data, contents[0]))
	second, err := one.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, one, data)})
	if err != nil {
		t.Fatal(err)
	}
	wantDepth(t, r, data, 1, 3)
	forget(t, r, snaps[1], snaps[2])
	for range 3 {
		if _, err := gc.Run(t.Context(), r, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
	}
	wantDepth(t, r, data, 1)
	wantFile(t, testrepo.Open(t, store), second, data)
	wantFile(t, testrepo.Open(t, store), snaps[3], data)
}

// TestFreed_OfDeltas_CountsTheBasesThatNobodyElseNeeds weighs a snapshot whose blob is made of what only it needs, and
// one that others are made of.
func TestFreed_OfDeltas_CountsTheBasesThatNobodyElseNeeds(t *testing.T) {
	r, _ := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 3)
	snaps := testrepo.CommitGenerations(t, r, contents)
	freed := func(snap *repo.Snapshot) int64 {
		t.Helper()
		got, err := gc.Freed(t.Context(), r, gc.Options{}, []*repo.Snapshot{snap})
		if err != nil {
			t.Fatal(err)
		}
		return got[snap.ID]
	}
	for i, snap := range snaps {
		if n := freed(snap); n > 20<<10 {
			t.Errorf("forgetting generation %d would free %d bytes", i, n)
		}
	}
	forget(t, r, snaps[0], snaps[1])
	if n := freed(snaps[2]); n < 300<<10 {
		t.Errorf("forgetting the last generation would free %d bytes", n)
	}
}

// TestRun_ListThatLiesAboutBases_KeepsTheTrueOnes has a thief list somebody's delta with other bases, and other depths,
// before the pack that it lies in is to be carried.
func TestRun_ListThatLiesAboutBases_KeepsTheTrueOnes(t *testing.T) {
	for _, c := range []struct {
		name string
		lie  func(bases []object.BlobID, depth *uint8)
	}{
		{"bases", func(bases []object.BlobID, _ *uint8) { bases[0] = object.BlobID{1} }},
		{"depth", func(_ []object.BlobID, depth *uint8) { *depth = 7 }},
		{"both", func(bases []object.BlobID, depth *uint8) { bases[0], *depth = object.BlobID{0xff}, 8 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, store := testrepo.New(t)
			contents := testrepo.Generations(1, 300<<10, 4)
			snaps := testrepo.CommitGenerations(t, r, contents)
			var seg index.Segment
			for _, snap := range snaps[1:3] {
				refs, dirs := newPacks(t, r, snap)
				for i, dir := range dirs {
					for k := range dir.Segments {
						dir.Segments[k].Bases = slices.Clone(dir.Segments[k].Bases)
						c.lie(dir.Segments[k].Bases, &dir.Segments[k].Depth)
					}
					if err := seg.AddPack(refs[i].Ref, refs[i].Size, dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			forge(t, r, snaps[0], nil, &seg)
			forget(t, r, snaps[0], snaps[1], snaps[2])
			for range 3 {
				if _, err := gc.Run(t.Context(), r, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
					t.Fatal(err)
				}
				wantFile(t, testrepo.Open(t, store), snaps[3], contents[3])
			}
		})
	}
}
