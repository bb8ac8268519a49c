package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// stocked is a repository with a snapshot in it, and an unfinished session with a pack.
func stocked(t *testing.T) (r *repo.Repository, store *mem.Store, orphan object.SessionID) {
	t.Helper()
	r, store = testrepo.New(t)
	at := newSite(t)
	at.fill(1 << 20)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	s.mustBackUp(t, at.root)
	s.finish(t)
	session, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	testrepo.Save(t, session, object.DataBlob, at.bytes(1<<20))
	if err := session.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, store, session.ID()
}

// one returns the name of an object below a prefix, of a session or of any other.
func one(t *testing.T, store *mem.Store, prefix string, of object.SessionID, same bool) string {
	t.Helper()
	for _, name := range testrepo.Names(t, store, prefix) {
		ref, err := object.ParseRef(name)
		if err != nil || (ref.Session == of) == same {
			return name
		}
	}
	t.Fatalf("nothing below %s", prefix)
	return ""
}

func TestGate_WhatACommandMayDo_AndNothingElse(t *testing.T) {
	r, store, orphan := stocked(t)
	pack := one(t, store, object.DataPrefix, orphan, false)
	tree := one(t, store, object.TreePrefix, orphan, false)
	lost := one(t, store, object.DataPrefix, orphan, true)
	index := one(t, store, object.IndexPrefix, orphan, false)
	slot := one(t, store, object.KeysPrefix, orphan, false)
	ended, err := object.ParseRef(pack)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("some bytes")
	ref := func(c object.Class, sid object.SessionID) string {
		return object.Ref{Class: c, Session: sid, Hash: object.Sum(text)}.Name()
	}
	sid := object.SessionID{1, 2, 3}
	sealed := r.State().Snapshots[ended.Session].Manifest.Origin

	get := func(name string) request { return request{Op: opGet, Name: name, Length: -1} }
	list := func(name string) request { return request{Op: opList, Name: name} }
	put := func(name string) request { return request{Op: opPut, Name: name} }
	cases := []struct {
		q                       request
		body                    []byte
		backup, update, restore bool
	}{
		{q: get(object.ConfigName), backup: true, restore: true},
		{q: get(object.LogName(2)), backup: true, restore: true},
		{q: get(slot)},
		{q: get(index)},
		{q: get(pack), restore: true},
		{q: get(tree), update: true, restore: true},
		{q: get(lost), backup: true, restore: true},
		{q: get("records/x")},
		{q: list(object.LogPrefix), backup: true, restore: true},
		{q: list(object.SessionsPrefix), backup: true},
		{q: list(object.DataPrefix + sid.String()), backup: true},
		{q: list("")},
		{q: list(object.KeysPrefix)},
		{q: list(object.RecordsPrefix)},
		{q: request{Op: opDelete, Name: pack}},
		{q: request{Op: opDelete, Name: lost}},
		{q: put(ref(object.DataPack, sid)), body: text, backup: true},
		{q: put(ref(object.TreePack, sid)), body: text, backup: true},
		{q: put(ref(object.Index, sid)), body: text}, // it can not be read
		{q: put(ref(object.Parity, sid)), body: text, backup: true},
		{q: put(ref(object.Record, sid)), body: text},
		{q: put(ref(object.DataPack, ended.Session)), body: text},
		{q: put(ref(object.DataPack, object.SessionID{9})), body: []byte("other bytes")},
		{q: put(object.SignName(sid, 0)), body: text, backup: true},
		{q: put(object.SignName(sid, 1)), body: make([]byte, maxSign+1)},
		{q: put(object.ConfigName), body: text},
		{q: put(object.CheckpointName(7)), body: text},
		{q: put(object.SlotName("0123456789abcdef", false)), body: text},
		{q: put("quarantine/x"), body: text},
		{q: put(object.LogName(r.State().N + 1)), body: text},
		{q: put(object.LogName(r.State().N + 9)), body: text},
		{q: request{Op: opSecret, Kind: uint8(sealed.Kind), Number: uint64(sealed.Epoch)}, body: sealed.Sealed, update: true, restore: true},
		{q: request{Op: opSecret, Kind: uint8(seal.Data), Number: uint64(sealed.Epoch)}, body: dataSecret(t, r, lost), restore: true},
		{q: request{Op: opIndex, Number: r.State().N, Hash: append([]byte{}, hashOf(r)...)}, backup: true, restore: true},
	}
	for _, purpose := range []Purpose{Backup, Update, Restore} {
		clone := store.Clone()
		s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: testrepo.Open(t, clone), Purpose: purpose})
		for _, c := range cases {
			allowed := map[Purpose]bool{Backup: c.backup, Update: c.backup || c.update, Restore: c.restore}[purpose]
			before := len(testrepo.Names(t, clone, ""))
			q := c.q
			_, _, err := s.peer.calls.do(t.Context(), &q, c.body, nil, false)
			if allowed != (err == nil) || !allowed && !errors.Is(err, ErrDenied) {
				t.Errorf("%v %s for purpose %d, which is allowed: %v: %v", q.Op, q.Name, purpose, allowed, err)
			}
			after := len(testrepo.Names(t, clone, ""))
			if more := allowed && q.Op == opPut; (after == before) == more || !more && after != before {
				t.Errorf("%v %s for purpose %d: %d objects, %d before", q.Op, q.Name, purpose, after, before)
			}
		}
	}
}

