package thief_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/records"
	"github.com/kura-backup/kura/seal"
)

// TestCheckpoints_SignedByAWriter_CountForNothing writes checkpoints of a repository without snapshots, at the tail,
// and of entries that are yet to come.
func TestCheckpoints_SignedByAWriter_CountForNothing(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Delete(t.Context(), object.CheckpointName(w.newest().N)); err != nil {
		t.Log(err) // there was none: the name is free
	}
	for _, n := range []uint64{w.newest().N, w.newest().N + 1, 1 << 40} {
		empty := &log.State{N: n, Hash: w.newest().Hash, Signers: w.newest().Signers, Epoch: w.newest().Epoch}
		payload, err := log.EncodeState(empty)
		if err != nil {
			t.Fatal(err)
		}
		w.put(object.CheckpointName(n), w.sign(object.Checkpoint, seal.BindCheckpoint(w.thief.Keys().RepoID(), n), payload))
	}
	if got := len(testrepo.Open(t, w.store).State().Snapshots); got != len(w.honest) {
		t.Fatalf("%d snapshots", got)
	}
	w.surviveAll()
}

// TestRecords_SignedByAWriter_DoNotCount claims that everything was verified just now.
func TestRecords_SignedByAWriter_DoNotCount(t *testing.T) {
	w := newWorld(t)
	v := records.Verified{}
	for ref := range w.newest().Packs {
		v[ref.Hash] = time.Now().Unix()
	}
	payload, err := records.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	for i, obj := range [][]byte{w.sign(object.Record, seal.BindRepo(w.thief.Keys().RepoID()), payload), []byte("no record")} {
		w.put(object.Ref{Class: object.Record, Session: sid(byte(i)), Hash: object.Sum(obj)}.Name(), obj)
	}
	loaded, err := records.Load(t.Context(), w.owner, time.Now())
	if err != nil || len(loaded.Verified) != 0 {
		t.Fatalf("%+v, %v", loaded, err)
	}
	w.surviveAll()
}

// TestGroups_Poisoned_BringBackNothingFalse stores parity across packs that is not theirs. A collector merges groups, and
// what comes of a poisoned one brings nothing back; but nothing that has not the hash in its name counts.
func TestGroups_Poisoned_BringBackNothingFalse(t *testing.T) {
	w := newWorld(t)
	g := &parity.Group{}
	var lost log.PackRef
	for ref, p := range w.newest().Packs {
		if len(g.Members) == parity.MaxMembers {
			break
		}
		g.Members = append(g.Members, parity.Member{Ref: ref, Size: p.Size})
		lost = log.PackRef{Ref: ref, Size: p.Size}
		g.Sum = append(g.Sum, make([]byte, max(0, int(p.Size)-len(g.Sum)))...)
	}
	g.Members = sorted(g.Members)
	if _, err := w.thief.PutGroup(t.Context(), sid(1), g); err != nil {
		t.Fatal(err)
	}
	w.put(object.Ref{Class: object.Parity, Session: sid(2), Hash: object.Hash{1}}.Name(), []byte("no group"))
	saved, err := w.store.Get(t.Context(), lost.Ref.Name(), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), lost.Ref.Name()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.owner.LoadPack(t.Context(), lost.Ref, lost.Size, nil); !errors.As(err, new(*repo.DamageError)) {
		t.Fatalf("made again: %v", err)
	}
	w.put(lost.Ref.Name(), saved)
	if _, err := gc.Run(t.Context(), w.maintainer, gc.Options{Packing: repo.Packing{Groups: true}, MaxUnused: -1}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	w.surviveAll()
}

// TestSigns_Forged_CostAtMostARetry says that a session whose process lives is dead, and that others live for ever.
func TestSigns_Forged_CostAtMostARetry(t *testing.T) {
	w := newWorld(t)
	s, err := w.owner.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := testrepo.Random(96, 300<<10)
	m := testrepo.Manifest(t, s, part)
	plain, err := wire.Marshal(repo.Sign{Time: 1, Process: "0:1:1"})
	if err != nil {
		t.Fatal(err)
	}
	dead := func(of object.SessionID, k uint32) []byte {
		obj, err := w.thief.Keys().Seal(object.Sign, nil, seal.BindSign(w.thief.Keys().RepoID(), of, k), plain)
		if err != nil {
			t.Fatal(err)
		}
		return obj
	}
	w.put(object.SignName(s.ID(), 9999), dead(s.ID(), 9999))
	w.put(object.SignName(sid(1), 1), []byte("no sign"))
	w.put(object.SignName(sid(2), 1), dead(sid(2), 1))
	w.prune()
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); err != nil && !errors.Is(err, repo.ErrStale) {
		t.Fatal(err)
	}
	w.backUp(part)
	w.surviveAll()
}

// TestNames_ThatAreNone_AndForgedSlots_HurtNobody fills the store with what it is not for.
func TestNames_ThatAreNone_AndForgedSlots_HurtNobody(t *testing.T) {
	w := newWorld(t)
	for _, prefix := range []string{
		object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix, object.ParityPrefix,
		object.RecordsPrefix, object.QuarantinePrefix, object.CheckpointsPrefix, object.KeysPrefix, "",
	} {
		w.put(prefix+"what-is-this", []byte("?"))
	}
	w.put(object.SlotName("00000000000000aa", false), []byte("no slot"))
	slot, err := seal.SealSlot(w.thief.Keys(), seal.KeyFile([32]byte{66}), seal.Cost{})
	if err != nil {
		t.Fatal(err)
	}
	w.put(object.SlotName("00000000000000ab", false), slot)
	w.surviveAll()
}
