package repair_test

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/tree"
)

// refusing returns the store with an error for everything that is read below the prefix.
func refusing(inner backends.Store, prefix string, err error) backends.Store {
	store := fault.New(inner)
	store.Inject(fault.On(fault.Get).Prefix(prefix).Always().Before(&backends.Error{Op: "get", Err: err}))
	return store
}

// TestRepair_ObjectsThisUserMayNotRead_AreNotTakenForLost runs repairs as somebody who may not read some of the
// repository's files, which root has written.
func TestRepair_ObjectsThisUserMayNotRead_AreNotTakenForLost(t *testing.T) {
	r, inner := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	before := names(t, inner, object.LogPrefix)
	packs := names(t, inner, object.DataPrefix, object.TreePrefix)
	for _, name := range append(packs, names(t, inner, object.IndexPrefix)...) {
		client := testrepo.Open(t, refusing(inner, name, fs.ErrPermission))
		if ref(t, name).Class.IsPack() {
			for _, only := range [][]object.Ref{nil, {ref(t, name)}} {
				if _, err := repair.Packs(t.Context(), client, repair.PacksOptions{Packs: only}, repair.Events{}); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("repair of packs, %s: %v", name, err)
				}
			}
		}
		if _, err := repair.Index(t.Context(), client, repair.IndexOptions{AllPacks: true}, repair.Events{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("repair of the index, %s: %v", name, err)
		}
	}
	for _, name := range names(t, inner, object.TreePrefix) {
		client := testrepo.Open(t, refusing(inner, name, fs.ErrPermission))
		_, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true}, repair.Events{})
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("repair of snapshots, %s: %v", name, err)
		}
	}
	if after := names(t, inner, object.LogPrefix); !slices.Equal(after, before) {
		t.Errorf("the log was %v and is %v", before, after)
	}
	wantWhole(t, inner, snap, file())
}

// TestPacks_NothingOfMostCanBeRead_Refused has a disk that fails for every byte of every pack: a controller, or a
// cable.
func TestPacks_NothingOfMostCanBeRead_Refused(t *testing.T) {
	r, inner := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	before := names(t, inner, object.LogPrefix)
	store := fault.New(inner)
	client := testrepo.Open(t, store)
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		store.Inject(fault.On(fault.Get).Prefix(prefix).Always().Before(&backends.Error{Op: "get", Err: syscall.EIO}))
	}
	for _, dry := range []bool{true, false} {
		_, err := repair.Packs(t.Context(), client, repair.PacksOptions{DryRun: dry}, repair.Events{})
		if !errors.Is(err, repair.ErrManyMissing) {
			t.Errorf("dry run %v: %v", dry, err)
		}
	}
	obj, err := client.ReadHoles(t.Context(), names(t, inner, object.DataPrefix)[0])
	if obj != nil || err != nil {
		t.Errorf("%d bytes of a pack of which none can be read, %v", len(obj), err)
	}
	if after := names(t, inner, object.LogPrefix); !slices.Equal(after, before) {
		t.Errorf("the log was %v and is %v", before, after)
	}
	wantWhole(t, inner, snap, file())
}

// TestSnapshots_MostAreMissing_Refused has data/ or tree/, or both, on a disk that is not mounted.
func TestSnapshots_MostAreMissing_Refused(t *testing.T) {
	for _, prefixes := range [][]string{{object.DataPrefix}, {object.TreePrefix}, {object.DataPrefix, object.TreePrefix}} {
		r, inner := testrepo.New(t)
		for i := range uint64(3) {
			testrepo.CommitFile(t, r, testrepo.Random(i, 300<<10))
		}
		unmounted := inner.Clone()
		for _, name := range names(t, unmounted, prefixes...) {
			unmounted.Tamper(name, nil)
		}
		client := testrepo.Open(t, unmounted)
		before := client.State().N
		for _, dry := range []bool{true, false} {
			res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true, DryRun: dry}, repair.Events{})
			if !errors.Is(err, repair.ErrManyMissing) {
				t.Errorf("snapshots, without %v, dry run %v: %+v, %v", prefixes, dry, res, err)
			}
			if _, err := repair.Packs(t.Context(), client, repair.PacksOptions{DryRun: dry}, repair.Events{}); !errors.Is(err, repair.ErrManyMissing) {
				t.Errorf("packs, without %v, dry run %v: %v", prefixes, dry, err)
			}
		}
		if err := client.Refresh(t.Context()); err != nil || client.State().N != before {
			t.Errorf("without %v: the log had %d entries and has %d, %v", prefixes, before, client.State().N, err)
		}
	}
}

