package check_test

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
)

func run(t testing.TB, r *repo.Repository, readData bool) *check.Report {
	t.Helper()
	rep, err := check.Run(t.Context(), r, check.Options{Read: check.Choice{All: readData}}, check.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestRun_SoundRepository_HasNoProblems(t *testing.T) {
	r, store := testrepo.New(t)
	first := testrepo.CommitFile(t, r, testrepo.Random(1, 3<<20), []byte("small"))
	testrepo.CommitFile(t, r, testrepo.Random(2, 3<<20), []byte("small"))
	if _, err := r.Forget(t.Context(), []object.SessionID{first.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep := run(t, testrepo.Open(t, store), true)
	if len(rep.Problems) > 0 || rep.Snapshots != 1 || rep.Packs == 0 || rep.Blobs == 0 || rep.BytesRead < 3<<20 || rep.Garbage != 0 {
		t.Errorf("%+v", rep)
	}
}

// TestRun_EveryObjectDamaged_IsNamed damages each object in turn: by a flipped bit in the middle, and by
// removing it.
func TestRun_EveryObjectDamaged_IsNamed(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10), []byte("small"))
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range testrepo.Names(t, store, "") {
		if strings.HasPrefix(name, object.SessionsPrefix) {
			continue // a finished session's sign of life: garbage
		}
		t.Run("flip "+strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			damaged := store.Clone()
			obj, err := damaged.Get(t.Context(), name, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			obj[len(obj)/2] ^= 1
			damaged.Tamper(name, obj)
			client, err := repo.Open(t.Context(), damaged, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if err != nil {
				if !strings.Contains(err.Error(), name) {
					t.Fatalf("open failed without naming %s: %v", name, err)
				}
				return
			}
			defer client.Close()
			wantNamed(t, run(t, client, true), name)
		})
		t.Run("remove "+strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			damaged := store.Clone()
			if err := damaged.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			client, err := repo.Open(t.Context(), damaged, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if err != nil {
				if !strings.Contains(err.Error(), name) {
					t.Fatalf("open failed without naming %s: %v", name, err)
				}
				return
			}
			defer client.Close()
			// Nobody has to miss a checkpoint. The last entry removed is a rollback, which only a
			// client that saw the entry can notice; package log tests that one.
			if strings.HasPrefix(name, object.CheckpointsPrefix) || name == object.LogName(r.State().N) {
				return
			}
			rep := run(t, client, false)
			if strings.HasPrefix(name, object.KeysPrefix) { // a change of keys that was cut off leaves the same
				if len(rep.Problems) != 1 || rep.Problems[0].Object != name || !rep.Problems[0].Hint {
					t.Errorf("the missing copy %s is not hinted at: %v", name, rep.Problems)
				}
				return
			}
			wantNamed(t, rep, name)
		})
	}
}

func wantNamed(t *testing.T, rep *check.Report, name string) {
	t.Helper()
	for _, p := range rep.Problems {
		if p.Object == name && !p.Hint {
			return
		}
	}
	t.Errorf("damage of %s is not reported: %v", name, rep.Problems)
}
