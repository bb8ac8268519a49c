package gc_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/clock"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

func prune(t testing.TB, r *repo.Repository) *gc.Result {
	t.Helper()
	res, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func forget(t testing.TB, r *repo.Repository, snaps ...*repo.Snapshot) {
	t.Helper()
	for _, s := range snaps {
		done, err := r.Forget(t.Context(), []object.SessionID{s.ID})
		if err != nil || len(done) != 1 {
			t.Fatalf("forget: %v, %v", done, err)
		}
	}
}

func wantFile(t testing.TB, r *repo.Repository, snap *repo.Snapshot, chunks ...[]byte) {
	t.Helper()
	got, err := testrepo.ReadFile(t, r, snap)
	if err != nil {
		t.Fatalf("snapshot %s: %v", snap.ID.Short(), err)
	}
	if !bytes.Equal(got, bytes.Join(chunks, nil)) {
		t.Fatalf("snapshot %s: other bytes came back", snap.ID.Short())
	}
}

// noGarbage fails unless every pack, index segment and sign of life in the store is in use.
func noGarbage(t testing.TB, r *repo.Repository, store backends.Store) {
	t.Helper()
	st := r.State()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix} {
		for _, name := range testrepo.Names(t, store, prefix) {
			ref, err := object.ParseRef(name)
			_, valid := st.Index[ref]
			if err != nil || !valid && !st.Live(ref) {
				t.Errorf("left in the store: %s", name)
			}
		}
	}
}

func TestRun_NothingForgotten_ChangesNoPack(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 12<<20)
	snap := testrepo.CommitFile(t, r, a[:6<<20], a[6<<20:])
	before := testrepo.Names(t, store, object.DataPrefix)
	prune(t, r)
	prune(t, r)
	after := testrepo.Names(t, store, object.DataPrefix)
	if !slices.Equal(before, after) && (len(before) == 1 || len(after) != 1) { // two small packs may have been merged, once
		t.Fatalf("before: %q\nafter: %q", before, after)
	}
	n := len(testrepo.Names(t, store, ""))
	if prune(t, r).Entry != 0 || len(testrepo.Names(t, store, "")) != n {
		t.Fatal("a run with nothing to do changed the repository")
	}
	wantFile(t, r, snap, a)
	noGarbage(t, r, store)
}

func TestRun_AllForgotten_LeavesNoPackAndNoIndex(t *testing.T) {
	r, store := testrepo.New(t)
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20), []byte("small")))
	res := prune(t, r)
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix} {
		if names := testrepo.Names(t, store, prefix); len(names) > 0 {
			t.Errorf("left: %q", names)
		}
	}
	if len(res.Gone) != 1 || res.PacksAfter != 0 || res.BytesAfter != 0 || res.BytesDeleted == 0 {
		t.Errorf("result: %+v", res)
	}
}

func TestRun_SharedBlobs_SurviveByBeingCarried(t *testing.T) {
	r, store := testrepo.New(t)
	shared, small := testrepo.Random(1, 300<<10), []byte("in a group with others")
	chunks := [][]byte{shared, small, []byte("dead")}
	for i := range 32 { // chunks go to either of two packs: some are beside what is shared
		chunks = append(chunks, testrepo.Random(uint64(2+i), 260<<10))
	}
	first := testrepo.CommitFile(t, r, chunks...)
	second := testrepo.CommitFile(t, r, shared, small)
	forget(t, r, first)
	res := prune(t, r)
	if res.PacksAdded == 0 || res.PacksRepacked == 0 {
		t.Errorf("nothing was carried: %+v", res)
	}
	if res.BytesAfter > 2<<20 {
		t.Errorf("%d bytes are left for about 300 KiB", res.BytesAfter)
	}
	wantFile(t, r, second, shared, small)
	other := testrepo.Open(t, store)
	wantFile(t, other, second, shared, small)
	noGarbage(t, r, store)
	if _, err := testrepo.ReadFile(t, other, first); err == nil {
		t.Error("what was forgotten and collected can still be read in whole")
	}
}

