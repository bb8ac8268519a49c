package repair_test

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// newerPack returns a pack as a later version may write it: a copy of one, with a coding in its directory that this one does not know.
func newerPack(t *testing.T, r *repo.Repository, name string) (obj []byte, ref object.Ref) {
	t.Helper()
	from, err := object.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	old, err := r.Store().Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := pack.OpenDirectory(r.Keys(), from.Class, old)
	if err != nil {
		t.Fatal(err)
	}
	last := dir.Segments[len(dir.Segments)-1]
	dir.Segments[0].Coding = pack.Delta + 1
	plain, err := pack.EncodeDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	env, err := r.Keys().NewEnvelope(from.Class, nil, seal.BindRepo(r.Keys().RepoID()))
	if err != nil {
		t.Fatal(err)
	}
	out := append(slices.Clone(env.Header()), old[seal.HeaderSize:last.Offset+last.Stored]...)
	out = env.SealPart(out, 0, plain)
	length := uint32(len(plain) + seal.Overhead)
	out = append(binary.LittleEndian.AppendUint32(out, length), "KPAK"...)
	if out, err = parity.Append(out, length, 3); err != nil {
		t.Fatal(err)
	}
	return out, object.Ref{Class: from.Class, Session: object.SessionID{1}, Hash: object.Sum(out)}
}

// commitObject stores a pack or index segment, and commits it with a snapshot that is like another.
func commitObject(t *testing.T, r *repo.Repository, like *repo.Snapshot, ref object.Ref, obj []byte) {
	t.Helper()
	if err := r.Store().Put(t.Context(), ref.Name(), obj); err != nil {
		t.Fatal(err)
	}
	e := &log.Entry{Kind: log.KindSnapshot, Session: ref.Session, Manifest: like.Entry.Manifest}
	if refs := []log.PackRef{{Ref: ref, Size: int64(len(obj))}}; ref.Class == object.Index {
		e.Index = refs
	} else {
		e.Add = refs
	}
	if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil }); err != nil {
		t.Fatal(err)
	}
}

func TestPacks_WrittenByANewerProgram_StaysAsItIs(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, testrepo.Random(1, 50_000))
	obj, ref := newerPack(t, r, names(t, store, object.DataPrefix)[0])
	if _, err := pack.OpenDirectory(r.Keys(), ref.Class, obj); !errors.Is(err, wire.ErrNewer) {
		t.Fatalf("%v", err)
	}
	commitObject(t, r, snap, ref, obj)
	repaired := func(what string, newer int, o repair.PacksOptions) {
		t.Helper()
		r := testrepo.Open(t, store)
		res, err := repair.Packs(t.Context(), r, o, repair.Events{})
		if err != nil || res.Entry != 0 || len(res.Packs) != newer || res.Count(repair.Newer) != newer || !r.State().Live(ref) {
			t.Errorf("%s: %+v, %v", what, res, err)
		}
	}
	repaired("all", 0, repair.PacksOptions{})
	repaired("this one", 1, repair.PacksOptions{Packs: []object.Ref{ref}})
	flip(t, store, ref.Name(), 4) // the class, which parity mends
	repaired("damaged", 1, repair.PacksOptions{})
	flip(t, store, ref.Name(), 4)
	for at := 2000; at < 12_000; at += 100 { // more than parity mends, and not the directory
		flip(t, store, ref.Name(), at)
	}
	repaired("damaged for good", 1, repair.PacksOptions{})
}

func TestSnapshots_WrittenByANewerProgram_StayAsTheyAre(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, s, []byte("below"))
	page, err := s.SaveNow(object.TreeBlob, []byte{0xa1, 0x20, 0x00}) // {-1: 0}
	if err != nil {
		t.Fatal(err)
	}
	m.Root = page.ID[:]
	newer, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		r := testrepo.Open(t, store)
		before := r.State().N
		res, err := repair.Snapshots(t.Context(), r, repair.SnapshotsOptions{Forget: true, DryRun: dry}, repair.Events{})
		if err != nil || len(res.Snapshots) != 1 || res.Newer() != 1 {
			t.Fatalf("%+v, %v", res, err)
		}
		out := res.Snapshots[0]
		if out.ID != newer.ID || out.Forgotten || out.Gone != nil || !errors.Is(out.Newer, wire.ErrNewer) || r.State().N != before {
			t.Errorf("%+v", out)
		}
	}
}

func TestIndex_WrittenByANewerProgram_OnlyGoesWhenAllIsMadeAgain(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	env, err := r.Keys().Seal(object.Index, make([]byte, 12), seal.BindRepo(r.Keys().RepoID()), nil)
	if err != nil {
		t.Fatal(err)
	}
	env[5]++ // the format
	obj, err := parity.Append(env, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref := object.Ref{Class: object.Index, Session: object.SessionID{1}, Hash: object.Sum(obj)}
	commitObject(t, r, snap, ref, obj)
	r = testrepo.Open(t, store)
	before := r.State().N
	if res, err := repair.Index(t.Context(), r, repair.IndexOptions{}, repair.Events{}); !errors.Is(err, wire.ErrNewer) || r.State().N != before {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := repair.Index(t.Context(), r, repair.IndexOptions{AllPacks: true}, repair.Events{}); err != nil || res.Entry == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, there := r.State().Index[ref]; there {
		t.Error("it stays")
	}
	wantSound(t, store)
}
