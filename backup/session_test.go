package backup

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
)

// collect forgets snapshots and collects what only they needed, as another client.
func collect(t *testing.T, store backends.Store, ids ...object.SessionID) {
	t.Helper()
	other := testrepo.Open(t, store)
	if _, err := other.Forget(t.Context(), ids); err != nil {
		t.Error(err)
	}
	if _, err := gc.Run(t.Context(), other, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
		t.Error(err)
	}
}

func TestRun_ParentCollectedMeanwhile_IsRepeatedWithout(t *testing.T) {
	for name, given := range map[string]bool{"found parent": false, "given parent": true} {
		r, store := newRepo(t)
		root := memoryDir(t)
		makeTree(t, root, manyFiles(300))
		makeTree(t, root, map[string]string{"large": string(testrepo.Random(1, 3<<20))})
		settleTimes()
		o := Options{Paths: []string{root}, Host: "h", ReadConcurrency: 1}
		first := mustRun(t, r, o)
		makeTree(t, root, map[string]string{"z/last": "new"}) // read when all the others are relied on
		if given {
			o.Parent = first.Snapshot
		}
		var once sync.Once
		res, rec, err := runWith(t.Context(), r, o, hooks{read: func(string) {
			once.Do(func() { collect(t, store, first.Snapshot.ID) })
		}})
		must(t, err)
		if len(rec.errors) != 0 || res.Parent != nil || res.Summary.FilesNew != 302 || res.Summary.BytesAdded < 3<<20 {
			t.Errorf("%s: errors %v, parent %v, %+v", name, rec.errors, res.Parent, res.Summary)
		}
		fresh := testrepo.Open(t, store)
		wantTree(t, fresh, res.Snapshot, root)
		if p := rec.items[filepath.Join(root, "z/last")+" (twice)"]; p.Action != New {
			t.Errorf("%s: it was not repeated", name)
		}
	}
}

// TestRun_ParentCollectedBeforeItIsRead_IsNoDamage: the pages of the parent can not be loaded then.
func TestRun_ParentCollectedBeforeItIsRead_IsNoDamage(t *testing.T) {
	_, store := newRepo(t)
	r := testrepo.Open(t, store)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(300))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h", ReadConcurrency: 1}
	first := mustRun(t, testrepo.Open(t, store), o)
	must(t, r.Refresh(t.Context()))
	var once sync.Once
	collected := false
	res, rec, err := runWith(t.Context(), r, o, hooks{listed: func(path string) {
		if path == root {
			once.Do(func() {
				collect(t, store, first.Snapshot.ID)
				collected = true
			})
		}
	}})
	must(t, err)
	if !collected {
		t.Fatal("nothing was collected: that shows nothing")
	}
	if len(rec.errors) != 0 || res.Summary.FilesNew != 300 {
		t.Errorf("%v, %+v", rec.errors, res.Summary)
	}
	wantTree(t, testrepo.Open(t, store), res.Snapshot, root)
}

func TestRun_StoreFails_NothingIsCommitted(t *testing.T) {
	lost := errors.New("lost")
	for name, rule := range map[string]fault.Rule{
		"any put":      fault.On(fault.Put),
		"data":         fault.On(fault.Put).Prefix(object.DataPrefix),
		"a later pack": fault.On(fault.Put).Prefix(object.DataPrefix).Nth(2),
		"trees":        fault.On(fault.Put).Prefix(object.TreePrefix),
		"index":        fault.On(fault.Put).Prefix(object.IndexPrefix),
		"log":          fault.On(fault.Put).Prefix(object.LogPrefix),
	} {
		r, store := newRepo(t)
		root := memoryDir(t)
		size := 400_000
		o := Options{Paths: []string{root}, Host: "h"}
		if name == "a later pack" {
			size, o.Packing.Size = 11<<20, 5<<20 // two are filled at a time
		}
		makeTree(t, root, manyFiles(100))
		makeTree(t, root, map[string]string{"large": string(testrepo.Random(1, size))})
		store.Inject(rule.Always().Before(lost))
		res, _, err := runWith(t.Context(), r, o, hooks{})
		if !errors.Is(err, lost) || res != nil {
			t.Errorf("%s: %v", name, err)
		}
		store.Clear()
		must(t, r.Refresh(t.Context()))
		if len(r.State().Snapshots) != 0 {
			t.Errorf("%s: there is a snapshot", name)
		}
		if name == "index" {
			again := mustRun(t, r, Options{Paths: []string{root}, Host: "h"})
			wantTree(t, r, again.Snapshot, root)
		}
	}
}

