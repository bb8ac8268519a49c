package gc_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
)

// sparse makes a repository in which half of every data pack is needed, and returns what is.
func sparse(t testing.TB, seed uint64, snapshots int) (*repo.Repository, *mem.Store, []*repo.Snapshot, [][][]byte) {
	t.Helper()
	r, store := testrepo.New(t)
	rng := rand.New(rand.NewPCG(seed, 2))
	chunks := 40
	if testing.Short() {
		chunks = 14
	}
	var kept []*repo.Snapshot
	var files [][][]byte
	var old []*repo.Snapshot
	for i := range snapshots {
		var all, half [][]byte
		for k := range chunks {
			chunk := testrepo.Random(uint64(1000*i+k), 300<<10+rng.IntN(200<<10))
			all = append(all, chunk)
			if k%2 == 0 {
				half = append(half, chunk)
			}
		}
		old = append(old, testrepo.CommitFile(t, r, all...))
		kept = append(kept, testrepo.CommitFile(t, r, half...))
		files = append(files, half)
	}
	forget(t, r, old...)
	return r, store, kept, files
}

func wantFiles(t testing.TB, store backends.Store, snaps []*repo.Snapshot, files [][][]byte) {
	t.Helper()
	fresh := testrepo.Open(t, store)
	for i, s := range snaps {
		wantFile(t, fresh, s, files[i]...)
	}
}

// notShort leaves a test of sums, or of what one collector does after another, out of the race run: what it collects takes
// long there, and smaller tests collect alike.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("under the race detector smaller tests do")
	}
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := *previewSeed
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	t.Logf("-gc.preview-seed %d", seed)
	return seed
}

// A run in many entries does what one with a single entry does, and a dry run says so.
func TestRun_ManyEntries_AddUpToWhatADryRunSays(t *testing.T) {
	notShort(t)
	r, store, kept, files := sparse(t, seedOf(t), 4)
	dry := run(t, r, gc.Options{DryRun: true})
	before := stored(t, store)
	real := run(t, testrepo.Open(t, store), gc.Options{CommitEvery: 4 << 20})
	if real.Entries < 4 {
		t.Errorf("only %d entries: that shows nothing", real.Entries)
	}
	if freed := before - stored(t, store); freed <= 0 || freed != real.BytesDeleted-real.BytesAdded {
		t.Errorf("%d bytes deleted, %d added, and the store has %d less", real.BytesDeleted, real.BytesAdded, freed)
	}
	for _, res := range []*gc.Result{dry, real} {
		res.Entry, res.Entries, res.PacksAdded, res.PacksAfter, res.BytesAfter, res.BytesAdded, res.IndexAdded = 0, 0, 0, 0, 0, 0, 0
	}
	if diff := cmp.Diff(dry, real); diff != "" {
		t.Errorf("dry run (-) and real run (+):\n%s", diff)
	}
	wantFiles(t, store, kept, files)
	noGarbage(t, testrepo.Open(t, store), store)
}

// stored returns the bytes of all objects but those of the log.
func stored(t *testing.T, store backends.Store) (n int64) {
	t.Helper()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.ParityPrefix, object.SessionsPrefix} {
		for info, err := range store.List(t.Context(), prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			n += info.Size
		}
	}
	return n
}

// listStore counts the listings of data packs.
type listStore struct {
	backends.Store
	lists atomic.Int64
}

func (s *listStore) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	if prefix == object.DataPrefix {
		s.lists.Add(1)
	}
	return s.Store.List(ctx, prefix, after)
}

func TestRun_ManyEntries_DeleteWhatTheyDropWithoutListing(t *testing.T) {
	notShort(t)
	_, inner, kept, files := sparse(t, seedOf(t), 6)
	store := &listStore{Store: inner}
	client := testrepo.Open(t, store)
	ev := gc.Events{Phase: func(phase string) {
		if phase == "committing" { // of this entry; what those before it have dropped is gone
			noGarbageOf(t, client.State(), inner)
		}
	}}
	res, err := gc.Run(t.Context(), client, gc.Options{CommitEvery: 4 << 20}, ev)
	if err != nil {
		t.Fatal(err)
	}
	if n := store.lists.Load(); res.Entries < 4 || n != 3 {
		t.Errorf("%d entries, data packs were listed %d times: want 3, for the plan, after the first and after the last", res.Entries, n)
	}
	wantFiles(t, inner, kept, files)
	noGarbage(t, testrepo.Open(t, inner), inner)
}

