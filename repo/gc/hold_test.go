package gc_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

var previewSeed = flag.Uint64("gc.preview-seed", 0, "seed of the dry runs that are compared with real ones; 0 draws one")

func run(t testing.TB, r *repo.Repository, o gc.Options) *gc.Result {
	t.Helper()
	res, err := gc.Run(t.Context(), r, o, gc.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRun_Hold_SparesWhatWasForgottenLately(t *testing.T) {
	const day = 24 * time.Hour
	now := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	store := mem.NewWithClock(now)
	r := testrepo.Init(t, store)
	a, b := testrepo.Random(1, 1<<20), testrepo.Random(2, 1<<20)
	early, late := testrepo.CommitFile(t, r, a), testrepo.CommitFile(t, r, b)
	forget(t, r, early)
	now.Advance(5 * day)
	forget(t, r, late)
	now.Advance(3 * day)

	hold := gc.Options{Hold: 7 * day}
	res := run(t, r, hold)
	if !cmp.Equal(res.Gone, []object.SessionID{early.ID}) || res.Held != 1 || res.Snapshots != 0 {
		t.Fatalf("gone %v, held %d, kept %d", res.Gone, res.Held, res.Snapshots)
	}
	if _, err := r.FindForgotten(t.Context(), early.ID.String()); err == nil {
		t.Error("a snapshot that is gone can be found")
	}
	if done, err := r.Unforget(t.Context(), []object.SessionID{late.ID}); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	wantFile(t, testrepo.Open(t, store), late, b)

	forget(t, r, late)
	now.Advance(6 * day)
	if res := run(t, r, hold); res.Held != 1 || len(res.Gone) != 0 {
		t.Fatalf("forgotten anew: %+v", res)
	}
	now.Advance(day)
	if res := run(t, r, hold); res.Held != 0 || len(res.Gone) != 1 || res.PacksAfter != 0 {
		t.Fatalf("after the time to hold: %+v", res)
	}
	noGarbage(t, r, store)
}

// Who forgets while a collector with a time to hold is at work is given that time.
func TestRun_ForgottenMeanwhile_IsHeld(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 1<<20)
	snap, old := testrepo.CommitFile(t, r, a), testrepo.CommitFile(t, r, testrepo.Random(2, 1<<20))
	forget(t, r, old)
	other := testrepo.Open(t, store)
	once := false
	ev := gc.Events{Phase: func(name string) {
		if name == "committing" && !once {
			once = true
			forget(t, other, snap)
		}
	}}
	res, err := gc.Run(t.Context(), r, gc.Options{Hold: time.Nanosecond}, ev)
	if err != nil {
		t.Fatal(err)
	}
	if !once || len(res.Gone) != 1 || res.Gone[0] != old.ID || res.Held != 1 {
		t.Errorf("%+v", res)
	}
	if done, err := r.Unforget(t.Context(), []object.SessionID{snap.ID}); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	wantFile(t, testrepo.Open(t, store), snap, a)
}

// A dry run says what a real one in its place does, in everything but the size of new packs.
func TestRun_DryRun_SaysWhatARealRunDoes(t *testing.T) {
	seed := *previewSeed
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	t.Logf("-gc.preview-seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	rounds, atLeast, deleted := 12, 20, 0
	if testing.Short() {
		rounds, atLeast = 3, 1
	}
	for range rounds {
		r, store := testrepo.New(t)
		var chunks [][]byte
		for i := range 12 {
			chunks = append(chunks, testrepo.Random(uint64(i), 20000+rng.IntN(900<<10)))
		}
		var snaps []*repo.Snapshot
		for range 2 + rng.IntN(5) {
			var some [][]byte
			for _, c := range chunks {
				if rng.IntN(3) > 0 {
					some = append(some, c)
				}
			}
			snaps = append(snaps, testrepo.CommitFile(t, r, append(some, []byte{byte(len(snaps))})...))
		}
		snaps = append(snaps, testrepo.CommitGenerations(t, r, testrepo.Generations(50, 100<<10, 4))...)
		abandoned, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		testrepo.Save(t, abandoned, object.DataBlob, testrepo.Random(99, 1<<20))
		if err := abandoned.Flush(); err != nil {
			t.Fatal(err)
		}
		var forgotten, assumed []*repo.Snapshot
		for _, s := range snaps {
			switch rng.IntN(3) {
			case 0:
				forgotten = append(forgotten, s)
			case 1:
				assumed = append(assumed, s)
			}
		}
		forget(t, r, forgotten...)
		opts := gc.Options{Idle: time.Nanosecond, Hold: time.Duration(rng.IntN(2)) * time.Hour, MaxUnused: rng.Float64() / 4}
		names := len(testrepo.Names(t, store, ""))
		dryOpts := opts
		dryOpts.DryRun = true
		for _, s := range assumed {
			dryOpts.Forget = append(dryOpts.Forget, s.ID)
		}
		dry := run(t, r, dryOpts)
		if len(testrepo.Names(t, store, "")) != names {
			t.Fatal("the dry run changed the store")
		}
		forget(t, r, assumed...)
		real := run(t, testrepo.Open(t, store), opts)
		deleted += real.ObjectsDeleted
		// What can only be estimated.
		if d := real.BytesAfter - dry.BytesAfter; d < -(64<<10)-real.BytesAfter/8 || d > 64<<10+real.BytesAfter/3 {
			t.Errorf("bytes after: dry run %d, real run %d", dry.BytesAfter, real.BytesAfter)
		}
		for _, res := range []*gc.Result{dry, real} {
			res.Entry, res.Entries, res.PacksAdded, res.PacksAfter, res.BytesAfter, res.BytesAdded, res.IndexAdded = 0, 0, 0, 0, 0, 0, 0
			for i := range res.Open {
				res.Open[i].Idle = 0 // one was before the other
			}
			if len(assumed) > 0 {
				res.HeldUntil = time.Time{} // they were forgotten between the two
			}
		}
		if diff := cmp.Diff(dry, real); diff != "" {
			t.Errorf("dry run (-) and real run (+):\n%s", diff)
		}
	}
	if deleted < atLeast {
		t.Errorf("only %d objects were deleted: that shows nothing", deleted)
	}
}

func TestFreed_CountsWhatNobodyElseNeeds(t *testing.T) {
	r, _ := testrepo.New(t)
	mib := func(seed uint64, n int) []byte { return testrepo.Random(seed, n<<20) }
	shared, both, small := mib(1, 2), mib(2, 3), []byte("shares a segment")
	kept := testrepo.CommitFile(t, r, shared, small)
	first := testrepo.CommitFile(t, r, shared, both, mib(3, 1))
	second := testrepo.CommitFile(t, r, both, mib(4, 4))
	same := testrepo.CommitFile(t, r, shared, small)
	freed, err := gc.Freed(t.Context(), r, gc.Options{Hold: time.Hour}, []*repo.Snapshot{first, second, same})
	if err != nil {
		t.Fatal(err)
	}
	want := func(s *repo.Snapshot, mib int64) {
		t.Helper()
		if d := freed[s.ID] - mib<<20; d < 0 || d > 64<<10 {
			t.Errorf("%d bytes, want %d MiB and a little for the tree", freed[s.ID], mib)
		}
	}
	want(first, 4)
	want(second, 7)
	if freed[same.ID] != 0 {
		t.Errorf("a snapshot like the kept %s frees %d bytes", kept.ID.Short(), freed[same.ID])
	}
	if _, err := gc.Run(t.Context(), r, gc.Options{Forget: []object.SessionID{first.ID}}, gc.Events{}); err == nil {
		t.Error("a real run took a snapshot for forgotten")
	}
}

// TestRun_ObjectFromTheFuture_DoesNotEndTheTimeToHold has objects that were put while the store's clock was wrong.
func TestRun_ObjectFromTheFuture_DoesNotEndTheTimeToHold(t *testing.T) {
	const day = 24 * time.Hour
	now := clock.NewFake(time.Date(2036, 3, 1, 0, 0, 0, 0, time.UTC))
	store := mem.NewWithClock(now)
	r := testrepo.Init(t, store)
	testrepo.CommitFile(t, r, testrepo.Random(1, 1000))
	now.Advance(-10 * 365 * day)
	a := testrepo.Random(2, 1<<20)
	snap := testrepo.CommitFile(t, r, a)
	forget(t, r, snap)
	now.Advance(day)
	if res := run(t, r, gc.Options{Hold: 7 * day}); res.Held != 1 || len(res.Gone) != 0 {
		t.Fatalf("held %d, gone %v", res.Held, res.Gone)
	}
	if _, err := r.Unforget(t.Context(), []object.SessionID{snap.ID}); err != nil {
		t.Fatal(err)
	}
	wantFile(t, testrepo.Open(t, store), snap, a)
}
