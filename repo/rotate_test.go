package repo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

func keyOf(n byte) seal.Credential { return seal.KeyFile([32]byte{n, 0xcc}) }

// addKey adds a key that the credential opens.
func addKey(t *testing.T, r *repo.Repository, role seal.Role, name string, c seal.Credential) string {
	t.Helper()
	id, err := r.AddSlot(t.Context(), repo.NewSlot{Role: role, Name: name, Credential: c})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// openWith opens the repository as a client that has never seen it.
func openWith(t *testing.T, store backends.Store, c seal.Credential) (*repo.Repository, error) {
	t.Helper()
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: c, CacheDir: testsys.MemoryDir(t)})
	if err == nil {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r, err
}

func mustOpen(t *testing.T, store backends.Store, c seal.Credential) *repo.Repository {
	t.Helper()
	r, err := openWith(t, store, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustRotate(t *testing.T, r *repo.Repository) *repo.Rotated {
	t.Helper()
	res, err := r.RotateKeys(t.Context())
	if err != nil || res.Left != nil {
		t.Fatal(res, err)
	}
	return res
}

// epochOf is the epoch of an object.
func epochOf(t *testing.T, store backends.Store, name string) uint32 {
	t.Helper()
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := seal.ParseHeader(obj)
	if err != nil {
		t.Fatal(err)
	}
	return h.Epoch
}

// TestRotateKeys_AllKeysThatStay_GoOnWithoutBeingTouched rotates twice. What is stored then is sealed with new keys.
func TestRotateKeys_AllKeysThatStay_GoOnWithoutBeingTouched(t *testing.T) {
	owner, store := testrepo.New(t)
	addKey(t, owner, seal.Writer, "web1", keyOf(1))
	addKey(t, owner, seal.Maintainer, "", keyOf(2))
	pass := seal.Passphrase([]byte("p"))
	if _, err := owner.AddSlot(t.Context(), repo.NewSlot{Role: seal.Owner, Credential: pass, Cost: seal.Cost{Time: 1, Memory: 64, Threads: 1}}); err != nil {
		t.Fatal(err)
	}
	first := testrepo.CommitFile(t, owner, []byte("before"), testrepo.Random(1, 300<<10))
	for round := uint32(2); round <= 3; round++ {
		if res := mustRotate(t, owner); res.Epoch != round || len(res.Renewed) != 4 || len(res.Lost) != 0 {
			t.Fatalf("%+v", res)
		}
		if n := len(testrepo.Names(t, store, object.KeysPrefix)); n != 8 {
			t.Errorf("%d slot objects of 4 keys", n)
		}
		before := testrepo.Names(t, store, "")
		writer := mustOpen(t, store, keyOf(1))
		part := testrepo.Random(uint64(round), 300<<10)
		snap := testrepo.CommitFile(t, writer, part, []byte("before"))
		for _, name := range testrepo.Names(t, store, "") {
			if !slices.Contains(before, name) && epochOf(t, store, name) != round {
				t.Errorf("%s is sealed in epoch %d", name, epochOf(t, store, name))
			}
		}
		for _, c := range []seal.Credential{testrepo.Credential, pass} {
			r := mustOpen(t, store, c)
			for _, s := range []*repo.Snapshot{first, snap} {
				if _, err := testrepo.ReadFile(t, r, s); err != nil {
					t.Errorf("epoch %d: %v", round, err)
				}
			}
		}
		if all, err := mustOpen(t, store, keyOf(2)).Snapshots(t.Context()); err != nil || len(all) != int(round) {
			t.Errorf("%d snapshots, %v", len(all), err)
		}
		// The client that has rotated goes on, too.
		testrepo.CommitFile(t, owner, testrepo.Random(uint64(10+round), 300<<10))
		if name := object.LogName(owner.State().N); epochOf(t, store, name) != round {
			t.Errorf("%s is of epoch %d", name, epochOf(t, store, name))
		}
		if gone, err := owner.Forget(t.Context(), []object.SessionID{snap.ID}); err != nil || len(gone) != 1 {
			t.Fatal(gone, err)
		}
	}
	if blob := owner.BlobID(object.DataBlob, []byte("before")); blob != mustOpen(t, store, keyOf(1)).BlobID(object.DataBlob, []byte("before")) {
		t.Error("blobs have other ids")
	}
}

func TestRotateKeys_RemovedKey_GetsNothing(t *testing.T) {
	owner, store := testrepo.New(t)
	id := addKey(t, owner, seal.Writer, "web1", keyOf(1))
	slots := testrepo.Names(t, store, object.KeysPrefix)
	kept := store.Clone()
	thief := mustOpen(t, store, keyOf(1))
	if err := owner.RemoveSlot(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := thief.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	forget := func(context.Context, *log.State) (*log.Entry, error) { return &log.Entry{Kind: log.KindForget}, nil }
	if _, err := thief.Commit(t.Context(), forget); !errors.Is(err, log.ErrWithdrawn) {
		t.Errorf("the removed key commits: %v", err)
	}
	for _, name := range slots { // it puts its slot back
		obj, err := kept.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Put(t.Context(), name, obj); err != nil && !errors.Is(err, backends.ErrExist) {
			t.Fatal(err)
		}
	}
	if _, err := openWith(t, store, keyOf(1)); !errors.Is(err, log.ErrWithdrawn) {
		t.Errorf("the removed key opens the repository: %v", err)
	}
	listed, err := owner.Slots(t.Context())
	if err != nil || len(listed) != 2 || !slices.ContainsFunc(listed, func(s repo.Slot) bool { return s.ID == id && s.Role == 0 }) {
		t.Errorf("listed: %+v, %v", listed, err)
	}
	mustRotate(t, owner)
	if err := thief.Refresh(t.Context()); !errors.Is(err, log.ErrRotated) {
		t.Errorf("it reads on: %v", err)
	}
	if n := len(testrepo.Names(t, store, object.KeysPrefix)); n != 2 {
		t.Errorf("%d slot objects", n)
	}
	if _, err := openWith(t, store, keyOf(1)); !errors.Is(err, repo.ErrWrongKey) {
		t.Errorf("it opens the repository: %v", err)
	}
}

// TestRotateKeys_WriterAtWork_IsTurnedAwayAndComesBack has a session open while the keys are rotated.
func TestRotateKeys_WriterAtWork_IsTurnedAwayAndComesBack(t *testing.T) {
	owner, store := testrepo.New(t)
	addKey(t, owner, seal.Writer, "web1", keyOf(1))
	writer := mustOpen(t, store, keyOf(1))
	s, err := writer.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := testrepo.Random(4, 300<<10)
	m := testrepo.Manifest(t, s, part)
	mustRotate(t, owner)
	n := owner.State().N
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, log.ErrRotated) {
		t.Fatalf("committed with %v", err)
	}
	if err := owner.Refresh(t.Context()); err != nil || owner.State().N != n {
		t.Fatalf("it left an entry: %d after %d, %v", owner.State().N, n, err)
	}
	again := mustOpen(t, store, keyOf(1))
	snap := testrepo.CommitFile(t, again, part)
	if _, err := testrepo.ReadFile(t, mustOpen(t, store, testrepo.Credential), snap); err != nil {
		t.Error(err)
	}
}

// TestRotateKeys_SessionOfAClientWithBothKeys_BeginsAgain has a client open a slot that a rotation has put before its entry.
// It goes on after that, but not with what it has stored with the old keys.
func TestRotateKeys_SessionOfAClientWithBothKeys_BeginsAgain(t *testing.T) {
	init, inner := testrepo.New(t)
	addKey(t, init, seal.Writer, "w", keyOf(1))
	store := fault.New(inner)
	rotating := mustOpen(t, store, testrepo.Credential)
	var writer *repo.Repository
	var s *repo.Session
	var m *repo.Manifest
	part := testrepo.Random(5, 300<<10)
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Hook(func(context.Context, fault.Call) (err error) {
		writer = mustOpen(t, inner, keyOf(1))
		if s, err = writer.NewSession(t.Context(), repo.SessionOptions{}); err != nil {
			return err
		}
		m = testrepo.Manifest(t, s, part)
		return nil
	}))
	mustRotate(t, rotating)
	if err := writer.Refresh(t.Context()); err != nil || writer.Keys().Epoch().Number != 2 {
		t.Fatalf("the client has keys up to epoch %d, %v", writer.Keys().Epoch().Number, err)
	}
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, repo.ErrStale) {
		t.Fatalf("committed with %v", err)
	}
	before := testrepo.Names(t, inner, "")
	testrepo.CommitFile(t, writer, part)
	for _, name := range testrepo.Names(t, inner, "") {
		if !slices.Contains(before, name) && epochOf(t, inner, name) != 2 {
			t.Errorf("%s is sealed in epoch %d", name, epochOf(t, inner, name))
		}
	}
	for ref := range writer.State().Packs {
		if epochOf(t, inner, ref.Name()) != 2 {
			t.Errorf("%v is of the old epoch", ref)
		}
	}
}

