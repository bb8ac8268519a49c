package gc_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo/gc"
)

func TestRun_NoRoomToRepack_DropsWhatIsDeadAndTheNextRunRepacks(t *testing.T) {
	_, inner := testrepo.New(t)
	store := fault.New(inner)
	r := testrepo.Open(t, store)
	shared := testrepo.Random(1, 300<<10)
	dead := testrepo.CommitFile(t, r, testrepo.Random(2, 6<<20))
	chunks := [][]byte{shared}
	for i := range 32 { // chunks go to either of two packs: some are beside what is shared
		chunks = append(chunks, testrepo.Random(uint64(3+i), 260<<10))
	}
	sparse := testrepo.CommitFile(t, r, chunks...)
	kept := testrepo.CommitFile(t, r, shared)
	forget(t, r, dead, sparse)

	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} { // the first of several fits
		store.Inject(fault.On(fault.Put).Prefix(prefix).Always().Before(&backends.Error{Op: "put", Err: syscall.ENOSPC}))
	}
	res := prune(t, r)
	if res.PacksDropped == 0 || res.PacksRepacked != 0 || res.BytesDeleted < 6<<20 {
		t.Errorf("without room: %+v", res)
	}
	wantFile(t, testrepo.Open(t, inner), kept, shared)
	noGarbage(t, r, inner)

	store.Clear()
	res = prune(t, r)
	if res.PacksRepacked == 0 || res.BytesAfter > 2<<20 {
		t.Errorf("with room: %+v", res)
	}
	wantFile(t, testrepo.Open(t, inner), kept, shared)
	noGarbage(t, r, inner)
}

// TestRun_RoomOnceSomethingIsDeleted_IsUsed has a disk without room, and then one on which a large slice has none.
func TestRun_RoomOnceSomethingIsDeleted_IsUsed(t *testing.T) {
	notShort(t)
	r, inner, kept, files := sparse(t, seedOf(t), 2)
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(1, 6<<20)))
	whole := run(t, testrepo.Open(t, inner.Clone()), gc.Options{})

	store := &fullStore{Store: inner, prefix: object.DataPrefix}
	res := run(t, testrepo.Open(t, store), gc.Options{CommitEvery: 16 << 30})
	if store.refused.Load() || res.Entries != 2 || res.BytesRepacked != whole.BytesRepacked || res.PacksDropped != whole.PacksDropped {
		t.Errorf("%+v; with room from the beginning %+v", res, whole)
	}
	wantFiles(t, inner, kept, files)
	noGarbage(t, testrepo.Open(t, inner), inner)

	_, inner, kept, files = sparse(t, seedOf(t), 2)
	whole = run(t, testrepo.Open(t, inner.Clone()), gc.Options{})
	once := fault.New(inner)
	once.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Nth(1).Before(&backends.Error{Op: "put", Err: syscall.ENOSPC}))
	res = run(t, testrepo.Open(t, once), gc.Options{CommitEvery: 16 << 30})
	if res.BytesRepacked != whole.BytesRepacked || res.PacksDropped != whole.PacksDropped || res.Entries <= whole.Entries {
		t.Errorf("in smaller slices %+v; with room from the beginning %+v", res, whole)
	}
	wantFiles(t, inner, kept, files)
	noGarbage(t, testrepo.Open(t, inner), inner)

	// Where there is never any, it ends.
	_, inner, kept, files = sparse(t, seedOf(t), 1)
	never := fault.New(inner)
	never.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Always().Before(&backends.Error{Op: "put", Err: syscall.ENOSPC}))
	if res := run(t, testrepo.Open(t, never), gc.Options{CommitEvery: 16 << 30}); res.PacksRepacked != 0 {
		t.Errorf("without room: %+v", res)
	}
	wantFiles(t, inner, kept, files)
	noGarbage(t, testrepo.Open(t, inner), inner)
}

func TestRun_NoRoomForTheEntry_FailsAndChangesNothing(t *testing.T) {
	_, inner := testrepo.New(t)
	store := fault.New(inner)
	r := testrepo.Open(t, store)
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20)))
	before := strings.Join(testrepo.Names(t, inner, object.LogPrefix), " ")
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Always().Before(&backends.Error{Op: "put", Err: syscall.ENOSPC}))
	if _, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("err = %v", err)
	}
	if after := strings.Join(testrepo.Names(t, inner, object.LogPrefix), " "); after != before {
		t.Errorf("the log was %s and is %s", before, after)
	}
}

// TestRun_NoRoomForGroups_FreesSpaceAllTheSame has a disk that is full until something is deleted. Groups must not
// be in the way of that.
func TestRun_NoRoomForGroups_FreesSpaceAllTheSame(t *testing.T) {
	r, inner := testrepo.New(t)
	keep := testrepo.Random(1, 5<<20)
	old := commitGrouped(t, r, testrepo.Random(2, 5<<20))
	kept := commitGrouped(t, r, keep)
	prune(t, r) // makes one group of both
	forget(t, r, old)

	store := &fullStore{Store: inner, prefix: object.ParityPrefix}
	client := testrepo.Open(t, store)
	if _, err := gc.Run(t.Context(), client, gc.Options{}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	if !store.refused.Load() {
		t.Error("no group was refused")
	}
	noGarbage(t, client, inner)
	sizes(t, client)
	eachPackLost(t, inner, kept, keep)
}

// fullStore has no room for objects below a prefix until a pack was deleted.
type fullStore struct {
	backends.Store
	prefix        string
	refused, room atomic.Bool
}

func (s *fullStore) Put(ctx context.Context, name string, data []byte) error {
	if !s.room.Load() && strings.HasPrefix(name, s.prefix) {
		s.refused.Store(true)
		return &backends.Error{Op: "put", Name: name, Err: syscall.ENOSPC}
	}
	return s.Store.Put(ctx, name, data)
}

func (s *fullStore) Delete(ctx context.Context, name string) error {
	if strings.HasPrefix(name, object.DataPrefix) {
		s.room.Store(true)
	}
	return s.Store.Delete(ctx, name)
}
