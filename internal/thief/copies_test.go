package thief_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// dataPack returns the one data pack of a session, and its bytes.
func (w *world) dataPack(sid object.SessionID) (object.Ref, []byte) {
	w.t.Helper()
	names := testrepo.Names(w.t, w.store, object.DataPrefix+sid.String())
	if len(names) != 1 {
		w.t.Fatalf("packs %v", names)
	}
	ref, err := object.ParseRef(names[0])
	if err != nil {
		w.t.Fatal(err)
	}
	obj, err := w.store.Get(w.t.Context(), names[0], 0, -1, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return ref, obj
}

// putCopy puts a copy of a pack in the name of a session, with other bytes where its first segment is. That takes no key: header and directory are
// as they were, parity is made anew, and the hash is right. It comes before the pack itself in a listing.
func (w *world) putCopy(ref object.Ref, obj []byte, sid object.SessionID) {
	w.t.Helper()
	body, value, ok := parity.Body(obj)
	if !ok {
		w.t.Fatal("a pack without parity")
	}
	body = slices.Clone(body)
	fake := object.Ref{Class: ref.Class, Session: sid}
	for i := range 1 << 12 {
		body[seal.HeaderSize+i%64]++
		var err error
		if obj, err = parity.Append(slices.Clone(body), value, pack.DefaultParity); err != nil {
			w.t.Fatal(err)
		}
		if fake.Hash = object.Sum(obj); bytes.Compare(fake.Hash[:], ref.Hash[:]) < 0 {
			break
		}
	}
	w.put(fake.Name(), obj)
}

// TestPacks_CopiedWithOtherSegments_AreNotAdopted has somebody without a key, who may read and put objects, leave copies of packs in which the
// segments are no more what they were. A backup that adopted one would rely on it for what only its directory says.
func TestPacks_CopiedWithOtherSegments_AreNotAdopted(t *testing.T) {
	for name, leave := range map[string]func(w *world, part []byte){
		"beside what a backup left that was cut off": func(w *world, part []byte) {
			dead, err := w.owner.NewSession(t.Context(), repo.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			testrepo.Manifest(t, dead, part)
			if err := dead.Flush(); err != nil {
				t.Fatal(err)
			}
			ref, obj := w.dataPack(dead.ID())
			w.putCopy(ref, obj, dead.ID())
		},
		"of a pack that was collected, in the name of a session that never was": func(w *world, part []byte) {
			gone := testrepo.CommitFile(t, w.owner, part)
			ref, obj := w.dataPack(gone.ID)
			sign, err := w.store.Get(t.Context(), object.SignName(gone.ID, 0), 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.refresh()
			if _, err := w.maintainer.Forget(t.Context(), []object.SessionID{gone.ID}); err != nil {
				t.Fatal(err)
			}
			w.prune()
			w.putCopy(ref, obj, sid(1))
			w.put(object.SignName(sid(1), 0), sign)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			part := testrepo.Random(420, 300<<10)
			leave(w, part)
			w.backUp(part)
			w.surviveAll()
		})
	}
}
