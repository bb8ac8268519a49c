package folderlock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTemporary_OthersWereKilled_RemovesWhatNobodyHolds has folders of which each but one has a reason to stay.
func TestTemporary_OthersWereKilled_RemovesWhatNobodyHolds(t *testing.T) {
	root := t.TempDir()
	const prefix, young = "kura-x-", 24 * time.Hour
	old := time.Now().Add(-25 * time.Hour)
	folder := func(name string, used time.Time) string {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Join(path, "index"), 0o700))
		must(t, os.WriteFile(filepath.Join(path, "index", "level"), []byte("x"), 0o600))
		must(t, os.Chtimes(path, used, used))
		return path
	}
	abandoned := folder(prefix+"1", old)
	stay := []string{folder(prefix+"2", old), folder(prefix+"3", time.Now()), folder("kura-other-4", old)}
	defer Hold(stay[0])() // two hold it
	defer Hold(stay[0])()
	elsewhere := t.TempDir()
	must(t, os.Chtimes(elsewhere, old, old))
	link := filepath.Join(root, prefix+"5")
	must(t, os.Symlink(elsewhere, link))
	stay = append(stay, link, elsewhere)
	if os.Getuid() == 0 {
		others := folder(prefix+"6", old)
		must(t, os.Chown(others, 1234, 1234))
		must(t, os.Chtimes(others, old, old))
		stay = append(stay, others)
	}

	path, release, err := Temporary(root, prefix, young)
	must(t, err)
	if _, err := os.Lstat(abandoned); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the abandoned one is still there: %v", err)
	}
	for _, name := range stay {
		if _, err := os.Lstat(name); err != nil {
			t.Error(err)
		}
	}
	must(t, os.Chtimes(path, old, old))
	if _, again, err := Temporary(root, prefix, young); err != nil {
		t.Error(err)
	} else {
		again()
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("one that is held was removed: %v", err)
	}
	release()
}