// TestRotateKeys_TwoOwnersAtATime_OneDoes lets the second one begin before the first one's entry.
func TestRotateKeys_TwoOwnersAtATime_OneDoes(t *testing.T) {
	first, store := testrepo.New(t)
	addKey(t, first, seal.Owner, "", keyOf(1))
	addKey(t, first, seal.Writer, "", keyOf(2))
	second := mustOpen(t, store, keyOf(1))
	mustRotate(t, first)
	if _, err := second.RotateKeys(t.Context()); !errors.Is(err, log.ErrRotated) {
		t.Errorf("the second: %v", err)
	}
	if n := len(testrepo.Names(t, store, object.KeysPrefix)); n != 6 {
		t.Errorf("%d slot objects of 3 keys", n)
	}
	if _, err := second.AddSlot(t.Context(), repo.NewSlot{Role: seal.Writer, Credential: keyOf(3)}); !errors.Is(err, log.ErrRotated) {
		t.Errorf("it adds a key: %v", err)
	}
	if _, err := second.ReplaceSlot(t.Context(), keyOf(4), seal.Cost{}); !errors.Is(err, log.ErrRotated) {
		t.Errorf("it changes its password: %v", err)
	}
	if n := len(testrepo.Names(t, store, object.KeysPrefix)); n != 6 {
		t.Errorf("%d slot objects of 3 keys, after changes that were refused", n)
	}
	for n := byte(1); n <= 2; n++ {
		mustOpen(t, store, keyOf(n))
	}
	if res := mustRotate(t, mustOpen(t, store, keyOf(1))); res.Epoch != 3 {
		t.Errorf("%+v", res)
	}
}

