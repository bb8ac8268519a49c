package repo_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
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
	second, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: t.TempDir()})
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
