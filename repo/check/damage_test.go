package check_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/records"
)

func tamper(t testing.TB, store interface {
	backends.Store
	Tamper(string, []byte)
}, name string, change func([]byte) []byte,
) {
	t.Helper()
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Tamper(name, change(obj))
}

func wreck(b []byte) []byte { clear(b[len(b)/4 : 3*len(b)/4]); return b }

func flipBit(b []byte) []byte { b[len(b)/2] ^= 1; return b }

func TestRun_FlippedBitInAPack_IsMendableAndNoFileIsNamed(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10), []byte("small"))
	bad := testrepo.Names(t, store, object.DataPrefix)[0]
	tamper(t, store, bad, flipBit)
	rep := run(t, testrepo.Open(t, store), true)
	if rep.Damaged() != 1 || rep.Mendable() != 1 || rep.Problems[0].Object != bad || rep.FilesDamaged != 0 {
		t.Errorf("%+v", rep)
	}
}

func TestRun_LostDataPack_NamesTheFilesOfEverySnapshot(t *testing.T) {
	r, store := testrepo.New(t)
	big := testrepo.Random(1, 300<<10)
	first := testrepo.CommitFile(t, r, big)
	lost := testrepo.Names(t, store, object.DataPrefix)
	second := testrepo.CommitFile(t, r, big, []byte("more"))
	third := testrepo.CommitFile(t, r, []byte("nothing of it"))
	for _, name := range lost {
		tamper(t, store, name, wreck)
	}
	for _, readData := range []bool{true, false} {
		if !readData {
			for _, name := range lost {
				store.Tamper(name, nil)
			}
		}
		rep := run(t, testrepo.Open(t, store), readData)
		named := map[string]string{}
		for _, p := range rep.Problems {
			if p.Snapshot != "" {
				named[p.Snapshot] = p.Path
			}
		}
		if named[first.ID.Short()] != "/f" || named[second.ID.Short()] != "/f" || named[third.ID.Short()] != "" {
			t.Errorf("read %v: named %v", readData, named)
		}
		if rep.SnapshotsDamaged != 2 || rep.FilesDamaged != 2 || rep.Mendable() != 0 {
			t.Errorf("read %v: %+v", readData, rep)
		}
	}
}

// TestRun_ObjectsThatTheDiskCanNotRead_AreNamedAndTheRestIsChecked makes each object in turn one that gives EIO.
func TestRun_ObjectsThatTheDiskCanNotRead_AreNamedAndTheRestIsChecked(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10), []byte("small"))
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := testrepo.Names(t, store, "")
	checked := 0
	for _, name := range names {
		if strings.HasPrefix(name, object.SessionsPrefix) {
			continue
		}
		disk := fault.New(store)
		client := testrepo.Open(t, disk)
		disk.Inject(fault.On(fault.Get).Always().Hook(func(_ context.Context, c fault.Call) error {
			if c.Name == name {
				return &backends.Error{Op: "get", Name: name, Err: syscall.EIO}
			}
			return nil
		}))
		rep, err := check.Run(t.Context(), client, check.Options{Read: check.Choice{All: true}}, check.Events{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantNamed(t, rep, name)
		checked++
	}
	t.Logf("%d objects", checked)
	// A store that is gone is no damage.
	disk := fault.New(store)
	client := testrepo.Open(t, disk)
	disk.Inject(fault.On(fault.Get).Prefix(object.DataPrefix).Always().Before(&backends.Error{Op: "get", Kind: backends.Transient, Err: syscall.ETIMEDOUT}))
	if _, err := check.Run(t.Context(), client, check.Options{Read: check.Choice{All: true}}, check.Events{}); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a store out of reach: %v", err)
	}
}

func TestRun_ReadPacks_AreNotedUnlessDamagedAndRecordsAreMerged(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10), []byte("small"))
	packs := len(r.State().Packs)
	if rep := run(t, r, false); rep.RecordErr != nil || len(testrepo.Names(t, store, object.RecordsPrefix)) != 0 {
		t.Error("a check that reads no packs noted something")
	}
	for i := range 40 {
		if rep := run(t, r, true); rep.RecordErr != nil || rep.Damaged() > 0 {
			t.Fatalf("check %d: %+v", i, rep)
		}
	}
	if n := len(testrepo.Names(t, store, object.RecordsPrefix)); n > 17 {
		t.Errorf("%d records were not merged", n)
	}
	noted, err := records.Load(t.Context(), r, time.Now())
	if err != nil || len(noted.Verified) != packs || len(noted.Bad) > 0 {
		t.Errorf("%d packs noted of %d, %v", len(noted.Verified), packs, err)
	}
	for _, name := range testrepo.Names(t, store, object.RecordsPrefix) {
		store.Tamper(name, nil)
	}
	bad := testrepo.Names(t, store, object.DataPrefix)[0]
	tamper(t, store, bad, flipBit)
	client := testrepo.Open(t, store)
	run(t, client, true)
	noted, err = records.Load(t.Context(), client, time.Now())
	if err != nil || len(noted.Verified) != packs-1 {
		t.Errorf("%d packs noted, one of %d is damaged: %v", len(noted.Verified), packs, err)
	}
	if early, err := records.Load(t.Context(), client, time.Now().Add(-time.Hour)); err != nil || len(early.Verified) > 0 {
		t.Errorf("times that have not come yet count: %v, %v", early.Verified, err)
	}
}

func TestRun_RecordsCanNotBeWritten_IsNoFailure(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, []byte("small"))
	disk := fault.New(store)
	client := testrepo.Open(t, disk)
	disk.Inject(fault.On(fault.Put).Always().Before(syscall.EROFS))
	rep := run(t, client, true)
	if !errors.Is(rep.RecordErr, syscall.EROFS) || rep.Damaged() > 0 {
		t.Errorf("%+v", rep)
	}
}

// TestNoKey_EveryObjectDamagedOrMissing_SaysSoWhereItCan says what is noticed without a key, and what is not.
func TestNoKey_EveryObjectDamagedOrMissing_SaysSoWhereItCan(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10), []byte("small"))
	testrepo.CommitFile(t, r, testrepo.Random(2, 300<<10))
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, r, true) // notes what it read
	look := func(s backends.Store) *check.Report {
		rep, err := check.NoKey(t.Context(), s, check.Events{})
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	if rep := look(store); len(rep.Problems) > 0 || rep.PacksRead < 4 {
		t.Errorf("%+v", rep)
	}
	named, objects := 0, 0
	for _, name := range testrepo.Names(t, store, "") {
		if strings.HasPrefix(name, object.SessionsPrefix) || strings.HasPrefix(name, object.CheckpointsPrefix) {
			continue
		}
		objects++
		flipped := store.Clone()
		tamper(t, flipped, name, flipBit)
		wantNamed(t, look(flipped), name)
		missing := store.Clone()
		missing.Tamper(name, nil)
		if slices.ContainsFunc(look(missing).Problems, func(p check.Problem) bool { return p.Object == name }) {
			named++
		}
	}
	t.Logf("%d objects: each noticed when damaged, %d when missing", objects, named)
	if _, err := check.NoKey(t.Context(), mem.New(), check.Events{}); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("an empty place: %v", err)
	}
}
