package gc_test

import (
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo/log"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
)

// TestRun_TwoHonestCopies_OnlyWhoReadsThemDropsOne lets two clients store the same at the same time. A maintainer can not
// tell that both are true, and keeps both; the owner frees one.
func TestRun_TwoHonestCopies_OnlyWhoReadsThemDropsOne(t *testing.T) {
	r, store := testrepo.New(t)
	credential := seal.KeyFile([32]byte{7})
	if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Maintainer, Credential: credential}); err != nil {
		t.Fatal(err)
	}
	maintainer, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer maintainer.Close()
	data := testrepo.Random(1, 300<<10)
	var snaps []*repo.Snapshot
	var sessions []*repo.Session
	for range 2 {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, data)})
		if err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, snap)
	}
	copies := func() int {
		fresh := testrepo.Open(t, store)
		for _, snap := range snaps {
			wantFile(t, fresh, snap, data)
		}
		ix, err := fresh.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(ix.Places(r.BlobID(object.DataBlob, data), nil))
	}
	for _, step := range []struct {
		r    *repo.Repository
		want int
	}{{maintainer, 2}, {maintainer, 2}, {r, 1}, {r, 1}, {maintainer, 1}} {
		if _, err := gc.Run(t.Context(), step.r, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
		if got := copies(); got != step.want {
			t.Fatalf("%d copies, want %d", got, step.want)
		}
	}
}

// TestRun_OneSegmentInTwoSmallPacks_MaintainerMergesThem has two collectors that carried the same segment at the same
// time. A maintainer keeps both copies, which do not go into one pack: they have the same number of the same origin.
func TestRun_OneSegmentInTwoSmallPacks_MaintainerMergesThem(t *testing.T) {
	r, store := testrepo.New(t)
	credential := seal.KeyFile([32]byte{7})
	if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Maintainer, Credential: credential}); err != nil {
		t.Fatal(err)
	}
	data := testrepo.Random(1, 300<<10)
	snap := testrepo.CommitFile(t, r, data)
	refs, dirs := newPacks(t, r, snap)
	obj, _, err := r.LoadPack(t.Context(), refs[0].Ref, refs[0].Size, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sid object.SessionID
	b, err := pack.NewBuilder(r.Keys(), object.DataPack, sid, nil, pack.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	seg := dirs[0].Segments[0]
	if err := b.Carry(dirs[0].Origins[seg.Origin], seg, obj[seg.Offset:seg.Offset+seg.Stored]); err != nil {
		t.Fatal(err)
	}
	second, ref, dir, err := b.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), ref.Name(), second); err != nil {
		t.Fatal(err)
	}
	var listed index.Segment
	if err := listed.AddPack(ref, int64(len(second)), dir); err != nil {
		t.Fatal(err)
	}
	forge(t, r, snap, []log.PackRef{{Ref: ref, Size: int64(len(second))}}, &listed)

	maintainer, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer maintainer.Close()
	for _, client := range []*repo.Repository{maintainer, r} {
		if _, err := gc.Run(t.Context(), client, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
		wantFile(t, testrepo.Open(t, store), snap, data)
	}
}