// dataSecret returns the sealed secret of a data pack.
func dataSecret(t *testing.T, r *repo.Repository, name string) []byte {
	t.Helper()
	return directoryOf(t, r, name).Origins[0].Sealed
}

// directoryOf returns what a pack holds.
func directoryOf(t *testing.T, r *repo.Repository, name string) *pack.Directory {
	t.Helper()
	ref, err := object.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := r.Store().Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := r.LoadDirectory(t.Context(), ref, int64(len(obj)))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func hashOf(r *repo.Repository) []byte {
	h := r.State().Hash
	return h[:]
}

// TestGate_EntriesOfOtherKinds_AreNeitherSignedNorPut has the far side ask for what a stolen pen would be good for.
func TestGate_EntriesOfOtherKinds_AreNeitherSignedNorPut(t *testing.T) {
	r, _, _ := stocked(t)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	there := s.open(t)
	var victim object.SessionID
	for id := range there.State().Snapshots {
		victim = id
	}
	for name, e := range map[string]log.Entry{
		"forget":  {Kind: log.KindForget, Snapshots: []object.SessionID{victim}},
		"pin":     {Kind: log.KindPin, Snapshots: []object.SessionID{victim}, Pinned: true},
		"keys":    {Kind: log.KindKeys, Signers: []seal.Signer{there.Keys().Self()}},
		"collect": {Kind: log.KindCollect, Session: object.SessionID{5}},
	} {
		_, err := there.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return &e, nil })
		if err == nil {
			t.Errorf("%s: it is in the log", name)
		}
	}
	// Past what a client that means well would refuse itself.
	n, prev := there.State().N+1, there.State().Hash
	bind := seal.BindLog(there.Keys().RepoID(), n, prev)
	for name, e := range map[string]*log.Entry{
		"forget":       {Kind: log.KindForget, Snapshots: []object.SessionID{victim}},
		"other number": {Kind: log.KindSnapshot, Session: object.SessionID{5}},
	} {
		at := n
		if name == "other number" {
			at++
		}
		payload, err := log.EncodeEntry(at, prev, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Keys().Sign(object.LogEntry, bind, payload); !errors.Is(err, ErrDenied) {
			t.Errorf("%s was signed: %v", name, err)
		}
	}
	for _, class := range []object.Class{object.Config, object.Checkpoint, object.Record, object.Slot} {
		if _, err := there.Keys().Sign(class, bind, []byte("x")); !errors.Is(err, ErrDenied) {
			t.Errorf("what is of class %v was signed: %v", class, err)
		}
	}
	if n := r.State().N; there.State().N != n {
		t.Errorf("entry %d, and %d here", there.State().N, n)
	}
}

