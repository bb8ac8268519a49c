package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/transfer"
)

// spoil damages all packs of a class in a store that are not among the others.
func spoil(t testing.TB, store backends.Store, prefix string, spare []string, damage func([]byte)) {
	t.Helper()
	n := 0
	for _, name := range testrepo.Names(t, store, prefix) {
		if slices.Contains(spare, name) {
			continue
		}
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		must(t, err)
		must(t, store.Delete(t.Context(), name))
		damage(obj)
		must(t, store.Put(t.Context(), name, obj))
		n++
	}
	if n == 0 {
		t.Fatal("nothing was damaged")
	}
}

func TestRun_DamagedSnapshot_IsNamedAndTheOthersAreCopied(t *testing.T) {
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		forBoth(t, func(t *testing.T, from, to *repo.Repository) {
			testrepo.CommitFile(t, from, testrepo.Random(1, 300_000))
			spare := testrepo.Names(t, from.Store(), prefix)
			bad := testrepo.CommitFile(t, from, testrepo.Random(2, 300_000), []byte("small"))
			damaged := testrepo.Names(t, from.Store(), prefix)
			testrepo.CommitFile(t, from, testrepo.Random(3, 300_000))
			for _, name := range testrepo.Names(t, from.Store(), prefix) {
				if !slices.Contains(damaged, name) {
					spare = append(spare, name)
				}
			}
			spoil(t, from.Store(), prefix, spare, func(b []byte) { clear(b[100:]) })

			fresh := testrepo.Open(t, from.Store())
			var items []transfer.Item
			res, err := transfer.Run(t.Context(), fresh, to, transfer.Options{Snapshots: snapshots(t, fresh)},
				transfer.Events{Snapshot: func(i transfer.Item) { items = append(items, i) }})
			must(t, err)
			if res.Copied != 2 || res.Damaged != 1 {
				t.Errorf("%+v", res)
			}
			for _, i := range items {
				if hurt := i.Snapshot.ID == bad.ID; hurt != (i.Fate == transfer.Damaged) || hurt != errors.As(i.Err, new(*repo.DamageError)) {
					t.Errorf("%s: fate %d, %v", i.Snapshot.ID.Short(), i.Fate, i.Err)
				}
			}
			wantClean(t, to)
		})
	}
}

func TestRun_MendableDamage_IsCopiedWhole(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		want := testrepo.Random(1, 300_000)
		testrepo.CommitFile(t, from, want, []byte("small"))
		for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
			spoil(t, from.Store(), prefix, nil, func(b []byte) { b[len(b)/3] ^= 1 })
		}
		copyAll(t, testrepo.Open(t, from.Store()), to)
		got, err := testrepo.ReadFile(t, to, snapshots(t, to)[0])
		if err != nil || string(got) != string(want)+"small" {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		wantClean(t, to)
	})
}

// TestRun_CutOff_TheNextOneUsesWhatWasStored ends a copy at its commit, and wants the next one to store next to
// nothing.
func TestRun_CutOff_TheNextOneUsesWhatWasStored(t *testing.T) {
	forLarge(t, func(t *testing.T, from, to *repo.Repository) {
		testrepo.CommitFile(t, from, testrepo.Random(1, 5<<20), testrepo.Random(2, 5<<20), testrepo.Random(3, 1000))
		store := fault.New(to.Store())
		dying := testrepo.Open(t, store)
		store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Before(errors.New("dead")).Die())
		_, err := transfer.Run(t.Context(), from, dying, transfer.Options{Snapshots: snapshots(t, from), Packing: packing}, transfer.Events{})
		if err == nil {
			t.Fatal("it did not die")
		}
		packs := len(testrepo.Names(t, to.Store(), object.DataPrefix))
		res := copyAll(t, from, testrepo.Open(t, to.Store()))
		if after := len(testrepo.Names(t, to.Store(), object.DataPrefix)); packs == 0 || after != packs || res.Copied != 1 || res.Blobs != 0 {
			t.Errorf("%d packs, then %d; %+v", packs, after, res)
		}
		must(t, to.Refresh(t.Context()))
		wantClean(t, to)
	})
}

