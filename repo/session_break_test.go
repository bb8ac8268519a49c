package repo_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// TestSave_LargestBlobBesideWaitingSmallOnes_DoesNotBlock saves a blob of the greatest size while small
// blobs of both types wait for company.
func TestSave_LargestBlobBesideWaitingSmallOnes_DoesNotBlock(t *testing.T) {
	r, _ := testrepo.New(t)
	// A blocked Save ends with the context, and fails the test.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := r.NewSession(ctx, repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	testrepo.Save(t, s, object.DataBlob, []byte("small"))
	testrepo.Save(t, s, object.TreeBlob, []byte("small"))
	testrepo.Save(t, s, object.DataBlob, make([]byte, object.MaxBlobSize))
}

// TestAbort_WhileSavesAreBlocked_EndsThem aborts a session whose uploads hang, so that its callers wait in
// Save.
func TestAbort_WhileSavesAreBlocked_EndsThem(t *testing.T) {
	_, store := testrepo.New(t)
	hanging := fault.New(store)
	hanging.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Always().Hook(func(ctx context.Context, _ fault.Call) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}))
	r := testrepo.Open(t, hanging)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		var savers sync.WaitGroup
		started := make(chan struct{}, 8)
		for i := range 8 {
			data := testrepo.Random(uint64(round*8+i), 300<<10)
			savers.Go(func() {
				started <- struct{}{}
				for n := range 400 {
					data[n]++ // another blob each time
					var failed atomic.Bool
					s.Save(object.DataBlob, data, func(_ repo.Saved, err error) { failed.Store(err != nil) })
					if failed.Load() {
						return
					}
				}
			})
		}
		<-started
		s.Abort()
		savers.Wait()
	}
}

// TestLoadBlob_FirstPlaceIsWrong_ReadsAnother lists a blob at places where it is not, as a stolen
// writer's key can.
func TestLoadBlob_FirstPlaceIsWrong_ReadsAnother(t *testing.T) {
	r, store := testrepo.New(t)
	junk := testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10))
	a := testrepo.Random(2, 300<<10)
	snap := testrepo.CommitFile(t, r, a)
	var seg index.Segment
	for ref, p := range r.State().Packs {
		if ref.Class != object.DataPack {
			continue
		}
		dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		dir.Segments[0].IDs = []object.BlobID{r.BlobID(object.DataBlob, a)}
		dir.Segments[0].Ordinal += 7 // wrong in the pack that does hold it, too
		if err := seg.AddPack(ref, p.Size, dir); err != nil {
			t.Fatal(err)
		}
	}
	sid := object.SessionID{}
	refs, err := r.PutIndex(t.Context(), sid, &seg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindSnapshot, Session: sid, Manifest: junk.Entry.Manifest, Index: refs}, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*repo.Repository{r, testrepo.Open(t, store)} {
		if got, err := testrepo.ReadFile(t, client, snap); err != nil || !bytes.Equal(got, a) {
			t.Errorf("%d bytes: %v", len(got), err)
		}
	}
}

// TestIndex_SegmentsSwapped_IsDamage gives one index segment the bytes of another, which open as well.
func TestIndex_SegmentsSwapped_IsDamage(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, []byte("a"))
	testrepo.CommitFile(t, r, []byte("b"))
	names := testrepo.Names(t, store, object.IndexPrefix)
	obj, err := store.Get(t.Context(), names[0], 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Tamper(names[1], obj)
	var damage *repo.DamageError
	if _, err := testrepo.Open(t, store).Index(t.Context()); !errors.As(err, &damage) || damage.Object != names[1] {
		t.Errorf("%v, want damage of %s", err, names[1])
	}
}

// TestCommit_UnclearPutAndUnreadableName_IsTriedAgain lets a put of a pack be done and seem lost, and the
// first look at it fail.
func TestCommit_UnclearPutAndUnreadableName_IsTriedAgain(t *testing.T) {
	_, store := testrepo.New(t)
	flaky := fault.New(store)
	r := testrepo.Open(t, retry.New(flaky, retry.Options{Pause: time.Microsecond}))
	flaky.Inject(
		fault.On(fault.Put).Prefix(object.DataPrefix).After(&backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("reset")}),
		fault.On(fault.Get).Prefix(object.DataPrefix).Before(&backends.Error{Op: "get", Kind: backends.Transient, Err: errors.New("busy")}),
	)
	snap := testrepo.CommitFile(t, r, []byte("x"))
	if flaky.Fired() != 2 {
		t.Fatal("nothing failed: the test showed nothing")
	}
	if got, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPutIndex_PackWithUnusedOrigins_Succeeds lists a pack whose directory has more origins than
// blobs, which its writer may have put there to make those fail who adopt it.
func TestPutIndex_PackWithUnusedOrigins_Succeeds(t *testing.T) {
	var seg index.Segment
	r, _ := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10))
	for ref, p := range r.State().Packs {
		dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(20) {
			o := *dir.Origins[0]
			o.Salt[0] ^= 1 + i
			dir.Origins = append(dir.Origins, &o)
		}
		if err := seg.AddPack(ref, p.Size, dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.PutIndex(t.Context(), object.SessionID{1}, &seg); err != nil {
		t.Error(err)
	}
}

// TestSession_PackKnownToBeLost_IsStoredAgain loses the tree pack that the last snapshot needs. Who has
// noticed does not rely on it any more.
func TestSession_PackKnownToBeLost_IsStoredAgain(t *testing.T) {
	r, store := testrepo.New(t)
	data := [][]byte{[]byte("a"), testrepo.Random(1, 400<<10)}
	old := testrepo.CommitFile(t, r, data...)
	for _, name := range testrepo.Names(t, store, object.TreePrefix) {
		store.Tamper(name, nil)
	}
	client := testrepo.Open(t, store)
	if _, err := testrepo.ReadFile(t, client, old); !errors.As(err, new(*repo.DamageError)) {
		t.Fatalf("a lost tree pack was not noticed: %v", err)
	}
	snap := testrepo.CommitFile(t, client, data...)
	if got, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap); err != nil || !bytes.Equal(got, bytes.Join(data, nil)) {
		t.Errorf("the backup after the loss reads back wrong: %v", err)
	}
}

// TestCommit_AdoptedAndFailed_LeavesASignBesideItsIndex lets a session that stores no pack of its own fail at
// its entry: a collector must be able to see whose the index segment is that it leaves.
func TestCommit_AdoptedAndFailed_LeavesASignBesideItsIndex(t *testing.T) {
	r, store := testrepo.New(t)
	dead, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.Manifest(t, dead, testrepo.Random(1, 400<<10))
	if err := dead.Flush(); err != nil {
		t.Fatal(err)
	}
	failing := fault.New(store)
	full := &backends.Error{Op: "put", Kind: backends.Permanent, Err: errors.New("no space left")}
	failing.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Always().Before(full))
	s, err := testrepo.Open(t, failing).NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, s, testrepo.Random(1, 400<<10))
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if _, err := s.SaveNow(object.DataBlob, testrepo.Random(2, 400<<10)); !errors.Is(err, full) {
		t.Errorf("who still uses the session does not hear why it is over: %v", err)
	}
	if len(testrepo.Names(t, store, object.IndexPrefix+s.ID().String())) == 0 {
		t.Fatal("no index segment was left: the test shows nothing")
	}
	if len(testrepo.Names(t, store, object.SessionsPrefix+s.ID().String())) == 0 {
		t.Error("an index segment was left, and no sign of whose it is")
	}
}
