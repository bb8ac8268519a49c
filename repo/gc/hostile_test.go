package gc_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/tree"
)

// newPacks returns the data packs of a snapshot's own session, with their directories.
func newPacks(t testing.TB, r *repo.Repository, snap *repo.Snapshot) (refs []log.PackRef, dirs []*pack.Directory) {
	t.Helper()
	for ref, p := range r.State().Packs {
		if ref.Class != object.DataPack || ref.Session != snap.ID {
			continue
		}
		dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		refs, dirs = append(refs, log.PackRef{Ref: ref, Size: p.Size}), append(dirs, dir)
	}
	return refs, dirs
}

// forge commits what a stolen writer's key can: a snapshot, with the manifest of another, that adds the
// given packs and whose index segment says what the thief likes. Its session id is lower than any other.
func forge(t testing.TB, r *repo.Repository, like *repo.Snapshot, add []log.PackRef, seg *index.Segment) {
	t.Helper()
	var sid object.SessionID
	var refs []log.PackRef
	if seg != nil {
		var err error
		if refs, err = r.PutIndex(t.Context(), sid, seg); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindSnapshot, Session: sid, Manifest: like.Entry.Manifest, Add: add, Index: refs}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRun_ForgedBlobsAtTheOffsetsOfAPack_KeepsTheTrueOnes has a thief list somebody's pack with other
// blobs than it holds. Merging the two listings must not lose the true one.
func TestRun_ForgedBlobsAtTheOffsetsOfAPack_KeepsTheTrueOnes(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 300<<10)
	victim := testrepo.CommitFile(t, r, a, []byte("small"))
	var seg index.Segment
	refs, dirs := newPacks(t, r, victim)
	for i, dir := range dirs {
		for j := range dir.Segments {
			dir.Segments[j].IDs = slices.Clone(dir.Segments[j].IDs)
			for k := range dir.Segments[j].IDs {
				dir.Segments[j].IDs[k] = object.BlobID{byte(i), byte(j), byte(k), 1}
			}
		}
		if err := seg.AddPack(refs[i].Ref, refs[i].Size, dir); err != nil {
			t.Fatal(err)
		}
	}
	forge(t, r, victim, nil, &seg)
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(2, 300<<10))) // makes index segments to be replaced
	prune(t, r)
	prune(t, r)
	wantFile(t, testrepo.Open(t, store), victim, a, []byte("small"))
}

// TestRun_ForgedCopyInAnOlderPack_KeepsTheTruePack has a thief claim that somebody's blob is also in a
// pack that is older than the one that holds it.
func TestRun_ForgedCopyInAnOlderPack_KeepsTheTruePack(t *testing.T) {
	r, store := testrepo.New(t)
	old := testrepo.Random(1, 300<<10)
	first := testrepo.CommitFile(t, r, old)
	a := testrepo.Random(2, 300<<10)
	victim := testrepo.CommitFile(t, r, a)
	refs, dirs := newPacks(t, r, first)
	dirs[0].Segments[0].IDs = []object.BlobID{r.BlobID(object.DataBlob, a)}
	var seg index.Segment
	if err := seg.AddPack(refs[0].Ref, refs[0].Size, dirs[0]); err != nil {
		t.Fatal(err)
	}
	forge(t, r, first, nil, &seg)
	prune(t, r)
	prune(t, r)
	fresh := testrepo.Open(t, store)
	wantFile(t, fresh, first, old)
	wantFile(t, fresh, victim, a)
}