// TestGate_EntryWithoutItsIndex_IsNotPut has an entry name a segment that is not there: it would stop everybody.
func TestGate_EntryWithoutItsIndex_IsNotPut(t *testing.T) {
	r, _, _ := stocked(t)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	there := s.open(t)
	before := there.State()
	var like *log.Snapshot
	for _, s := range before.Snapshots {
		like = s
	}
	commit := func(segments ...log.PackRef) error {
		_, err := there.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
			return &log.Entry{Kind: log.KindSnapshot, Session: object.SessionID{7}, Run: object.SessionID{7}, Manifest: like.Manifest, Index: segments}, nil
		})
		return err
	}
	missing := object.Ref{Class: object.Index, Session: object.SessionID{7}, Hash: object.Sum([]byte("nothing"))}
	if err := commit(log.PackRef{Ref: missing, Size: 7}); !errors.Is(err, ErrDenied) {
		t.Errorf("it is in the log: %v", err)
	}
	if err := commit(); err != nil {
		t.Errorf("without it: %v", err)
	}
	if there.State().N != before.N+1 {
		t.Errorf("entry %d after %d", there.State().N, before.N)
	}
}

// TestGate_BlobInVeryManyPlaces_IsNotPut has a segment of the index list one blob more often than any may: everybody who looks for it would
// be held up.
func TestGate_BlobInVeryManyPlaces_IsNotPut(t *testing.T) {
	r, _, orphan := stocked(t)
	k := r.Keys()
	for more, want := range []error{nil, ErrDenied} {
		seg := &index.Segment{
			Packs:    []index.PackRef{{Ref: object.Ref{Class: object.DataPack, Session: orphan}, Size: 1 << 20}},
			Origins:  []*seal.Origin{{Kind: seal.Data, Epoch: 1, Suite: 1, Sealed: make([]byte, 1200)}},
			Segments: []index.PackSegment{{Offset: seal.HeaderSize, Plain: 2000, Stored: 2000 + seal.Overhead}},
		}
		for i := range index.MaxPlaces + more {
			seg.Blobs = append(seg.Blobs, index.Blob{ID: object.BlobID{1}, Offset: uint32(i), Length: 1})
		}
		ids, places, sketches, err := index.EncodeColumns(seg)
		if err != nil {
			t.Fatal(err)
		}
		var head []byte
		for _, part := range [][]byte{ids, places, sketches} {
			head = binary.LittleEndian.AppendUint32(head, uint32(len(part)+seal.Overhead))
		}
		env, err := k.NewEnvelope(object.Index, head, seal.BindRepo(k.RepoID()))
		if err != nil {
			t.Fatal(err)
		}
		obj := append([]byte{}, env.Header()...)
		for i, part := range [][]byte{ids, places, sketches} {
			obj = env.SealPart(obj, uint64(i), part)
		}
		g := &gate{repo: r, purpose: Backup}
		name := object.Ref{Class: object.Index, Session: orphan, Hash: object.Sum(obj)}.Name()
		if err := g.put(t.Context(), name, obj); !errors.Is(err, want) {
			t.Errorf("%d places: %v, want %v", len(seg.Blobs), err, want)
		}
	}
}

func TestGate_ReaderHasNoPen_WriterNoGlasses(t *testing.T) {
	r, _, _ := stocked(t)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	there := s.open(t)
	if there.Keys().CanRead(seal.Data) || there.Keys().CanRead(seal.Meta) || there.Keys().Role() != seal.Writer {
		t.Error("for a backup it reads")
	}
	if _, err := there.Snapshots(t.Context()); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("it reads snapshots: %v", err)
	}
	s.finish(t)
	s = serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Restore})
	there = s.open(t)
	if _, err := there.Snapshots(t.Context()); err != nil {
		t.Error(err)
	}
	session, err := there.NewSession(t.Context(), repo.SessionOptions{})
	if err == nil {
		testrepo.Save(t, session, object.DataBlob, []byte("x"))
		_, err = session.Commit(repo.CommitOptions{Manifest: new(repo.Manifest)})
	}
	if !errors.Is(err, ErrDenied) && !errors.Is(err, backends.ErrDenied) {
		t.Errorf("for a restore it writes: %v", err)
	}
	s.finish(t)
}