func TestRun_Cancelled_EndsWithoutASnapshot(t *testing.T) {
	r, store := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(500))
	makeTree(t, root, map[string]string{"large": string(testrepo.Random(1, 5<<20))})
	var opened atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := runWith(ctx, r, Options{Paths: []string{root}, Scan: true, ReadConcurrency: 4}, hooks{opened: func(string) error {
		if opened.Add(1) == 100 {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := opened.Load(); n > 100+4*batchSize { // what the workers had in hand
		t.Errorf("%d files were read nevertheless", n)
	}
	if store.Count(fault.Put, object.LogPrefix) != 0 {
		t.Error("there is a log entry")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(cancelled, r, Options{Paths: []string{root}}, Events{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestRun_DryRun_WritesNothing(t *testing.T) {
	r, store := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(300))
	makeTree(t, root, map[string]string{"large": string(testrepo.Random(1, 5<<20))})
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h", DryRun: true, PartialEvery: 1}
	store.Reset()
	res := mustRun(t, r, o)
	if n := store.Count(fault.Put, "") + store.Count(fault.Delete, ""); n != 0 || res.Snapshot != nil || len(r.State().Snapshots) != 0 {
		t.Errorf("%d writes, snapshot %v", n, res.Snapshot)
	}
	if s := res.Summary; s.Files != 301 || s.FilesNew != 301 || s.BytesAdded < 5<<20 || s.BytesStored < 5<<20 {
		t.Errorf("%+v", s)
	}
	o.DryRun = false
	first := mustRun(t, r, o)
	o.DryRun = true
	res = mustRun(t, r, o)
	if s := res.Summary; res.Parent.ID != first.Snapshot.ID || s.FilesUnmodified != 301 || s.BytesAdded != 0 {
		t.Errorf("%+v", s)
	}
}

// TestRun_WritersKey_BacksUpWithoutParent: a writer's key can not read what it wrote, and so knows no parent.
func TestRun_WritersKey_BacksUpWithoutParent(t *testing.T) {
	r, store := newRepo(t)
	credential := seal.KeyFile([32]byte{9})
	_, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Writer, Credential: credential})
	must(t, err)
	w, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	must(t, err)
	defer w.Close()
	root := memoryDir(t)
	makeTree(t, root, manyFiles(300))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, w, o)
	store.Reset()
	second := mustRun(t, w, o)
	if second.Parent != nil || second.Summary.FilesNew != 300 || second.Summary.BytesAdded != 0 {
		t.Errorf("parent %v, %+v", second.Parent, second.Summary)
	}
	for _, name := range puts(store) {
		if strings.HasPrefix(name, object.DataPrefix) || strings.HasPrefix(name, object.TreePrefix) {
			t.Errorf("put %s, and nothing had changed", name)
		}
	}
	must(t, r.Refresh(t.Context()))
	wantTree(t, r, second.Snapshot, root)
}

func TestRun_DamagedParent_CostsOnlyTime(t *testing.T) {
	r, store := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(300))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	for _, name := range testrepo.Names(t, store, object.TreePrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store) // has nothing in memory
	res, rec, err := runWith(t.Context(), fresh, o, hooks{})
	must(t, err)
	damage := (*repo.DamageError)(nil)
	for path, err := range rec.errors {
		if !errors.As(err, &damage) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if damage == nil || res.Summary.Errors != 0 || res.Summary.FilesNew != 300 {
		t.Errorf("errors %v, %+v", rec.errors, res.Summary)
	}
}