// TestSnapshots_DiskFailsForTheMoment_NothingIsLost has a disk that reads no tree, and later reads all.
func TestSnapshots_DiskFailsForTheMoment_NothingIsLost(t *testing.T) {
	r, inner := testrepo.New(t)
	var snaps []*repo.Snapshot
	for i := range uint64(3) {
		snaps = append(snaps, testrepo.CommitFile(t, r, testrepo.Random(i, 300<<10)))
	}
	all := names(t, inner, object.TreePrefix)
	for what, failing := range map[string][]string{"all": all, "one": all[1:2]} {
		store := fault.New(inner)
		client := testrepo.Open(t, store)
		for _, name := range failing {
			store.Inject(fault.On(fault.Get).Prefix(name).Always().Before(&backends.Error{Op: "get", Err: syscall.EIO}))
		}
		before := client.State().N
		for _, dry := range []bool{true, false} {
			res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true, DryRun: dry}, repair.Events{})
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s, dry run %v: %+v, %v", what, dry, res, err)
			}
		}
		if err := client.Refresh(t.Context()); err != nil || client.State().N != before {
			t.Errorf("%s: the log had %d entries and has %d, %v", what, before, client.State().N, err)
		}
	}
	for i, snap := range snaps {
		wantWhole(t, inner, snap, [][]byte{testrepo.Random(uint64(i), 300<<10)})
	}
}

// TestSnapshots_ContentPageFailsForTheMoment_TheFileStays reads all of a snapshot's tree but a page of a file's content, which is in an
// older pack.
func TestSnapshots_ContentPageFailsForTheMoment_TheFileStays(t *testing.T) {
	r, inner := testrepo.New(t)
	chunk := testrepo.Random(1, 100<<10)
	encode := func(p *tree.Page) []byte {
		t.Helper()
		page, err := tree.EncodePage(p)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	content := tree.Page{Kind: tree.ContentPage}
	content.Content.Append(tree.Extent{Kind: tree.Data, ID: r.BlobID(object.DataBlob, chunk), Length: int64(len(chunk))})
	var snap *repo.Snapshot
	var old []string // tree packs
	for i := range 2 {
		old = names(t, inner, object.TreePrefix)
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m := testrepo.Manifest(t, s, chunk)
		page, err := s.SaveNow(object.TreeBlob, encode(&content))
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			n := tree.Node{Name: "paged", Type: tree.File, Mode: 0o644, Size: int64(len(chunk)), Pages: []object.BlobID{page.ID}}
			root, err := s.SaveNow(object.TreeBlob, encode(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{n}}))
			if err != nil {
				t.Fatal(err)
			}
			m.Root = root.ID[:]
		}
		if snap, err = s.Commit(repo.CommitOptions{Manifest: m}); err != nil {
			t.Fatal(err)
		}
	}
	store := fault.New(inner)
	client := testrepo.Open(t, store)
	for _, name := range old {
		store.Inject(fault.On(fault.Get).Prefix(name).Always().Before(&backends.Error{Op: "get", Err: syscall.EIO}))
	}
	o := repair.SnapshotsOptions{Snapshots: []object.SessionID{snap.ID}, Forget: true}
	if res, err := repair.Snapshots(t.Context(), client, o, repair.Events{}); len(old) == 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("%+v, %v", res, err)
	}
	if err := client.Refresh(t.Context()); err != nil || !client.State().Snapshots[snap.ID].Live() {
		t.Errorf("it was forgotten, %v", err)
	}
}
