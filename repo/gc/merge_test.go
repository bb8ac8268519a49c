package gc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
)

// manySnapshots makes so many backups, each with something new.
func manySnapshots(t testing.TB, r *repo.Repository, n int) (snaps []*repo.Snapshot) {
	t.Helper()
	for i := range n {
		snaps = append(snaps, testrepo.CommitFile(t, r, fmt.Appendf(nil, "new %d %d", i, len(r.State().Packs))))
	}
	return snaps
}

// segmented returns a repository after 64 backups, each of which has left an index segment.
func segmented(t testing.TB) (*repo.Repository, *mem.Store, []*repo.Snapshot) {
	t.Helper()
	made.Do(func() {
		r, store := testrepo.New(t)
		madeSnaps, madeStore = manySnapshots(t, r, 64), store.Clone()
	})
	store := madeStore.Clone()
	return testrepo.Open(t, store), store, madeSnaps
}

var (
	made      sync.Once
	madeStore *mem.Store
	madeSnaps []*repo.Snapshot
)

func clean(t testing.TB, r *repo.Repository) {
	t.Helper()
	rep, err := check.Run(t.Context(), r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		t.Errorf("check: %v", p)
	}
}

func mergeIndex(t testing.TB, r *repo.Repository) int {
	t.Helper()
	n, err := gc.MergeIndex(t.Context(), r, "host")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMergeIndex_ManySmallSegments_BecomeOne(t *testing.T) {
	r, store, _ := segmented(t)
	entry := r.State().N
	if n := mergeIndex(t, r); n != 64 || len(r.State().Index) != 1 || r.State().N != entry+1 {
		t.Errorf("merged %d, %d are left", n, len(r.State().Index))
	}
	if n := mergeIndex(t, r); n != 0 {
		t.Errorf("merged %d when there was one", n)
	}
	if names := testrepo.Names(t, store, object.IndexPrefix); len(names) != 1 {
		t.Errorf("left: %q", names)
	}
	if names := testrepo.Names(t, store, object.SessionsPrefix); len(names) != 64 { // those of the backups
		t.Errorf("%d signs of life are left", len(names))
	}
	clean(t, testrepo.Open(t, store))
}

func TestMergeIndex_FewSegments_DoesNothing(t *testing.T) {
	r, _ := testrepo.New(t)
	manySnapshots(t, r, 3)
	entry := r.State().N
	if n := mergeIndex(t, r); n != 0 || r.State().N != entry {
		t.Errorf("merged %d", n)
	}
}

func TestMergeIndex_WritersKey_DoesNothing(t *testing.T) {
	r, store, _ := segmented(t)
	credential := seal.KeyFile([32]byte{7})
	if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Writer, Credential: credential}); err != nil {
		t.Fatal(err)
	}
	writer, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	before := len(testrepo.Names(t, store, ""))
	if n := mergeIndex(t, writer); n != 0 || len(testrepo.Names(t, store, "")) != before {
		t.Errorf("merged %d", n)
	}
}

// TestMergeIndex_OthersCommitMeanwhile_NothingIsLost has a backup, a collection or another merging come first.
func TestMergeIndex_OthersCommitMeanwhile_NothingIsLost(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, r *repo.Repository, snaps []*repo.Snapshot)
	}{
		{"backup", func(t *testing.T, r *repo.Repository, _ []*repo.Snapshot) { manySnapshots(t, r, 1) }},
		{"prune", func(t *testing.T, r *repo.Repository, snaps []*repo.Snapshot) {
			forget(t, r, snaps[:10]...)
			prune(t, r)
		}},
		{"merging", func(t *testing.T, r *repo.Repository, _ []*repo.Snapshot) { mergeIndex(t, r) }},
		{"revoking", func(t *testing.T, r *repo.Repository, _ []*repo.Snapshot) {
			run(t, r, gc.Options{Idle: time.Nanosecond})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "backup" || c.name == "revoking" {
				notShort(t) // they come in the same goroutine
			}
			r, inner, snaps := segmented(t)
			store := fault.New(inner)
			client := testrepo.Open(t, store)
			store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Hook(func(context.Context, fault.Call) error {
				c.do(t, r, snaps)
				return nil
			}))
			_, err := gc.MergeIndex(t.Context(), client, "host")
			if err != nil && c.name != "revoking" {
				t.Fatal(err)
			}
			if store.Fired() != 1 {
				t.Fatal("nobody came first: that shows nothing")
			}
			clean(t, testrepo.Open(t, inner))
			run(t, r, gc.Options{Idle: time.Nanosecond})
			noGarbage(t, r, inner)
			clean(t, testrepo.Open(t, inner))
		})
	}
}
