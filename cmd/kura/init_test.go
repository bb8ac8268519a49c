package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/ui"
)

// TestExplainKey_OtherInitHasUsedTheKey_ItStays has an init that lost the race for a repository, and had generated the key file: another
// init that was given the same file can have found it and won with it.
func TestExplainKey_OtherInitHasUsedTheKey_ItStays(t *testing.T) {
	t.Parallel()
	for _, single := range []bool{false, true} {
		dir := t.TempDir()
		a := &app{term: ui.NewPlain(io.Discard, io.Discard)}
		a.rootCommand() // for the values that flags have when they are not given
		a.globals.noCache = true
		l, err := location.Parse(filepath.Join(dir, "repo"))
		if err != nil {
			t.Fatal(err)
		}
		p := &place{Location: l, singleWriter: single}
		theirs, fresh := filepath.Join(dir, "theirs.key"), filepath.Join(dir, "fresh.key")
		c, _, err := loadOrMakeKey(theirs)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.initialise(t.Context(), p, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := loadOrMakeKey(fresh); err != nil {
			t.Fatal(err)
		}
		for path, stays := range map[string]bool{theirs: true, fresh: false} {
			if err := a.explainKey(t.Context(), p, repo.ErrExists, path); !errors.Is(err, repo.ErrExists) {
				t.Errorf("%s: %v", path, err)
			}
			if _, err := os.Stat(path); (err == nil) != stays {
				t.Errorf("single writer %v, %s: %v", single, filepath.Base(path), err)
			}
		}
		// Where nobody can tell it stays.
		if _, _, err := loadOrMakeKey(fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "repo")); err != nil {
			t.Fatal(err)
		}
		if err := a.explainKey(t.Context(), p, repo.ErrExists, fresh); !errors.Is(err, repo.ErrExists) {
			t.Error(err)
		}
		if _, err := os.Stat(fresh); err != nil {
			t.Errorf("without the repository: %v", err)
		}
	}
}
