// Package testrepo makes repositories for tests: real ones, in memory, opened with a key file so that
// no test waits for a password's key derivation.
package testrepo

import (
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// Credential opens every repository that this package makes.
var Credential = seal.KeyFile([32]byte{1, 2, 3})

// New makes a repository in a new store in memory. Both are closed with the test.
func New(t testing.TB) (*repo.Repository, *mem.Store) {
	t.Helper()
	store := mem.New()
	return Init(t, store), store
}

// Init makes a repository in store, with a cache folder of its own.
func Init(t testing.TB, store backends.Store) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: Credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, r)
	return r
}

// InitFrom makes a repository in a new store in memory that gives blobs the ids that they have in another one.
func InitFrom(t testing.TB, from *repo.Repository) (*repo.Repository, *mem.Store) {
	t.Helper()
	store := mem.New()
	r, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: Credential, CacheDir: testsys.MemoryDir(t), From: from.Keys()})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, r)
	return r, store
}

// Open opens the repository in store as another client, with a cache folder of its own.
func Open(t testing.TB, store backends.Store) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: Credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, r)
	return r
}

func closeAfter(t testing.TB, r *repo.Repository) {
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// Names returns the names of all objects below a prefix.
func Names(t testing.TB, store backends.Store, prefix string) []string {
	t.Helper()
	var names []string
	for info, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	return names
}

// Save stores blobs and returns their ids.
func Save(t testing.TB, s *repo.Session, typ object.BlobType, blobs ...[]byte) []object.BlobID {
	t.Helper()
	ids := make([]object.BlobID, len(blobs))
	for i, b := range blobs {
		saved, err := s.SaveNow(typ, b)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = saved.ID
	}
	return ids
}