// TestRotateKeys_DiesWithItsEntry_WhoeverChangedThePasswordHasNewKeys changes a password at each point of a rotation that
// ends with its entry: nobody renews slots after it.
func TestRotateKeys_DiesWithItsEntry_WhoeverChangedThePasswordHasNewKeys(t *testing.T) {
	changed, refused, died := 0, 0, 0
	for point, more := 1, true; more; point++ {
		init, inner := testrepo.New(t)
		addKey(t, init, seal.Owner, "o", keyOf(1))
		store := fault.New(inner)
		rotating, own := mustOpen(t, store, keyOf(1)), mustOpen(t, inner, keyOf(1))
		var err error
		more = false
		store.Inject(fault.On(fault.Put, fault.Delete, fault.List).Nth(point).Hook(func(ctx context.Context, _ fault.Call) error {
			more = true
			_, err = own.ReplaceSlot(ctx, keyOf(4), seal.Cost{})
			return nil
		}), fault.On(fault.Put).Prefix(object.LogPrefix).After(errors.New("dead")).Die())
		if _, rerr := rotating.RotateKeys(t.Context()); rerr != nil { // but where the point is the entry itself
			died++
		}
		if !more {
			break
		}
		opens := keyOf(4)
		switch {
		case err == nil:
			changed++
		case errors.Is(err, repo.ErrRotating) || errors.Is(err, log.ErrRotated):
			refused++
			opens = keyOf(1)
		default:
			t.Fatal(err)
		}
		if r, oerr := openWith(t, inner, opens); oerr != nil {
			t.Fatalf("changed at %d with %v; then: %v", point, err, oerr)
		} else if r.State().Epoch.Number != 2 {
			t.Fatalf("changed at %d: the rotation has not come", point)
		}
	}
	t.Logf("changed %d times, refused %d times, died %d times", changed, refused, died)
	if changed == 0 || refused == 0 || died < changed+refused-1 {
		t.Error("that shows nothing")
	}
}

// wantNoStrangers fails when a slot has the keys that count now and is of no key that the log names.
func wantNoStrangers(t *testing.T, store *mem.Store) {
	t.Helper()
	st := mustOpen(t, store, testrepo.Credential).State()
	for _, name := range testrepo.Names(t, store, object.KeysPrefix) {
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := seal.ParseSlot(obj)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := st.Signers[info.Key]; !ok && info.Epoch >= st.Epoch.Number {
			t.Errorf("%s, of no key, has the keys of epoch %d", name, info.Epoch)
		}
	}
}

