package repair_test

import (
	"context"
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/repair"
)

// TestPacks_OthersAtWorkAtAnyMoment_NothingIsLost lets another client, at each request of a repair in turn, commit
// a snapshot that relies on a pack that is being repaired, forget another, and collect.
func TestPacks_OthersAtWorkAtAnyMoment_NothingIsLost(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	other := testrepo.CommitFile(t, r, testrepo.Random(9, 300<<10))
	for _, name := range names(t, store, object.DataPrefix, object.TreePrefix) {
		flip(t, store, name, 7000)
	}
	damageBeyondMending(t, store, names(t, store, object.IndexPrefix)[0])
	// The index is damaged, so that the others can begin only when it is repaired.
	if _, err := repair.Index(t.Context(), testrepo.Open(t, store), repair.IndexOptions{}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	revoked := 0
	for n := 1; ; n++ {
		inner := store.Clone()
		theirs := testrepo.Open(t, inner)
		watched := fault.New(inner)
		client := testrepo.Open(t, watched)
		var made *repo.Snapshot
		watched.Inject(fault.On(fault.Put, fault.List).Nth(n).Hook(func(ctx context.Context, _ fault.Call) error {
			if err := theirs.Refresh(ctx); err != nil {
				return err
			}
			made = testrepo.CommitFile(t, theirs, file()[:2]...)
			if _, err := theirs.Forget(ctx, []object.SessionID{other.ID}); err != nil {
				return err
			}
			_, err := gc.Run(ctx, theirs, gc.Options{MaxUnused: -1}, gc.Events{})
			return err
		}))
		_, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
		if errors.Is(err, repair.ErrRevoked) {
			revoked++
			_, err = repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
		}
		if err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
		wantWhole(t, inner, snap, file())
		if made == nil {
			t.Logf("%d requests, the repair was revoked %d times", n-1, revoked)
			if n < 6 {
				t.Error("fewer than a repair must make: that shows nothing")
			}
			break
		}
		wantWhole(t, inner, made, file()[:2])
		if _, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{}); err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
		wantSound(t, inner)
	}
}
