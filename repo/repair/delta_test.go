package repair_test

import (
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/repair"
)

// packsOf are the data packs that a snapshot's session stored.
func packsOf(t testing.TB, r *repo.Repository, snap *repo.Snapshot) (out []object.Ref) {
	t.Helper()
	for ref := range r.State().Packs {
		if ref.Class == object.DataPack && ref.Session == snap.ID {
			out = append(out, ref)
		}
	}
	return out
}

// TestPacks_BaseOfDeltasLost_TheyCountAgainWhenItIsStoredAgain loses the second generation of four: the later ones are
// lost with it, until a backup has it again.
func TestPacks_BaseOfDeltasLost_TheyCountAgainWhenItIsStoredAgain(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 4)
	snaps := testrepo.CommitGenerations(t, r, contents)
	lost := packsOf(t, r, snaps[1])
	for _, ref := range lost {
		obj, err := store.Get(t.Context(), ref.Name(), 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		clear(obj[64 : len(obj)/2]) // all of its segments, and too much to be mended
		store.Tamper(ref.Name(), obj)
	}
	// All are named, as somebody might: what is made of what is lost is carried, or stays.
	all := slices.Concat(lost, packsOf(t, r, snaps[2]), packsOf(t, r, snaps[3]))
	client := testrepo.Open(t, store)
	res, err := repair.Packs(t.Context(), client, repair.PacksOptions{Packs: all}, repair.Events{})
	if err != nil || res.Count(repair.Salvaged) != 1 || res.Count(repair.Whole) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	for i, c := range contents {
		if n := len(testrepo.Depths(t, client, c)); n > 0 != (i == 0) {
			t.Errorf("%d copies of generation %d count", n, i)
		}
	}
	damaged, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{DryRun: true}, repair.Events{})
	if err != nil || len(damaged.Snapshots) != 3 {
		t.Errorf("%+v, %v", damaged, err)
	}
	testrepo.CommitFile(t, client, contents[1]) // whoever still has it
	for i, snap := range snaps {
		wantWhole(t, store, snap, contents[i:i+1])
	}
	wantSound(t, store)
}

// TestPacks_PackOfDeltasDamaged_CarriesTheRest loses some of the deltas of a pack, with its directory or without.
func TestPacks_PackOfDeltasDamaged_CarriesTheRest(t *testing.T) {
	for _, directory := range []bool{true, false} {
		r, store := testrepo.New(t)
		var bases, next [][]byte
		for i := range uint64(6) {
			bases = append(bases, testrepo.Random(10+i, 300<<10))
			next = append(next, testrepo.Edited(20+i, bases[i]))
		}
		testrepo.CommitFile(t, r, bases...)
		s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Parity: -1}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range next {
			testrepo.SaveLike(t, r, s, next[i], bases[i])
		}
		snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, next...)})
		if err != nil {
			t.Fatal(err)
		}
		packs := packsOf(t, r, snap)
		for _, ref := range packs {
			flip(t, store, ref.Name(), 100) // in the first segment
			if !directory {
				flip(t, store, ref.Name(), int(r.State().Packs[ref].Size)-100)
			}
		}
		client := testrepo.Open(t, store)
		res, err := repair.Packs(t.Context(), client, repair.PacksOptions{Packs: packs}, repair.Events{})
		if err != nil || res.Count(repair.Salvaged) != len(packs) {
			t.Fatalf("%+v, %v", res, err)
		}
		whole := 0
		fresh := testrepo.Open(t, store)
		for _, c := range next {
			depths := testrepo.Depths(t, fresh, c)
			if len(depths) == 0 {
				continue
			}
			whole++
			if _, err := fresh.LoadBlob(t.Context(), object.DataBlob, fresh.BlobID(object.DataBlob, c)); err != nil || depths[0] != 1 {
				t.Errorf("a delta of depth %v: %v", depths, err)
			}
		}
		if whole != len(next)-len(packs) {
			t.Errorf("directory %v: %d of %d blobs were carried out of %d packs", directory, whole, len(next), len(packs))
		}
	}
}

// TestIndex_OfDeltas_IsMadeAgain loses all of the index.
func TestIndex_OfDeltas_IsMadeAgain(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 4)
	snaps := testrepo.CommitGenerations(t, r, contents)
	for _, name := range names(t, store, object.IndexPrefix) {
		store.Tamper(name, nil)
	}
	client := testrepo.Open(t, store)
	if _, err := repair.Index(t.Context(), client, repair.IndexOptions{}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	for i, snap := range snaps {
		wantWhole(t, store, snap, contents[i:i+1])
		if d := testrepo.Depths(t, client, contents[i]); len(d) != 1 || d[0] != i {
			t.Errorf("generation %d has copies of depths %v", i, d)
		}
	}
	wantSound(t, store)
}
