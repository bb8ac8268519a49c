package backup

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// live returns the ids of the live snapshots.
func live(r *repo.Repository) (complete, partial []object.SessionID) {
	for id, s := range r.State().Snapshots {
		switch {
		case !s.Live():
		case s.Partial:
			partial = append(partial, id)
		default:
			complete = append(complete, id)
		}
	}
	return complete, partial
}

// partialAfter returns hooks that ask for a partial snapshot when so many files were read, and again after as
// many more. It is made when the tasks that run are over, and before any other begins. then is called for every file
// that is read after the first one was committed.
func partialAfter(ctx context.Context, r *repo.Repository, n int64, then func()) hooks {
	ask := make(chan struct{})
	var gate *sync.RWMutex
	var files, asked atomic.Int64
	return hooks{partial: ask, walk: func(w *walk) { gate = &w.gate }, read: func(string) {
		k := files.Add(1)
		if made := partials(r); k%n == 0 && asked.CompareAndSwap(made, made+1) {
			select {
			case ask <- struct{}{}:
			case <-ctx.Done():
			case <-time.After(time.Minute): // only when the test fails
			}
		}
		// All wait until it waits for the tasks: otherwise they may be through with the files before it has its turn.
		for ctx.Err() == nil && partials(r) < asked.Load() && gate.TryRLock() {
			gate.RUnlock()
			time.Sleep(100 * time.Microsecond)
		}
		if _, partial := live(r); k >= n && len(partial) > 0 {
			then()
		}
	}}
}

// partials is how many partial snapshots were made.
func partials(r *repo.Repository) (n int64) {
	for _, s := range r.State().Snapshots {
		if s.Partial {
			n++
		}
	}
	return n
}

func TestRun_PartialSnapshots_AreSupersededByTheLast(t *testing.T) {
	large := sized(6<<20, 3<<20)
	for _, workers := range []int{4, 1}[:sized(2, 1)] {
		r, _ := newRepo(t)
		root := memoryDir(t)
		makeTree(t, root, manyFiles(1000))
		makeTree(t, root, map[string]string{"d10/large": string(testrepo.Random(3, large)), "d00/xl": string(testrepo.Random(4, large))})
		var seen sync.Map
		h := partialAfter(t.Context(), r, 200, func() {
			_, partial := live(r)
			if len(partial) > 1 {
				t.Errorf("%d partial snapshots at once", len(partial))
			}
			for _, id := range partial {
				seen.Store(id, true)
			}
		})
		o := Options{Paths: []string{root}, Host: "h", ReadConcurrency: workers}
		res, rec, err := runWith(t.Context(), r, o, h)
		must(t, err)
		count := 0
		seen.Range(func(any, any) bool { count++; return true })
		if count < 2 || len(rec.errors) > 0 {
			t.Fatalf("%d partial snapshots seen, errors %v", count, rec.errors)
		}
		complete, partial := live(r)
		if len(complete) != 1 || complete[0] != res.Snapshot.ID || len(partial) != 0 {
			t.Errorf("live: %v, partial %v", complete, partial)
		}
		wantTree(t, r, res.Snapshot, root)
		if s := res.Summary; s.Files != 1002 || s.FilesNew != 1002 || s.BytesAdded < uint64(2*large) {
			t.Errorf("%+v", s)
		}
		wantTree(t, testrepo.Open(t, r.Store()), res.Snapshot, root)
	}
}

func TestRun_PartialsAllTheTime_TreeIsComplete(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(200))
	makeTree(t, root, map[string]string{"d10/large": string(testrepo.Random(3, 3<<20))})
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h", PartialEvery: 3 * time.Millisecond}
	for range 2 { // new, and then as the parent
		res := mustRun(t, r, o)
		wantTree(t, r, res.Snapshot, root)
		if _, partial := live(r); len(partial) != 0 {
			t.Errorf("left: %v", partial)
		}
	}
}

// failBehindPartial makes a store fail at the reading of the index behind the first partial snapshot, or at storing anything for the second.
func failBehindPartial(r *repo.Repository, store *fault.Store, op fault.Op) error {
	gone := &backends.Error{Op: "get", Kind: backends.Permanent, Err: errors.New("the disk is gone")}
	prefix := object.IndexPrefix
	if op == fault.Put {
		prefix = object.LogPrefix
	}
	store.Inject(fault.On(op).Prefix(prefix).Always().Hook(func(context.Context, fault.Call) error {
		if partials(r) > 0 {
			return gone
		}
		return nil
	}))
	return gone
}