// TestRotateKeys_KeysChangeBeside_NobodyIsLockedOutAndNobodyGetsIn puts each change of a key at each point of a rotation.
func TestRotateKeys_KeysChangeBeside_NobodyIsLockedOutAndNobodyGetsIn(t *testing.T) {
	done, points, step := map[string]int{}, 0, 1
	if testing.Short() { // all of it is in one goroutine
		step = 20
	}
	for _, what := range []string{"add", "remove", "passwd", "rotate"} {
		for point, more := 1, true; more; point += step {
			t.Run(fmt.Sprint(what, " ", point), func(t *testing.T) {
				more = false // also where it ends early
				init, inner := testrepo.New(t)
				writer := addKey(t, init, seal.Writer, "w", keyOf(1))
				addKey(t, init, seal.Owner, "o", keyOf(2))
				store := fault.New(inner)
				rotating := mustOpen(t, store, testrepo.Credential)
				other, own := mustOpen(t, inner, keyOf(2)), mustOpen(t, inner, keyOf(1))
				var err error
				ran := false
				store.Inject(fault.On(fault.Put, fault.Delete, fault.List).Nth(point).Hook(func(ctx context.Context, _ fault.Call) error {
					ran = true
					switch what {
					case "add":
						_, err = other.AddSlot(ctx, repo.NewSlot{Role: seal.Writer, Credential: keyOf(3)})
					case "remove":
						err = other.RemoveSlot(ctx, writer)
					case "passwd":
						_, err = own.ReplaceSlot(ctx, keyOf(4), seal.Cost{})
					case "rotate":
						_, err = other.RotateKeys(ctx)
					}
					return nil
				}))
				_, rerr := rotating.RotateKeys(t.Context())
				more = ran
				points++
				if err != nil && !errors.Is(err, log.ErrRotated) && !errors.Is(err, repo.ErrRotating) {
					t.Fatalf("%s: %v", what, err)
				}
				if rerr != nil && !errors.Is(rerr, log.ErrRotated) {
					t.Fatalf("rotate: %v", rerr)
				}
				if rerr != nil && err != nil {
					t.Fatalf("both failed: %v, %v", rerr, err)
				}
				if ran && err == nil {
					done[what]++
				}
				ok := func(c seal.Credential, want bool, who string) {
					t.Helper()
					r, oerr := openWith(t, inner, c)
					if (oerr == nil) != want {
						t.Fatalf("%s at %d, %v: %s opens: %v", what, point, err, who, oerr)
					}
					if oerr == nil && who != "who rotated" {
						testrepo.CommitFile(t, r, []byte(who))
					}
				}
				wantNoStrangers(t, inner)
				ok(testrepo.Credential, true, "who rotated")
				ok(keyOf(2), true, "the other owner")
				did := ran && err == nil
				ok(keyOf(3), what == "add" && did, "the new key")
				ok(keyOf(4), what == "passwd" && did, "the new password")
				ok(keyOf(1), !did || what == "add" || what == "rotate", "the writer")
			})
		}
	}
	t.Logf("%d points, done beside: %v", points, done)
	if done["add"] == 0 || done["remove"] == 0 || done["passwd"] == 0 || done["rotate"] == 0 {
		t.Errorf("done beside: %v", done)
	}
}

// TestOpen_OtherPublicKeysInTheRightEpoch_AreRefused has a slot made by somebody who has the owners' key and the secret
// of the epoch: the ring has its number, and keys of his own to which the writer would seal what it stores.
func TestOpen_OtherPublicKeysInTheRightEpoch_AreRefused(t *testing.T) {
	owner, store := testrepo.New(t)
	id := addKey(t, owner, seal.Writer, "", keyOf(1))
	raw, err := owner.Keys().Encode()
	if err != nil {
		t.Fatal(err)
	}
	strange, err := seal.NewKeyring(owner.Keys().RepoID())
	if err != nil {
		t.Fatal(err)
	}
	other, err := strange.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]uint64{{}, {3, 4}, {5, 6}, {7, 8}} { // public and private, of a keyring's epoch
		var forged, from map[uint64]any
		if err := errors.Join(wire.Unmarshal(raw, &forged), wire.Unmarshal(other, &from)); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			epoch(forged)[key] = epoch(from)[key]
		}
		bytes, err := wire.Marshal(forged)
		if err != nil {
			t.Fatal(err)
		}
		forger, err := seal.DecodeKeyring(bytes)
		if err != nil {
			t.Fatal(err)
		}
		there := store.Clone()
		for _, name := range testrepo.Names(t, there, object.KeysPrefix) {
			slot, err := there.Get(t.Context(), name, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			info, err := seal.ParseSlot(slot)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%x", info.Key) != id {
				continue
			}
			if slot, err = forger.RenewSlot(slot, owner.State().Signers[info.Key]); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(there.Delete(t.Context(), name), there.Put(t.Context(), name, slot)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openWith(t, there, keyOf(1)); len(keys) == 0 && err != nil || len(keys) > 0 && !errors.Is(err, log.ErrRotated) {
			t.Errorf("with other keys %d: %v", keys, err)
		}
	}
}

// epoch is the one epoch of a keyring.
func epoch(keyring map[uint64]any) map[any]any { return keyring[5].([]any)[0].(map[any]any) }
