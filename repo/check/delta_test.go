package check_test

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

// dataPack is the data pack that a snapshot's session stored.
func dataPack(t *testing.T, r *repo.Repository, snap *repo.Snapshot) string {
	t.Helper()
	for ref := range r.State().Packs {
		if ref.Class == object.DataPack && ref.Session == snap.ID {
			return ref.Name()
		}
	}
	t.Fatal("no data pack")
	return ""
}

// TestRun_BaseOfDeltasDamaged_NamesItsPackAndAllFiles loses what several generations are made of.
func TestRun_BaseOfDeltasDamaged_NamesItsPackAndAllFiles(t *testing.T) {
	r, store := testrepo.New(t)
	contents := testrepo.Generations(1, 300<<10, 5)
	snaps := testrepo.CommitGenerations(t, r, contents)
	lost := dataPack(t, r, snaps[1])
	for _, readData := range []bool{true, false} {
		damaged := store.Clone()
		if readData {
			tamper(t, damaged, lost, func(b []byte) []byte { clear(b[64 : len(b)/2]); return b })
		} else {
			damaged.Tamper(lost, nil)
		}
		rep := run(t, testrepo.Open(t, damaged), readData)
		if rep.SnapshotsDamaged != 4 || rep.FilesDamaged != 4 {
			t.Errorf("read %v: %+v", readData, rep)
		}
		differences := 0
		for _, p := range rep.Problems {
			if p.Object != lost {
				t.Errorf("read %v: another object is named: %v", readData, p)
			}
			if strings.Contains(p.Err.Error(), "difference") {
				differences++
			}
		}
		if want := 3; differences < want {
			t.Errorf("read %v: %d problems say why: %v", readData, differences, rep.Problems)
		}
	}
	if rep := run(t, testrepo.Open(t, store), true); len(rep.Problems) > 0 {
		t.Errorf("without damage: %v", rep.Problems)
	}
}

// TestRun_BitsOfADeltaFlipped_IsMendable damages a delta of which others are made, little enough for parity.
func TestRun_BitsOfADeltaFlipped_IsMendable(t *testing.T) {
	r, store := testrepo.New(t)
	snaps := testrepo.CommitGenerations(t, r, testrepo.Generations(1, 300<<10, 4))
	bad := dataPack(t, r, snaps[2])
	tamper(t, store, bad, func(b []byte) []byte { b[100] ^= 1; return b })
	rep := run(t, testrepo.Open(t, store), true)
	if rep.Damaged() != 1 || rep.Mendable() != 1 || rep.Problems[0].Object != bad {
		t.Errorf("%v", rep.Problems)
	}
}

// TestRun_DeltaThatNothingNeeds_IsNoProblemWithoutItsBase leaves a delta in a pack that stays, and drops its base.
func TestRun_DeltaThatNothingNeeds_IsNoProblemWithoutItsBase(t *testing.T) {
	r, store := testrepo.New(t)
	base := testrepo.Random(1, 300<<10)
	first := testrepo.CommitFile(t, r, base)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unneeded := testrepo.Edited(2, base)
	testrepo.SaveLike(t, r, s, unneeded, base)
	if _, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, testrepo.Random(3, 4<<20))}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Forget(t.Context(), []object.SessionID{first.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	if d := testrepo.Depths(t, r, unneeded); len(d) > 0 {
		t.Fatalf("the base is still there: copies of depths %v", d)
	}
	if rep := run(t, testrepo.Open(t, store), true); len(rep.Problems) > 0 {
		t.Errorf("%v", rep.Problems)
	}
}
