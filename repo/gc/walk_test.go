package gc_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/tree"
)

// forest commits snapshots of the same folders, in each of which one folder is another.
func forest(t testing.TB, r *repo.Repository, snapshots, folders int) (snaps []*repo.Snapshot) {
	t.Helper()
	subtree := make([]object.BlobID, folders)
	for i := range snapshots {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		var nodes []tree.Node
		for k := range folders {
			if i == 0 || k == i%folders {
				data := testrepo.Save(t, s, object.DataBlob, fmt.Appendf(nil, "file %d of %d", k, i))[0]
				file := tree.Node{Name: "f", Type: tree.File, Size: 1}
				file.Content.Append(tree.Extent{Kind: tree.Data, ID: data, Length: 1})
				below := testrepo.Save(t, s, object.TreeBlob, page(t, file))[0] // one folder deeper
				subtree[k] = testrepo.Save(t, s, object.TreeBlob, page(t, tree.Node{Name: "d", Type: tree.Folder, Subtree: below}))[0]
			}
			nodes = append(nodes, tree.Node{Name: fmt.Sprintf("%04d", k), Type: tree.Folder, Subtree: subtree[k]})
		}
		root := testrepo.Save(t, s, object.TreeBlob, page(t, nodes...))[0]
		snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Paths: [][]byte{[]byte("/")}, Root: root[:]}})
		if err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, snap)
	}
	return snaps
}

// TestRun_ManySnapshotsShareFolders_PacksAreReadNotPages has 60 snapshots of 200 folders: that is 24,060 pages by
// snapshot, 578 different ones, and 60 packs that they are in.
func TestRun_ManySnapshotsShareFolders_PacksAreReadNotPages(t *testing.T) {
	r, inner := testrepo.New(t)
	snapshots, folders := 60, 200
	if testing.Short() {
		snapshots, folders = 20, 60
	}
	snaps := forest(t, r, snapshots, folders)
	forget(t, r, snaps[3], snaps[14])
	packs := len(testrepo.Names(t, inner, object.TreePrefix))
	fewest := math.MaxInt
	for range 10 {
		store := fault.New(inner)
		gone := run(t, testrepo.Open(t, store), gc.Options{DryRun: true}).Gone
		reads := store.Count(fault.Get, object.TreePrefix)
		t.Logf("%d reads of %d packs of folders", reads, packs)
		if len(gone) != 2 {
			t.Errorf("gone: %v", gone)
		}
		// A page is read again if it is met when its pack is at another walker. That depends on how busy the machine is:
		// mostly a few are, sometimes dozens.
		if fewest = min(fewest, reads); fewest < 3*packs {
			break
		}
	}
	if fewest >= 3*packs {
		t.Errorf("at least %d reads of %d packs", fewest, packs)
	}
	prune(t, testrepo.Open(t, inner))
	clean(t, testrepo.Open(t, inner))
	fresh := testrepo.Open(t, inner)
	for i, s := range snaps {
		if i == 3 || i == 14 {
			continue
		}
		if _, err := fresh.Find(t.Context(), s, fmt.Sprintf("/%04d/d/f", folders-1)); err != nil {
			t.Error(err)
		}
	}
}

// TestRun_FarStore_ReadsManyPacksAtOnce lets no pack of folders be read until four are asked for.
func TestRun_FarStore_ReadsManyPacksAtOnce(t *testing.T) {
	r, inner := testrepo.New(t)
	forest(t, r, 12, 4)
	store := fault.New(inner)
	client := testrepo.Open(t, store)
	var mu sync.Mutex
	asked, four := 0, make(chan struct{})
	store.Inject(fault.On(fault.Get).Prefix(object.TreePrefix).Always().Hook(func(context.Context, fault.Call) error {
		mu.Lock()
		if asked++; asked == 4 {
			close(four)
		}
		mu.Unlock()
		select {
		case <-four:
		case <-time.After(time.Minute): // only when the test fails
			t.Error("packs are read one after the other")
		}
		return nil
	}))
	prune(t, client)
}