// TestRun_LivePackThatNoIndexLists_StaysAndDoesNotStopTheRun has a thief add a pack without listing it.
func TestRun_LivePackThatNoIndexLists_StaysAndDoesNotStopTheRun(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 300<<10)
	kept := testrepo.CommitFile(t, r, a)
	ref := object.Ref{Class: object.DataPack, Session: object.SessionID{}, Hash: object.Sum([]byte("x"))}
	if err := store.Put(t.Context(), ref.Name(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	forge(t, r, kept, []log.PackRef{{Ref: ref, Size: 1}}, nil)
	dead := testrepo.CommitFile(t, r, testrepo.Random(2, 300<<10))
	forget(t, r, dead)
	if res := prune(t, r); len(res.Gone) != 1 || res.PacksDropped == 0 {
		t.Errorf("nothing was collected: %+v", res)
	}
	if !r.State().Live(ref) {
		t.Error("a pack of which nobody knows what is in it was dropped")
	}
	wantFile(t, testrepo.Open(t, store), kept, a)
}

// nested has a snapshot whose page for a folder is in the pack of another one, which is forgotten, as is a third.
func nested(t testing.TB, r *repo.Repository) (top *repo.Snapshot, pagePack string) {
	t.Helper()
	below := testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10))
	pagePack = testrepo.Names(t, r.Store(), object.TreePrefix)[0]
	other := testrepo.CommitFile(t, r, testrepo.Random(2, 300<<10))
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root := testrepo.Save(t, s, object.TreeBlob, page(
		t,
		tree.Node{Name: "x", Type: tree.Folder, Subtree: object.BlobID(below.Root)},
		tree.Node{Name: "y", Type: tree.Folder, Subtree: object.BlobID(other.Root)},
	))[0]
	top, err = s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Paths: [][]byte{[]byte("/")}, Root: root[:]}})
	if err != nil {
		t.Fatal(err)
	}
	forget(t, r, below, other)
	return top, pagePack
}

