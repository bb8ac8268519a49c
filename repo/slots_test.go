package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// TestRemoveSlot_OwnersRemoveEachOthers_TheLastStays has two owners at work at once, each of whom removes the other's
// slot: nobody could open the repository any more.
func TestRemoveSlot_OwnersRemoveEachOthers_TheLastStays(t *testing.T) {
	_, store := testrepo.New(t)
	first := testrepo.Open(t, store)
	slots, err := first.Slots(t.Context())
	if err != nil || len(slots) != 1 {
		t.Fatal(slots, err)
	}
	credential := seal.KeyFile([32]byte{7})
	id, err := first.AddSlot(t.Context(), repo.NewSlot{Role: seal.Owner, Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	second, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.RemoveSlot(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := second.RemoveSlot(t.Context(), slots[0].ID); err == nil {
		t.Error("the last slot was removed")
	}
	testrepo.Open(t, store)
}

// TestOpen_SlotsOfUnknownKinds_ArePassedOver has slots as a later kura may make them, listed before the one that opens.
func TestOpen_SlotsOfUnknownKinds_ArePassedOver(t *testing.T) {
	_, store := testrepo.New(t)
	name := testrepo.Names(t, store, object.KeysPrefix)[0]
	slot, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	const kind = seal.HeaderSize + 2 // in the clear part, a map that begins with it
	if slot[kind] != 2 {
		t.Fatalf("no key file's slot: kind %d", slot[kind])
	}
	strange := []byte{0, 3, 4, 23}
	for i, number := range strange {
		other := bytes.Clone(slot)
		other[kind] = number
		for _, second := range []bool{false, true} {
			if err := store.Put(t.Context(), object.SlotName(fmt.Sprintf("%016x", i), second), other); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustOpen(t, store, testrepo.Credential)
	for _, c := range []seal.Credential{keyOf(1), seal.Passphrase([]byte("p"))} {
		if _, err := openWith(t, store, c); !errors.Is(err, repo.ErrWrongKey) || errors.As(err, new(*repo.DamageError)) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if err := store.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	mustRotate(t, mustOpen(t, store, testrepo.Credential)) // from the second copy
	mustOpen(t, store, testrepo.Credential)
}
