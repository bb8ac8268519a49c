package thief_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// shutOut removes the key that a thief has copied, and rotates the keys. It returns the names of what is in the store
// before new things are.
func (w *world) shutOut(stolen *repo.Repository) []string {
	w.t.Helper()
	id := stolen.Keys().Self().ID
	if err := w.owner.RemoveSlot(w.t.Context(), keyID(id)); err != nil {
		w.t.Fatal(err)
	}
	before := testrepo.Names(w.t, w.store, "")
	if res, err := w.owner.RotateKeys(w.t.Context()); err != nil || res.Left != nil {
		w.t.Fatal(res, err)
	}
	return before
}

func keyID(id [8]byte) string {
	return hex.EncodeToString(id[:])
}

// wantBlind tries the stolen keys on everything that is new since.
func (w *world) wantBlind(stolen *repo.Repository, before []string) {
	w.t.Helper()
	keys, opened := stolen.Keys(), 0
	id := keys.RepoID()
	for _, name := range testrepo.Names(w.t, w.store, "") {
		if slices.Contains(before, name) {
			continue
		}
		obj, err := w.store.Get(w.t.Context(), name, 0, -1, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		h, err := seal.ParseHeader(obj)
		if err != nil {
			w.t.Fatal(err)
		}
		switch h.Class {
		case object.Slot:
			if _, err := seal.OpenSlot(obj, seal.KeyFile([32]byte{9, byte(keys.Role())})); err == nil {
				w.t.Errorf("%s opens with the stolen key file", name)
			}
			continue
		case object.DataPack, object.TreePack:
			_, err = pack.OpenDirectory(keys, h.Class, obj)
		case object.Index:
			_, err = index.Decode(keys, obj)
		case object.LogEntry:
			body, _, _ := parity.Body(obj)
			// The rotation itself is the last that the old keys open.
			if _, _, err = keys.Open(h.Class, nil, body); h.Epoch == keys.Epoch().Number && errors.Is(err, seal.ErrDamaged) {
				continue
			}
		default:
			_, _, err = keys.Open(h.Class, seal.BindRepo(id), obj)
		}
		opened++
		if !errors.Is(err, seal.ErrNoKey) {
			w.t.Errorf("%s, of epoch %d, opens with the stolen keys: %v", name, h.Epoch, err)
		}
	}
	if opened < 5 {
		w.t.Errorf("%d objects were tried", opened)
	}
}

// again opens the repository anew with the keys that stay.
func (w *world) again() {
	w.t.Helper()
	w.maintainer = w.reopened(seal.Maintainer)
}

func (w *world) reopened(role seal.Role) *repo.Repository {
	w.t.Helper()
	r, err := repo.Open(w.t.Context(), w.store, repo.OpenOptions{Credential: seal.KeyFile([32]byte{9, byte(role)}), CacheDir: testsys.MemoryDir(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

// TestRotation_StolenWritersKey_AddsNothingMoreAndReadsNothingNew steals a writer's key, keeps a client open and a copy of
// the slot, and comes back after the key was removed and the keys were rotated.
func TestRotation_StolenWritersKey_AddsNothingMoreAndReadsNothingNew(t *testing.T) {
	w := newWorld(t)
	stolen := w.store.Clone()
	atWork, err := w.thief.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, atWork, testrepo.Random(60, 300<<10))
	before := w.shutOut(w.thief)
	w.again()
	if _, err := atWork.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, log.ErrWithdrawn) && !errors.Is(err, log.ErrRotated) {
		t.Errorf("its backup ends with %v", err)
	}
	for _, name := range testrepo.Names(t, w.store, "") {
		if strings.Contains(name, atWork.ID().String()) { // what it has stored itself
			before = append(before, name)
		}
	}
	// Past all that a client checks: an entry at the tail, sealed and signed with what it has.
	for i, e := range []*log.Entry{
		{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest()},
		{Kind: log.KindKeys, Session: sid(2), Signers: []seal.Signer{w.own(seal.Owner)}},
	} {
		st := w.owner.State()
		payload, err := log.EncodeEntry(st.N+1, st.Hash, e)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := parity.Append(w.sign(object.LogEntry, seal.BindLog(w.owner.Keys().RepoID(), st.N+1, st.Hash), payload), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, object.LogName(st.N+1))
		w.put(object.LogName(st.N+1), obj)
		if err := w.owner.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantVoid(i + 1)
	}
	// Its slot put back, as it was and with the keyring of another.
	for _, name := range testrepo.Names(t, stolen, object.KeysPrefix) {
		obj, err := stolen.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(testrepo.Names(t, w.store, ""), name) {
			before = append(before, name)
			w.put(name, obj)
		}
	}
	_, err = repo.Open(t.Context(), w.store, repo.OpenOptions{Credential: seal.KeyFile([32]byte{9, byte(seal.Writer)})})
	if !errors.Is(err, log.ErrRotated) && !errors.Is(err, log.ErrWithdrawn) {
		t.Errorf("the stolen key opens the repository: %v", err)
	}
	w.surviveAll()
	w.wantBlind(w.thief, before)
	// All others have gone on as before, and the next rotation takes the rest away.
	before = append(before, testrepo.Names(t, w.store, "")...)
	if res, err := w.owner.RotateKeys(t.Context()); err != nil || res.Left != nil || len(res.Lost) != 0 {
		t.Fatal(res, err)
	}
	w.again()
	w.surviveAll()
	w.wantBlind(w.thief, before)
}

// TestRotation_PacksLeftByAStolenKey_AreNotAdopted leaves a pack that looks like the rest of a backup that was cut off, with
// other bytes under the id of a chunk that is yet to be backed up.
func TestRotation_PacksLeftByAStolenKey_AreNotAdopted(t *testing.T) {
	w := newWorld(t)
	for round, part := range [][]byte{testrepo.Random(63, 300<<10), testrepo.Random(64, 300<<10)} {
		leave := func(sid object.SessionID) {
			w.pack(object.DataPack, sid, []blob{{w.thief.BlobID(object.DataBlob, part), []byte("x")}})
			if err := w.thief.PutSign(t.Context(), sid, 1, "h"); err != nil {
				t.Fatal(err)
			}
		}
		if round == 1 { // before the second round the thief is shut out; the first one shows that the packs would do
			leave(sid(8))
			w.shutOut(w.thief)
		}
		leave(sid(byte(9 + round)))
		snap := testrepo.CommitFile(t, w.owner, part)
		got, err := testrepo.ReadFile(t, testrepo.Open(t, w.store), snap)
		if whole := err == nil && bytes.Equal(got, part); whole != (round == 1) {
			t.Errorf("round %d: the chunk is whole: %t, %v", round, whole, err)
		}
	}
}

// TestRotation_StolenMaintainersKey_ForgesNoState has a maintainer's key write checkpoints after it was shut out: of a
// repository without snapshots, so that a collection would free everything.
func TestRotation_StolenMaintainersKey_ForgesNoState(t *testing.T) {
	w := newWorld(t)
	stolen := w.maintainer
	other := w.clientOf(seal.Maintainer, 78)
	before := w.shutOut(stolen)
	if _, err := stolen.Forget(t.Context(), []object.SessionID{w.honest[0].snap.ID}); !errors.Is(err, log.ErrWithdrawn) && !errors.Is(err, log.ErrRotated) {
		t.Errorf("it forgets: %v", err)
	}
	if _, err := gc.Run(t.Context(), stolen, gc.Options{}, gc.Events{}); err == nil {
		t.Error("it collects")
	}
	forge := func(name string, n uint64, hash object.Hash, epoch seal.Epoch) {
		payload, err := log.EncodeState(&log.State{N: n, Hash: hash, Signers: w.owner.State().Signers, Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		keys := stolen.Keys()
		bind := seal.BindCheckpoint(keys.RepoID(), n)
		body, err := keys.SignBody(object.Checkpoint, bind, payload)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := keys.Seal(object.Checkpoint, nil, bind, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.Delete(t.Context(), object.CheckpointName(n)); err != nil {
			t.Log(err) // there was none
		}
		before = append(before, object.CheckpointName(n))
		w.put(object.CheckpointName(n), obj)
		if got := len(testrepo.Open(t, w.store).State().Snapshots); got != len(w.honest) {
			t.Fatalf("%s: %d snapshots", name, got)
		}
	}
	st := w.owner.State()
	forge("of the tail, in its epoch", st.N, st.Hash, stolen.Keys().Epoch())
	w.backUp(testrepo.Random(61, 300<<10))
	st = w.owner.State()
	forge("of the tail, in the new epoch", st.N, st.Hash, st.Epoch)
	forge("of an entry to come", st.N+1, object.Hash{1}, stolen.Keys().Epoch())
	w.maintainer, _ = repo.Open(t.Context(), w.store, repo.OpenOptions{Credential: seal.KeyFile([32]byte{78, byte(seal.Maintainer)}), CacheDir: testsys.MemoryDir(t)})
	if w.maintainer == nil {
		t.Fatal("the other maintainer's key does not open the repository")
	}
	defer w.maintainer.Close()
	if err := other.Refresh(t.Context()); !errors.Is(err, log.ErrRotated) {
		t.Errorf("its client with old keys: %v", err)
	}
	w.surviveAll()
	w.wantBlind(stolen, before)
}

// TestRotation_OlderStateOfTheStore_IsNoticedByWhoeverSawIt puts the store back to before the rotation.
func TestRotation_OlderStateOfTheStore_IsNoticedByWhoeverSawIt(t *testing.T) {
	w := newWorld(t)
	old := w.store.Clone()
	cache := t.TempDir()
	before := w.shutOut(w.thief)
	w.backUp(testrepo.Random(62, 1000))
	r, err := repo.Open(t.Context(), w.store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Open(t.Context(), old, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache}); !errors.Is(err, log.ErrRollback) {
		t.Errorf("opened with %v, want ErrRollback", err)
	}
	w.wantBlind(w.thief, before)
}

// TestSlots_WithKeysOfTheThief_AreNotOpened puts slots into the store that are the maintainer's in front, and hold a keyring
// that the thief has made, or another's.
func TestSlots_WithKeysOfTheThief_AreNotOpened(t *testing.T) {
	w := newWorld(t)
	thiefs, err := seal.NewKeyring(w.thief.Keys().RepoID())
	if err != nil {
		t.Fatal(err)
	}
	forged := 0
	for _, name := range testrepo.Names(t, w.store, object.KeysPrefix) {
		obj, err := w.store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := seal.ParseSlot(obj)
		if err != nil {
			t.Fatal(err)
		}
		victim, ok := w.newest().Signers[info.Key] // everybody who reads the log has the public keys
		if !ok || strings.HasSuffix(name, ".copy") {
			continue
		}
		bad, err := thiefs.RenewSlot(obj, victim)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			w.put(object.SlotName(fmt.Sprintf("%016x", forged), i == 1), bad)
		}
		forged++
	}
	if forged != 3 {
		t.Fatalf("%d slots", forged)
	}
	if _, err := w.thief.RotateKeys(t.Context()); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("the thief rotates the keys: %v", err)
	}
	for _, role := range []seal.Role{seal.Maintainer, seal.Writer} {
		w.reopened(role)
	}
	if res, err := w.owner.RotateKeys(t.Context()); err != nil || len(res.Renewed) != 3 {
		t.Fatal(res, err)
	}
	w.again()
	w.thief = w.reopened(seal.Writer)
	w.surviveAll()
	if rep, err := check.Run(t.Context(), testrepo.Open(t, w.store), check.Options{}, check.Events{}); err != nil || rep.Damaged() != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}
