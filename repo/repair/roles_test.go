package repair_test

import (
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/records"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// as opens the repository with a key of the role.
func as(t testing.TB, owner *repo.Repository, store *mem.Store, role seal.Role) *repo.Repository {
	t.Helper()
	credential := seal.KeyFile([32]byte{9, byte(role)})
	if _, err := owner.AddSlot(t.Context(), repo.NewSlot{Role: role, Credential: credential}); err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestPacks_Maintainer_MendsWithoutReadingAndDoesNotGuess: what parity mends needs no data key; of a pack beyond
// mending, nobody without the key can tell what is whole, so it is left for the owner.
func TestPacks_Maintainer_MendsWithoutReadingAndDoesNotGuess(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	maintainer := as(t, r, store, seal.Maintainer)
	packs := names(t, store, object.DataPrefix)
	for _, name := range packs {
		flip(t, store, name, 5000)
	}
	res, err := repair.Packs(t.Context(), maintainer, repair.PacksOptions{}, repair.Events{})
	if err != nil || res.Count(repair.Mended) != len(packs) {
		t.Fatalf("%+v, %v", res, err)
	}
	wantWhole(t, store, snap, file())

	var live string
	for ref := range maintainer.State().Packs {
		if ref.Class == object.DataPack {
			live = ref.Name()
		}
	}
	damageBeyondMending(t, store, live)
	before := maintainer.State().N
	res, err = repair.Packs(t.Context(), maintainer, repair.PacksOptions{}, repair.Events{})
	if err != nil || res.Count(repair.Sealed) != 1 || maintainer.State().N != before {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = repair.Packs(t.Context(), testrepo.Open(t, store), repair.PacksOptions{}, repair.Events{})
	if err != nil || res.Count(repair.Salvaged) != 1 {
		t.Errorf("the owner: %+v, %v", res, err)
	}
}

func TestRepair_Writer_IsRefused(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	writer := as(t, r, store, seal.Writer)
	before := writer.State().N
	if _, err := repair.Index(t.Context(), writer, repair.IndexOptions{AllPacks: true}, repair.Events{}); err == nil {
		t.Error("a writer repaired the index")
	}
	if _, err := repair.Packs(t.Context(), writer, repair.PacksOptions{}, repair.Events{}); err == nil {
		t.Error("a writer repaired packs")
	}
	if _, err := repair.Snapshots(t.Context(), writer, repair.SnapshotsOptions{Forget: true}, repair.Events{}); err == nil {
		t.Error("a writer repaired snapshots")
	}
	if writer.State().N != before {
		t.Error("an entry was written")
	}
}

// A stolen writer's key can check, but its word that something was verified does not count.
func TestCheck_Writer_NotesNothing(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	writer := as(t, r, store, seal.Writer)
	rep, err := check.Run(t.Context(), writer, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil || rep.RecordErr == nil || rep.Damaged() > 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	noted, err := records.Load(t.Context(), r, time.Now())
	if err != nil || len(noted.Verified) > 0 {
		t.Errorf("%+v, %v", noted, err)
	}
}