// noGarbageOf wants no pack and no index segment that is garbage in a state.
func noGarbageOf(t *testing.T, st *log.State, store backends.Store) {
	t.Helper()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix} {
		for _, name := range testrepo.Names(t, store, prefix) {
			if ref, err := object.ParseRef(name); err != nil || st.Garbage(ref) {
				t.Errorf("left in the store: %s", name)
			}
		}
	}
}

// A run that is cut off has committed what it wrote before, and the next one writes the rest.
func TestRun_CutOff_NextRunWritesOnlyTheRest(t *testing.T) {
	notShort(t)
	_, inner, kept, files := sparse(t, seedOf(t), 6)
	whole := run(t, testrepo.Open(t, inner.Clone()), gc.Options{})

	died := errors.New("the machine is off")
	store := fault.New(inner)
	const every = 12 << 20
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Nth(4).Before(died).Die()) // behind that of what is dead, and two
	if _, err := gc.Run(t.Context(), testrepo.Open(t, store), gc.Options{CommitEvery: every}, gc.Events{}); !errors.Is(err, died) {
		t.Fatalf("err = %v", err)
	}
	wantFiles(t, inner, kept, files)
	rest := run(t, testrepo.Open(t, inner), gc.Options{CommitEvery: every, Idle: time.Nanosecond})
	t.Logf("%d bytes are written at once, %d by the run after two entries of up to %d", whole.BytesRepacked, rest.BytesRepacked, every)
	// What two entries have carried is not carried again. An entry ends before the pack that is too much for it, of
	// which up to 8 MiB are needed.
	if most := whole.BytesRepacked - 2*(every-8<<20); rest.BytesRepacked > most {
		t.Errorf("wrote %d bytes again, want at most %d", rest.BytesRepacked, most)
	}
	wantFiles(t, inner, kept, files)
	noGarbage(t, testrepo.Open(t, inner), inner)
}

func TestRun_TimeIsUp_CommitsWhatIsDone(t *testing.T) {
	notShort(t)
	r, store, kept, files := sparse(t, seedOf(t), 3)
	res := run(t, r, gc.Options{MaxDuration: time.Nanosecond})
	if !res.Late || res.PacksRepacked != 0 || len(res.Gone) != 3 {
		t.Errorf("%+v", res)
	}
	dry := run(t, r, gc.Options{DryRun: true})
	if res.BytesUnused < dry.BytesRepacked/2 {
		t.Errorf("says that %d bytes are unused, where %d would be written again to be rid of the rest", res.BytesUnused, dry.BytesRepacked)
	}
	if res := run(t, r, gc.Options{MaxDuration: time.Hour}); res.Late || res.PacksRepacked == 0 {
		t.Errorf("%+v", res)
	}
	wantFiles(t, store, kept, files)
}

// What was carried when the time is up is committed; the rest stays as it is, for the next run.
func TestRun_TimeIsUpWhileItCarries_TheRestIsGivenBack(t *testing.T) {
	notShort(t)
	_, made, kept, files := sparse(t, seedOf(t), 4)
	whole := run(t, testrepo.Open(t, made.Clone()), gc.Options{})
	for most := 250 * time.Millisecond; ; most *= 2 {
		inner := made.Clone()
		store := fault.New(inner)
		client := testrepo.Open(t, store)
		store.Inject(fault.On(fault.Get).Prefix(object.DataPrefix).Nth(2).Hook(func(context.Context, fault.Call) error {
			time.Sleep(most)
			return nil
		}))
		res := run(t, client, gc.Options{MaxDuration: most})
		if store.Fired() == 0 { // on a busy machine it was up before
			continue
		}
		if !res.Late || res.PacksRepacked == 0 || res.PacksRepacked >= whole.PacksRepacked {
			t.Errorf("%+v; with time %+v", res, whole)
		}
		wantFiles(t, inner, kept, files)
		if rest := run(t, testrepo.Open(t, inner), gc.Options{Idle: time.Nanosecond}); rest.Late || rest.PacksRepacked == 0 {
			t.Errorf("the rest: %+v", rest)
		}
		wantFiles(t, inner, kept, files)
		noGarbage(t, testrepo.Open(t, inner), inner)
		break
	}
}

