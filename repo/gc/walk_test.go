package gc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
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
	snaps := forest(t, r, 60, 200)
	forget(t, r, snaps[3], snaps[40])
	packs := len(testrepo.Names(t, inner, object.TreePrefix))
	store := fault.New(inner)
	client := testrepo.Open(t, store)
	run := prune(t, client)
	reads := store.Count(fault.Get, object.TreePrefix)
	t.Logf("%d reads of %d packs of folders, %d packs of both kinds were repacked", reads, packs, run.PacksRepacked)
	// Once for marking, and once, as a whole, for those that are merged; and now and then again, if a page is met when
	// its pack is at another walker. That depends on how busy the machine is: mostly a few, sometimes dozens.
	if reads > 5*packs {
		t.Errorf("%d reads of %d packs", reads, packs)
	}
	clean(t, testrepo.Open(t, inner))
	fresh := testrepo.Open(t, inner)
	for i, s := range snaps {
		if i == 3 || i == 40 {
			continue
		}
		if _, err := fresh.Find(t.Context(), s, "/0199/d/f"); err != nil {
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