func TestRun_DryRun_ChangesNothing(t *testing.T) {
	r, store := testrepo.New(t)
	first := testrepo.CommitFile(t, r, testrepo.Random(1, 6<<20))
	testrepo.CommitFile(t, r, testrepo.Random(2, 100))
	forget(t, r, first)
	before := testrepo.Names(t, store, "")
	res, err := gc.Run(t.Context(), r, gc.Options{DryRun: true}, gc.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if after := testrepo.Names(t, store, ""); len(after) != len(before) {
		t.Errorf("before: %q\nafter: %q", before, after)
	}
	real := prune(t, r)
	if res.PacksDropped != real.PacksDropped || res.BytesBefore != real.BytesBefore || len(res.Gone) != len(real.Gone) {
		t.Errorf("dry run %+v\nreal run %+v", res, real)
	}
}

func TestRun_UnforgottenBefore_KeepsTheSnapshot(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 1<<20)
	snap := testrepo.CommitFile(t, r, a)
	forget(t, r, snap)
	done, err := r.Unforget(t.Context(), []object.SessionID{snap.ID})
	if err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	prune(t, r)
	wantFile(t, testrepo.Open(t, store), snap, a)
	forget(t, r, snap)
	prune(t, r)
	if done, err := r.Unforget(t.Context(), []object.SessionID{snap.ID}); err != nil || len(done) != 0 {
		t.Fatalf("a snapshot that is gone was brought back: %v, %v", done, err)
	}
}

func TestCommit_PackCollectedMeanwhile_IsStale(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 1<<20)
	old := testrepo.CommitFile(t, r, a)

	writer := testrepo.Open(t, store)
	s, err := writer.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, s, a) // relies on what old has

	forget(t, r, old)
	prune(t, r)

	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, repo.ErrStale) {
		t.Fatalf("committed on packs that are gone: %v", err)
	}
	again := testrepo.CommitFile(t, writer, a)
	wantFile(t, testrepo.Open(t, store), again, a)
}

func TestNewSession_AfterADeadOne_AdoptsItsPacks(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 14<<20)
	ctx, cancel := context.WithCancel(t.Context())
	dead, err := r.NewSession(ctx, repo.SessionOptions{Packing: repo.Packing{Size: 5 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	chunks := [][]byte{}
	for i := 0; i < len(a); i += 1 << 20 {
		chunks = append(chunks, a[i:i+1<<20])
	}
	testrepo.Save(t, dead, object.DataBlob, chunks...)
	if err := dead.Flush(); err != nil { // all packs are stored, and no entry is made
		t.Fatal(err)
	}
	cancel()
	packs := testrepo.Names(t, store, object.DataPrefix)
	if len(packs) < 3 {
		t.Fatalf("only %d packs", len(packs))
	}

	other := testrepo.Open(t, store)
	snap := testrepo.CommitFile(t, other, chunks...)
	if after := testrepo.Names(t, store, object.DataPrefix); len(after) != len(packs) {
		t.Errorf("%d packs before, %d after: data was stored again", len(packs), len(after))
	}
	// The dead session's process is this one, which lives: only its silence tells.
	if _, err := gc.Run(t.Context(), r, gc.Options{Idle: time.Nanosecond}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	wantFile(t, testrepo.Open(t, store), snap, a)
	noGarbage(t, r, store)
}

// TestRun_LastEntryLost_DeletesNothing loses the file of the last entry, a snapshot's, of which there is a checkpoint.
// What the snapshot has stored looks like what a dead session left behind.
func TestRun_LastEntryLost_DeletesNothing(t *testing.T) {
	now := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	store := mem.NewWithClock(now)
	r := testrepo.Init(t, store)
	data := testrepo.Random(1, 300<<10)
	snap := testrepo.CommitFile(t, r, data)
	name := object.LogName(r.State().N)
	entry, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(testrepo.Names(t, store, object.CheckpointName(r.State().N))) == 0 {
		t.Fatal("there is no checkpoint of the entry")
	}
	if err := store.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	now.Advance(24 * time.Hour)
	client := testrepo.Open(t, store)
	for _, dry := range []bool{true, false} {
		_, err := gc.Run(t.Context(), client, gc.Options{DryRun: dry}, gc.Events{})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("dry run %v: %v", dry, err)
		}
	}
	if err := store.Put(t.Context(), name, entry); err != nil { // from a copy
		t.Fatal(err)
	}
	client = testrepo.Open(t, store)
	prune(t, client)
	wantFile(t, client, snap, data)
}
