package thief_test

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// TestReading_EveryWay_GivesNothing tries to read what honest snapshots have: their manifests, folders and
// files, through the repository and with each origin there is. It prints what a writer's key does see.
func TestReading_EveryWay_GivesNothing(t *testing.T) {
	w := newWorld(t)
	r, ctx := w.thief, t.Context()
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("%s: %v, want ErrNoKey", what, err)
		}
	}
	_, err := r.Snapshots(ctx)
	refused("the list of snapshots", err)
	_, _, err = r.FindSnapshot(ctx, "latest", repo.SnapshotFilter{})
	refused("the latest snapshot", err)
	origins := 0
	open := func(what string, o *seal.Origin) {
		origins++
		_, err := r.Keys().OpenOrigin(o)
		refused(what, err)
	}
	for _, h := range w.honest {
		_, err := r.OpenSnapshot(w.newest().Snapshots[h.snap.ID])
		refused("a manifest", err)
		open("the key of a manifest", &h.snap.Entry.Manifest.Origin)
		_, err = r.LoadTree(ctx, object.BlobID(h.snap.Root))
		refused("a folder", err)
		for _, part := range h.parts {
			_, err = r.LoadBlob(ctx, object.DataBlob, r.BlobID(object.DataBlob, part))
			refused("a chunk", err)
		}
	}
	var packs, segments, blobs int
	for ref, p := range w.newest().Packs {
		dir, err := r.LoadDirectory(ctx, ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		packs++
		segments += len(dir.Segments)
		for _, s := range dir.Segments {
			blobs += len(s.IDs)
		}
		for _, o := range dir.Origins {
			open("the key of a pack", o)
		}
	}
	for _, role := range []seal.Role{seal.Maintainer, seal.Owner} {
		if _, err := r.Keys().Subset(role); !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("a %v's keyring: %v", role, err)
		}
	}
	ix, err := r.Index(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := ix.Has(r.BlobID(object.DataBlob, w.honest[0].parts[0])); !ok {
		t.Error("who knows a chunk sees that it is there: the threat model says so")
	}
	t.Logf("seen: %d snapshots with times and sizes of packs, %d packs, %d segments, ids and lengths of %d blobs; %d keys tried, none opened",
		len(w.newest().Snapshots), packs, segments, blobs, origins)
}

// TestReading_MaintainersKey_ReadsFoldersButNoFiles is the line between the roles.
func TestReading_MaintainersKey_ReadsFoldersButNoFiles(t *testing.T) {
	w := newWorld(t)
	for _, h := range w.honest {
		if _, err := w.maintainer.Find(t.Context(), h.snap, "/f"); err != nil {
			t.Error(err)
		}
		for _, part := range h.parts {
			if _, err := w.maintainer.LoadBlob(t.Context(), object.DataBlob, w.thief.BlobID(object.DataBlob, part)); !errors.Is(err, seal.ErrNoKey) {
				t.Errorf("a chunk: %v, want ErrNoKey", err)
			}
		}
	}
	// A maintainer can make everything go, which no key but the owner's can undo after a collection.
	ids := []object.SessionID{}
	for id := range w.newest().Snapshots {
		ids = append(ids, id)
	}
	gone, err := w.maintainer.Forget(t.Context(), ids)
	if err != nil || len(gone) != len(ids) {
		t.Fatalf("%v, %v", gone, err)
	}
	back, err := w.maintainer.Unforget(t.Context(), ids)
	if err != nil || len(back) != len(ids) {
		t.Fatalf("%v, %v", back, err)
	}
	w.wantWhole("after unforget")
	if err := w.maintainer.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Error(err)
	}
	if err := w.maintainerInit(); err == nil {
		t.Error("a maintainer changed the keys")
	}
}

func (w *world) maintainerInit() error {
	_, err := w.maintainer.Commit(w.t.Context(), w.always(&log.Entry{Kind: log.KindInit, Session: sid(1)}))
	return err
}