// wantNested reads the files of a snapshot that nested has made.
func wantNested(t testing.TB, store backends.Store, top *repo.Snapshot) {
	t.Helper()
	fresh := testrepo.Open(t, store)
	for seed, path := range map[uint64]string{1: "/x/f", 2: "/y/f"} {
		node, err := fresh.Find(t.Context(), top, path)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for e := range node.Content.Extents() {
			b, err := fresh.LoadBlob(t.Context(), object.DataBlob, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
		}
		if !bytes.Equal(got, testrepo.Random(seed, 300<<10)) {
			t.Errorf("%s: other bytes came back", path)
		}
	}
}

// TestRun_PageUnreadableWhileAnotherCommits_KeepsWhatIsBelow lets a page be unreadable, in any way, in the middle of marking, until the
// collector finds that the log has moved: it tries again, and must not take what it had begun for done.
func TestRun_PageUnreadableWhileAnotherCommits_KeepsWhatIsBelow(t *testing.T) {
	r, store := testrepo.New(t)
	top, pagePack := nested(t, r)
	flaky := fault.New(store)
	collector := testrepo.Open(t, flaky)
	var meanwhile sync.Once
	var failed, mended atomic.Bool
	flaky.Inject(
		fault.On(fault.Get).Prefix(pagePack).Always().Hook(func(context.Context, fault.Call) error {
			if mended.Load() {
				return nil
			}
			meanwhile.Do(func() { testrepo.CommitFile(t, r, []byte("meanwhile")) })
			failed.Store(true)
			return backends.ErrRange
		}),
		fault.On(fault.Get, fault.List).Prefix(object.LogPrefix).Always().Hook(func(context.Context, fault.Call) error {
			mended.Store(failed.Load())
			return nil
		}),
	)
	prune(t, collector)
	if !failed.Load() || !mended.Load() {
		t.Fatal("nothing failed, or nobody looked at the log then: the test showed nothing")
	}
	wantNested(t, store, top)
}

// TestRun_HeldSnapshotWithALostPage_BroughtBackMeanwhile_IsKeptWhole loses a page of a snapshot that was forgotten and is held: a run passes over
// it. Before its entry the page is back, and so is the snapshot.
func TestRun_HeldSnapshotWithALostPage_BroughtBackMeanwhile_IsKeptWhole(t *testing.T) {
	now := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	store := mem.NewWithClock(now)
	r := testrepo.Init(t, store)
	top, pagePack := nested(t, r)
	now.Advance(2 * time.Hour)
	forget(t, r, top)
	obj, err := store.Get(t.Context(), pagePack, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Tamper(pagePack, nil)
	hold := gc.Options{Hold: time.Hour}
	if res := run(t, testrepo.Open(t, store.Clone()), hold); len(res.Gone) != 2 || res.Held != 1 || res.PacksDropped < 2 {
		t.Errorf("what is lost is in the way: %+v", res)
	}

	watched := fault.New(store)
	collector := testrepo.Open(t, watched)
	watched.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Hook(func(context.Context, fault.Call) error {
		store.Tamper(pagePack, obj)
		done, err := r.Unforget(t.Context(), []object.SessionID{top.ID})
		if err != nil || len(done) != 1 {
			t.Errorf("%v, %v", done, err)
		}
		return nil
	}))
	if res := run(t, collector, hold); watched.Fired() != 1 || len(res.Gone) != 2 || res.Held != 0 {
		t.Errorf("%d, %+v", watched.Fired(), res)
	}
	wantNested(t, store, top)
}

func page(t testing.TB, nodes ...tree.Node) []byte {
	t.Helper()
	b, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRun_CheckpointNamesTakenByAThief_KeepsOneThatOpens has a thief take the names of future checkpoints.
func TestRun_CheckpointNamesTakenByAThief_KeepsOneThatOpens(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, []byte("x"))
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := object.CheckpointName(r.State().N)
	for _, n := range []uint64{r.State().N + 1, r.State().N + 2, 1 << 40} {
		if err := store.Put(t.Context(), object.CheckpointName(n), []byte("no checkpoint")); err != nil {
			t.Fatal(err)
		}
	}
	testrepo.CommitFile(t, r, []byte("y"))
	testrepo.CommitFile(t, r, []byte("z"))
	if _, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	names := testrepo.Names(t, store, object.CheckpointsPrefix)
	if !slices.Contains(names, good) || len(names) > 2 {
		t.Errorf("checkpoints: %q, want %s and perhaps a newer one", names, good)
	}
	for _, name := range names {
		if ok, err := r.Log().UsableCheckpoint(t.Context(), name); !ok || err != nil {
			t.Errorf("%s is of no use: %v", name, err)
		}
	}
}

// lists returns the index segments that a snapshot's session made.
func lists(st *log.State, snap *repo.Snapshot) []object.Ref {
	return slices.DeleteFunc(slices.Collect(maps.Keys(st.Index)), func(ref object.Ref) bool { return ref.Session != snap.ID })
}

// TestRun_ListingOfALivePackLost_KeepsThePack replaces an index segment by one that lacks a pack. The
// collector's cache has still a number for that pack, and no blob in it.
func TestRun_ListingOfALivePackLost_KeepsThePack(t *testing.T) {
	r, store := testrepo.New(t)
	a := testrepo.Random(1, 300<<10)
	snap := testrepo.CommitFile(t, r, a)
	var many [][]byte // so that the cache is not rewritten for the few that go
	for i := range 100 {
		many = append(many, testrepo.Random(uint64(100+i), 100))
	}
	testrepo.CommitFile(t, r, many...)
	collector := testrepo.Open(t, store)
	if _, err := collector.Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	var seg index.Segment
	for ref, p := range r.State().Packs {
		dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		if ref.Class == object.TreePack && ref.Session == snap.ID {
			if err := seg.AddPack(ref, p.Size, dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	refs, err := r.PutIndex(t.Context(), object.SessionID{}, &seg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), func(_ context.Context, st *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindCollect, Index: refs, Replace: lists(st, snap)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	prune(t, collector)
	data, _ := newPacks(t, collector, snap)
	if len(data) == 0 {
		t.Error("a pack of which nobody knows what is in it was dropped")
	}
}

// TestRun_NeededBlobInNoList_KeepsItsPack has a list of a pack that leaves out one of its blobs. The snapshot
// that needs the others is forgotten, the one that needs this blob is not.
func TestRun_NeededBlobInNoList_KeepsItsPack(t *testing.T) {
	r, store := testrepo.New(t)
	a, b := []byte("small a"), []byte("small b")
	old := testrepo.CommitFile(t, r, a, b)
	snap := testrepo.CommitFile(t, r, b)
	lost := r.BlobID(object.DataBlob, b)
	var seg index.Segment
	for ref, p := range r.State().Packs {
		if ref.Session != old.ID {
			continue
		}
		dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := seg.AddPack(ref, p.Size, dir); err != nil {
			t.Fatal(err)
		}
	}
	seg.Blobs = slices.DeleteFunc(seg.Blobs, func(b index.Blob) bool { return b.ID == lost })
	refs, err := r.PutIndex(t.Context(), object.SessionID{}, &seg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), func(_ context.Context, st *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindCollect, Index: refs, Replace: lists(st, old)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	forget(t, r, old)
	prune(t, r)
	prune(t, r)
	if _, err := repair.Index(t.Context(), r, repair.IndexOptions{AllPacks: true}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	wantFile(t, testrepo.Open(t, store), snap, b)
}
