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
	"github.com/kura-backup/kura/repo/repair"
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