// TestRun_TwoAtOnce_CommitEachSnapshotOnce lets several clients copy the same snapshots.
func TestRun_TwoAtOnce_CommitEachSnapshotOnce(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		for n := range 5 {
			testrepo.CommitFile(t, from, testrepo.Random(uint64(n), 2000), []byte("common"))
		}
		var wg sync.WaitGroup
		results := make([]*transfer.Result, 3)
		for i := range results {
			client, list := testrepo.Open(t, to.Store()), snapshots(t, from)
			wg.Go(func() {
				var err error
				results[i], err = transfer.Run(t.Context(), from, client, transfer.Options{Snapshots: list}, transfer.Events{})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		copied := 0
		for _, res := range results {
			copied += res.Copied
			if res.Copied+res.There != 5 {
				t.Errorf("%+v", res)
			}
		}
		if n := len(snapshots(t, to)); n != 5 || copied != 5 {
			t.Errorf("%d snapshots, %d copied", n, copied)
		}
		wantClean(t, to)
	})
}

// TestRun_CollectedMeanwhile_BeginsAgain forgets and collects, while a snapshot is copied, what its copy relies on.
func TestRun_CollectedMeanwhile_BeginsAgain(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		common := testrepo.Random(1, 300_000)
		first := testrepo.CommitFile(t, from, common)
		_, err := transfer.Run(t.Context(), from, to, transfer.Options{Snapshots: []*repo.Snapshot{first}}, transfer.Events{})
		must(t, err)
		second := testrepo.CommitFile(t, from, common, testrepo.Random(2, 300_000))

		store := fault.New(to.Store())
		client := testrepo.Open(t, store)
		collected := false
		store.Inject(fault.On(fault.Put).Prefix(object.IndexPrefix).Hook(func(context.Context, fault.Call) error {
			collected = true
			if _, err := to.Forget(t.Context(), []object.SessionID{snapshots(t, to)[0].ID}); err != nil {
				return err
			}
			_, err := gc.Run(t.Context(), to, gc.Options{Idle: 24 * time.Hour}, gc.Events{})
			return err
		}))
		res, err := transfer.Run(t.Context(), from, client, transfer.Options{Snapshots: []*repo.Snapshot{second}}, transfer.Events{})
		must(t, err)
		if !collected || res.Copied != 1 {
			t.Errorf("collected: %v, %+v", collected, res)
		}
		if list := snapshots(t, to); len(list) != 1 || list[0].SourceID() != second.ID {
			t.Errorf("%d snapshots", len(list))
		}
		wantClean(t, to)
	})
}

// TestRun_ForgottenAndCollectedInTheSource_IsNoDamage takes a snapshot away while it is copied.
func TestRun_ForgottenAndCollectedInTheSource_IsNoDamage(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		gone := testrepo.CommitFile(t, from, testrepo.Random(1, 300_000))
		testrepo.CommitFile(t, from, testrepo.Random(2, 300_000))
		store := fault.New(from.Store())
		client := testrepo.Open(t, store)
		list := snapshots(t, client)
		store.Inject(fault.On(fault.Get).Prefix(object.DataPrefix).Hook(func(context.Context, fault.Call) error {
			if _, err := from.Forget(t.Context(), []object.SessionID{gone.ID}); err != nil {
				return err
			}
			_, err := gc.Run(t.Context(), from, gc.Options{}, gc.Events{})
			return err
		}))
		res, err := transfer.Run(t.Context(), client, to, transfer.Options{Snapshots: list}, transfer.Events{})
		must(t, err)
		if res.Forgotten != 1 || res.Copied != 1 || res.Damaged != 0 {
			t.Errorf("%+v", res)
		}
		wantClean(t, to)
	})
}