func TestRun_Limits_BoundWhatIsWrittenAgain(t *testing.T) {
	notShort(t)
	seed := seedOf(t)
	_, store, _, _ := sparse(t, seed, 3)
	all := run(t, testrepo.Open(t, store), gc.Options{DryRun: true, MaxUnused: -1})
	if all.BytesRepacked < 16<<20 {
		t.Fatalf("only %d bytes to write again", all.BytesRepacked)
	}
	for _, c := range []struct {
		name string
		o    gc.Options
		ok   func(*gc.Result) bool
	}{
		{"no repacking", gc.Options{MaxRepack: -1}, func(r *gc.Result) bool { return r.PacksRepacked == 0 && r.BytesRepacked == 0 }},
		{"8 MiB", gc.Options{MaxRepack: 8 << 20, MaxUnused: -1}, func(r *gc.Result) bool { return r.BytesRepacked > 2<<20 && r.BytesRepacked <= 8<<20 }},
		{"unlimited unused", gc.Options{MaxUnused: 1}, func(r *gc.Result) bool { return r.BytesRepacked < all.BytesRepacked/2 }},
		{"10 MiB unused", gc.Options{MaxUnusedBytes: 10 << 20}, func(r *gc.Result) bool {
			return r.BytesUnused <= 10<<20 && r.BytesRepacked > 0 && r.BytesRepacked <= all.BytesRepacked
		}},
		{"more unused than there is", gc.Options{MaxUnusedBytes: 1 << 40}, func(r *gc.Result) bool { return r.BytesRepacked < all.BytesRepacked/2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.DryRun = true
			dry := run(t, testrepo.Open(t, store), c.o)
			c.o.DryRun = false
			real := run(t, testrepo.Open(t, store.Clone()), c.o)
			if !c.ok(dry) || !c.ok(real) {
				t.Errorf("dry run: %+v\nreal run: %+v", dry, real)
			}
			if dry.BytesRepacked != real.BytesRepacked || dry.PacksDropped != real.PacksDropped || dry.BytesUnused != real.BytesUnused {
				t.Errorf("dry run: %+v\nreal run: %+v", dry, real)
			}
		})
	}
}

// deleteStore fails deletes as it is told to.
type deleteStore struct {
	backends.Store
	kept backends.Kept
	mu   sync.Mutex
	fail func(name string) error // called with mu held
}

func (s *deleteStore) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	err := s.fail(name)
	s.mu.Unlock()
	if err != nil {
		return &backends.Error{Op: "delete", Name: name, Err: err}
	}
	return s.Store.Delete(ctx, name)
}

func (s *deleteStore) Kept() backends.Kept { return s.kept }

func TestRun_CredentialsMayNotDelete_CommitsAndSaysWhatIsMissing(t *testing.T) {
	_, inner, kept, files := sparse(t, seedOf(t), 1)
	store := &deleteStore{Store: inner, fail: func(string) error { return backends.ErrDenied }}
	res, err := gc.Run(t.Context(), testrepo.Open(t, store), gc.Options{}, gc.Events{})
	var denied *gc.DeniedError
	if !errors.As(err, &denied) || !errors.Is(err, backends.ErrDenied) || denied.Name == "" {
		t.Fatalf("err = %v", err)
	}
	if res == nil || res.Entry == 0 || res.ObjectsDeleted != 0 || res.PacksDropped == 0 {
		t.Errorf("%+v", res)
	}
	wantFiles(t, inner, kept, files)
	r := testrepo.Open(t, inner)
	if res := run(t, r, gc.Options{Idle: time.Nanosecond}); res.ObjectsDeleted == 0 {
		t.Errorf("%+v", res)
	}
	noGarbage(t, r, inner)
	wantFiles(t, inner, kept, files)
}