// When the store fails behind a partial snapshot, the workers find out that there is no session; the user has to hear what happened.
func TestRun_StoreFailsBehindAPartialSnapshot_SaysSo(t *testing.T) {
	root := memoryDir(t)
	makeTree(t, root, manyFiles(sized(400, 200)))
	for _, op := range []fault.Op{fault.Get, fault.Put} {
		for range sized(10, 3) {
			r, store := newRepo(t)
			h := partialAfter(t.Context(), r, 100, func() {})
			gone := failBehindPartial(r, store, op)
			o := Options{Paths: []string{root}, Host: "h", ReadConcurrency: 4}
			if _, _, err := runWith(t.Context(), r, o, h); !errors.Is(err, gone) {
				t.Fatalf("%v: %v", op, err)
			}
		}
	}
}

// Who makes partial snapshots may come last with what the store said. Here the only worker makes them, between two files, and goes on: its own error
// ends the run.
func TestAttempt_WorkerIsFirstToFindNoSession_SaysWhatTheStoreSaid(t *testing.T) {
	root := memoryDir(t)
	makeTree(t, root, manyFiles(200))
	for _, op := range []fault.Op{fault.Get, fault.Put} {
		r, store := newRepo(t)
		gone := failBehindPartial(r, store, op)
		o := Options{Paths: []string{root}, Host: "h", ReadConcurrency: 1, Time: time.Now()}
		sel, err := newSelection(&o)
		must(t, err)
		a := &attempt{repo: r, opts: &o, events: new(recorder).events(), selection: sel, paths: o.Paths, start: o.Time}
		var w *walk
		var files int
		var failed error
		a.hooks = hooks{walk: func(walk *walk) { w = walk }, read: func(string) {
			if files++; files%50 != 0 || failed != nil {
				return
			}
			w.gate.RUnlock() // as a worker does who reads something large
			failed = a.partial(t.Context(), t.Context(), w)
			w.gate.RLock()
		}}
		_, err = a.once(t.Context(), a.files)
		if !errors.Is(failed, gone) || partials(r) != 1 {
			t.Fatalf("%v: %v, and %d partial snapshots: the test shows nothing", op, failed, partials(r))
		}
		if !errors.Is(err, gone) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

// cutOff ends a run after its first partial snapshot, and returns that.
func cutOff(t *testing.T, r *repo.Repository, o Options, after int64) *repo.Snapshot {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.ReadConcurrency = 1
	if _, _, err := runWith(ctx, r, o, partialAfter(ctx, r, after, cancel)); !errors.Is(err, context.Canceled) {
		t.Fatalf("the run was not cut off: %v", err)
	}
	_, partial := live(r)
	if len(partial) != 1 {
		t.Fatalf("partial snapshots %v", partial)
	}
	s, err := r.OpenSnapshot(r.State().Snapshots[partial[0]])
	must(t, err)
	return s
}

func TestRun_CutOffAfterAPartial_GoesOnFromThere(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	files := manyFiles(1000)
	makeTree(t, root, files)
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	partial := cutOff(t, r, o, 300)

	got := readBack(t, r, partial)
	done := 0
	for name, data := range files {
		if e, ok := got[filepath.Join(root, name)]; ok {
			done++
			if string(e.data) != data {
				t.Errorf("%s: %q", name, e.data)
			}
		}
	}
	if done < 200 || done == len(files) || partial.Complete() {
		t.Fatalf("%d files in the partial snapshot, complete %v", done, partial.Complete())
	}
	res := mustRun(t, testrepo.Open(t, r.Store()), o)
	if res.Parent == nil || res.Parent.ID != partial.ID {
		t.Errorf("parent %v", res.Parent)
	}
	if s := res.Summary; s.FilesUnmodified != uint64(done) || s.FilesNew != uint64(len(files)-done) {
		t.Errorf("%d files were done: %+v", done, s)
	}
	must(t, r.Refresh(t.Context()))
	wantTree(t, r, res.Snapshot, root)
}

func TestRun_PartialBehindAComplete_BothAreUsed(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(1000))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	changed := map[string]string{}
	for name, data := range manyFiles(1000) {
		if len(changed) < 600 {
			changed[name] = data + ", changed"
		}
	}
	makeTree(t, root, changed)
	settleTimes()
	cutOff(t, r, o, 200)
	res := mustRun(t, r, o)
	wantTree(t, r, res.Snapshot, root)
	// 400 did not change; of the others at least the 200 that were read before the partial are known.
	if s := res.Summary; s.FilesUnmodified < 400+150 || s.FilesNew != 0 || s.FilesUnmodified+s.FilesChanged != 1000 {
		t.Errorf("%+v", s)
	}
}
