package backup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
)

// TestRun_EntriesThatCanNotBeLookedAt_TheirFolderSaysSo: they have no place of their own in the snapshot.
func TestRun_EntriesThatCanNotBeLookedAt_TheirFolderSaysSo(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, _ := newRepo(t)
	root := t.TempDir()
	closed := filepath.Join(root, "closed")
	makeTree(t, root, map[string]string{"closed/f": "x", "closed/sub/g": "x", "open/f": "x"})
	t.Cleanup(func() { must(t, os.Chmod(closed, 0o700)) })
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	backUp := func(mode os.FileMode, errors uint64) *repo.Snapshot {
		t.Helper()
		must(t, os.Chmod(closed, mode))
		res, rec, err := runWith(t.Context(), r, o, hooks{})
		must(t, err)
		if res.Summary.Errors != errors || len(rec.errors) != int(errors) {
			t.Errorf("%v, %+v", rec.errors, res.Summary)
		}
		return res.Snapshot
	}
	backUp(0o700, 0)
	var said string
	for range 2 {
		got := readBack(t, r, backUp(0o400, 2))
		n := mustHave(t, got, closed)
		if n.Error == "" || n.Subtree.IsZero() || said != "" && n.Error != said {
			t.Errorf("%+v", n.Node)
		}
		said = n.Error
		for _, path := range []string{root, filepath.Join(root, "open")} {
			if n := mustHave(t, got, path); n.Error != "" {
				t.Errorf("%s: %s", path, n.Error)
			}
		}
	}
	// And no more when they can.
	snap := backUp(0o700, 0)
	if n := mustHave(t, readBack(t, r, snap), closed); n.Error != "" {
		t.Errorf("%+v", n.Node)
	}
	wantTree(t, r, snap, root)
}

// TestRun_EntriesThatVanish_AreNotMissed: their folder is whole without them.
func TestRun_EntriesThatVanish_AreNotMissed(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"d/f": "x", "d/g": "x"})
	h := hooks{listed: func(path string) {
		if filepath.Base(path) == "d" {
			must(t, os.Remove(filepath.Join(path, "f")))
		}
	}}
	res, _, err := runWith(t.Context(), r, Options{Paths: []string{root}, Host: "h"}, h)
	must(t, err)
	if n := mustHave(t, readBack(t, r, res.Snapshot), filepath.Join(root, "d")); n.Error != "" || res.Summary.Errors != 1 {
		t.Errorf("%+v, %+v", n.Node, res.Summary)
	}
}
