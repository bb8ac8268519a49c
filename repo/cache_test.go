package repo_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// A cache that can not be written must not keep anybody from their data, and what it remembers of the log
// still counts.
func TestOpen_CacheCannotBeWritten_WorksAndRemembers(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, store := testrepo.New(t)
	old := store.Clone()
	want := testrepo.Random(1, 1000)
	snap := testrepo.CommitFile(t, r, want)

	root := t.TempDir()
	o := repo.OpenOptions{Credential: testrepo.Credential, CacheDir: root}
	first, err := repo.Open(t.Context(), store, o)
	if err != nil || first.CacheError() != nil {
		t.Fatal(err, first.CacheError())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	if err := os.Chmod(dirs[0], 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dirs[0], 0o700)

	second, err := repo.Open(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if !errors.Is(second.CacheError(), fs.ErrPermission) {
		t.Errorf("CacheError = %v", second.CacheError())
	}
	if got, err := testrepo.ReadFile(t, second, snap); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	testrepo.CommitFile(t, second, want)
	if _, err := repo.Open(t.Context(), old, o); !errors.Is(err, log.ErrRollback) {
		t.Errorf("a store that was rolled back: %v", err)
	}
}

// What somebody else may write to can say of blobs that they are stored. It must not be relied on, nor be needed.
func TestOpen_CacheIsNotPrivate_WorksWithoutIt(t *testing.T) {
	r, store := testrepo.New(t)
	want := testrepo.Random(1, 1000)
	snap := testrepo.CommitFile(t, r, want)
	root := t.TempDir()
	o := repo.OpenOptions{Credential: testrepo.Credential, CacheDir: root}
	open := func() *repo.Repository {
		t.Helper()
		r, err := repo.Open(t.Context(), store, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	if err := open().CacheError(); err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	spoil := map[string]func() error{
		"others may write": func() error { return os.Chmod(dirs[0], 0o722) },
		"a group may":      func() error { return os.Chmod(dirs[0], 0o770) },
	}
	if os.Getuid() == 0 {
		spoil["it is another user's"] = func() error { return os.Chown(dirs[0], 1234, 1234) }
	}
	for name, spoil := range spoil {
		if err := errors.Join(os.Chmod(dirs[0], 0o700), spoil()); err != nil {
			t.Fatal(err)
		}
		r := open()
		if err := r.CacheError(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: CacheError = %v", name, err)
		}
		if got, err := testrepo.ReadFile(t, r, snap); err != nil || string(got) != string(want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(dirs[0], 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}