// TestRun_ForgedCopy_HidesNothing has a snapshot in either repository that says it is the copy of another, and is not:
// whoever holds a writer's key can make one.
func TestRun_ForgedCopy_HidesNothing(t *testing.T) {
	for _, inSource := range []bool{true, false} {
		from, _ := testrepo.New(t)
		to, _ := testrepo.InitFrom(t, from)
		dir := testsys.MemoryDir(t)
		must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o644))
		snap := backUp(t, from, dir)
		victim, dest, want := to, to, 1
		if inSource {
			// And nobody looks into manifests.
			victim, dest, want = from, openAs(t, to, seal.Writer), 2
		}
		s, err := openAs(t, victim, seal.Writer).NewSession(t.Context(), repo.SessionOptions{})
		must(t, err)
		m := testrepo.Manifest(t, s, []byte("something else"))
		root := m.Root
		*m = snap.Manifest
		m.Root, m.CopyOf, m.Time = root, snap.ID[:], 1 // copied first
		if !inSource {
			m.Time = snap.Time
		}
		_, err = s.Commit(repo.CommitOptions{Manifest: m, Run: snap.ID})
		must(t, err)

		must(t, dest.Refresh(t.Context()))
		if res := copyAll(t, from, dest); res.Copied != want {
			t.Errorf("in the source: %v: %+v", inSource, res)
		}
		if res := copyAll(t, from, dest); res.There != want {
			t.Errorf("again: in the source: %v: %+v", inSource, res)
		}
	}
}

// TestRun_StoreFails_EndsWithItsError tries stores that stop to work at some request.
func TestRun_StoreFails_EndsWithItsError(t *testing.T) {
	broken := errors.New("broken")
	forLarge(t, func(t *testing.T, from, to *repo.Repository) {
		testrepo.CommitFile(t, from, testrepo.Random(1, 5<<20), []byte("small"))
		for name, rule := range map[string]fault.Rule{
			"data":    fault.On(fault.Put).Prefix(object.DataPrefix).Always().Before(broken),
			"tree":    fault.On(fault.Put).Prefix(object.TreePrefix).Always().Before(broken),
			"index":   fault.On(fault.Put).Prefix(object.IndexPrefix).Always().Before(broken),
			"log":     fault.On(fault.Put).Prefix(object.LogPrefix).Always().Before(broken),
			"reading": fault.On(fault.Get).Prefix(object.DataPrefix).Always().Before(broken),
		} {
			stores := [2]*fault.Store{fault.New(from.Store()), fault.New(to.Store().(*mem.Store).Clone())}
			source, dest := testrepo.Open(t, stores[0]), testrepo.Open(t, stores[1])
			list := snapshots(t, source)
			for _, s := range stores {
				s.Inject(rule)
			}
			res, err := transfer.Run(t.Context(), source, dest, transfer.Options{Snapshots: list, Packing: packing}, transfer.Events{})
			if !errors.Is(err, broken) || res.Copied+res.Damaged != 0 {
				t.Errorf("%s: %v, %+v", name, err, res)
			}
		}
	})
}

// TestRun_Cancelled_EndsAndTheNextOneCompletesIt cancels copies at some request of either store.
func TestRun_Cancelled_EndsAndTheNextOneCompletesIt(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		for n := range 3 {
			testrepo.CommitFile(t, from, testrepo.Random(uint64(n), 1<<20), fmt.Append(nil, n))
		}
		step := 3 // odd: the stores take turns
		if testing.Short() {
			step = 9
		}
		cut := 0
		for nth := 1; ; nth += step {
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stop")
			inner := to.Store().(*mem.Store).Clone()
			stores := [2]*fault.Store{fault.New(from.Store()), fault.New(inner)}
			source, dest := testrepo.Open(t, stores[0]), testrepo.Open(t, stores[1])
			list := snapshots(t, source)
			side := nth % 2
			stores[side].Inject(fault.On(fault.Get, fault.Put).Nth(nth).Hook(func(context.Context, fault.Call) error {
				cancel(stop)
				return nil
			}))
			_, err := transfer.Run(ctx, source, dest, transfer.Options{Snapshots: list, Packing: packing}, transfer.Events{})
			fired := context.Cause(ctx) != nil
			cancel(nil)
			if !fired {
				must(t, err)
				break
			}
			if err != nil && !errors.Is(err, stop) && !strings.Contains(err.Error(), "canceled") {
				t.Errorf("request %d: %v", nth, err)
			}
			if err != nil {
				cut++
			}
			next := testrepo.Open(t, inner)
			copyAll(t, from, next)
			if n := len(snapshots(t, next)); n != 3 {
				t.Errorf("request %d: %d snapshots", nth, n)
			}
			wantClean(t, next)
		}
		if cut == 0 {
			t.Error("no copy was cut off")
		}
	})
}