func TestRun_ObjectsThatCanNotBeDeleted_AreCountedAndTheRestGoes(t *testing.T) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	broken := errors.New("out of order")
	for _, c := range []struct {
		name string
		err  error // of all data packs
	}{{"locked", nil}, {"failing", broken}} {
		t.Run(c.name, func(t *testing.T) {
			_, inner, kept, files := sparse(t, seedOf(t), 1)
			locked := map[string]time.Time{} // a collection of several entries asks again
			store := &deleteStore{Store: inner, kept: backends.Kept{Objects: 7, Why: "versions"}}
			store.fail = func(name string) error {
				if !strings.HasPrefix(name, object.DataPrefix) {
					return nil
				}
				if c.err != nil {
					return c.err
				}
				if _, again := locked[name]; !again {
					locked[name] = until.AddDate(0, 0, 1+len(locked))
				}
				return &backends.LockedError{Name: name, Until: locked[name]}
			}
			r := testrepo.Open(t, store)
			data := len(testrepo.Names(t, inner, object.DataPrefix))
			res, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{})
			if !errors.Is(err, c.err) {
				t.Fatalf("err = %v", err)
			}
			for _, prefix := range []string{object.TreePrefix, object.IndexPrefix, object.SessionsPrefix} {
				for _, name := range testrepo.Names(t, inner, prefix) {
					if ref, err := object.ParseRef(name); err != nil || r.State().Garbage(ref) {
						t.Errorf("left: %s", name)
					}
				}
			}
			if now := len(testrepo.Names(t, inner, object.DataPrefix)); now < data {
				t.Fatalf("%d data packs of %d are left", now, data)
			}
			if c.err == nil && (res.Locked.Objects == 0 || res.Locked.Bytes < 1<<20 || !res.Locked.Until.Equal(until.AddDate(0, 0, 1)) || res.Kept.Objects != 7) {
				t.Errorf("%+v", res)
			}
			wantFiles(t, inner, kept, files)
			run(t, testrepo.Open(t, inner), gc.Options{Idle: time.Nanosecond})
			noGarbage(t, testrepo.Open(t, inner), inner)
			wantFiles(t, inner, kept, files)
		})
	}
}

// What a collection waits for is named.
func TestRun_OpenSession_IsNamedByHost(t *testing.T) {
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Host: "web1"})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.Save(t, s, object.DataBlob, testrepo.Random(1, 1<<20))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	res := run(t, r, gc.Options{})
	if len(res.Open) != 1 || res.Open[0].Host != "web1" || res.Open[0].ID != s.ID() || time.Since(res.Open[0].Last) > time.Hour {
		t.Errorf("%+v", res.Open)
	}
	if got := fmt.Sprint(len(run(t, r, gc.Options{Idle: time.Nanosecond}).Revoked)); got != "1" {
		t.Errorf("%s sessions revoked", got)
	}
}

// TestRun_AnotherCollectorBetweenTwoEntries_GoesOn has the packs of later entries dropped, and deleted, by somebody else.
func TestRun_AnotherCollectorBetweenTwoEntries_GoesOn(t *testing.T) {
	r, store, kept, files := sparse(t, seedOf(t), 3)
	other := testrepo.Open(t, store)
	every := int64(4 << 20)
	if testing.Short() {
		every = 1 << 20
	}
	entries := 0
	ev := gc.Events{Phase: func(name string) {
		if name != "deleting garbage" {
			return
		}
		if entries++; entries == 1 {
			run(t, other, gc.Options{})
		}
	}}
	res, err := gc.Run(t.Context(), r, gc.Options{CommitEvery: every}, ev)
	if err != nil {
		t.Fatal(err)
	}
	if entries < 2 || res.Entries < 1 {
		t.Errorf("%d entries: that shows nothing", entries)
	}
	wantFiles(t, store, kept, files)
	run(t, r, gc.Options{Idle: time.Nanosecond})
	noGarbage(t, r, store)
	wantFiles(t, store, kept, files)
}

// TestRun_CancelledWhileAPackIsRead_Ends cancels a run when the next pack was asked for that it is going to carry.
func TestRun_CancelledWhileAPackIsRead_Ends(t *testing.T) {
	_, store, _, _ := sparse(t, 7, 1)
	for range 20 { // whether the pack arrives or the end is seen is left to chance
		ctx, cancel := context.WithCancel(t.Context())
		watched := fault.New(store.Clone())
		r := testrepo.Open(t, watched)
		watched.Inject(fault.On(fault.Get).Prefix(object.DataPrefix).Nth(1).Hook(func(context.Context, fault.Call) error {
			cancel()
			return nil
		}))
		if _, err := gc.Run(ctx, r, gc.Options{MaxUnused: -1}, gc.Events{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v; a pack was read: %v", err, watched.Fired() > 0)
		}
	}
}
