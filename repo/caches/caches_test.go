package caches

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/folderlock"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFolder makes a cache that was last used some time ago.
func newFolder(t testing.TB, root, digit string, ago time.Duration) string {
	t.Helper()
	path := filepath.Join(root, strings.Repeat(digit, 32))
	must(t, os.MkdirAll(filepath.Join(path, "index"), 0o700))
	must(t, os.WriteFile(filepath.Join(path, "index", "level"), make([]byte, 1000), 0o600))
	must(t, os.WriteFile(filepath.Join(path, seenFile), []byte("1"), 0o600))
	NoteLocation(path, "/somewhere/"+digit)
	was := time.Now().Add(-ago)
	must(t, os.Chtimes(path, was, was))
	return path
}

func list(t testing.TB, root string) []Folder {
	t.Helper()
	out, err := List(root, true)
	must(t, err)
	return out
}

func TestList_FoldersOfRepositories_AreDescribed(t *testing.T) {
	root := t.TempDir()
	if got, err := List(filepath.Join(root, "none"), true); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	newFolder(t, root, "a", time.Hour)
	held := newFolder(t, root, "b", 0)
	must(t, os.Mkdir(filepath.Join(root, "theirs"), 0o700))
	must(t, os.WriteFile(filepath.Join(root, strings.Repeat("c", 32)), nil, 0o600))
	release := folderlock.Hold(held)
	got := list(t, root)
	if len(got) != 2 || got[0].Location != "/somewhere/a" || got[1].Location != "/somewhere/b" || got[0].InUse || !got[1].InUse {
		t.Errorf("%+v", got)
	}
	if ago := time.Since(got[0].Used); ago < time.Hour || got[0].Size != 1000+1+int64(len("/somewhere/a\n")) {
		t.Errorf("%+v, used %v ago", got[0], ago)
	}
	release()
	if got := list(t, root); got[1].InUse {
		t.Error("what was released is in use")
	}
	if got, err := List(root, false); err != nil || got[0].Size != -1 {
		t.Errorf("%v, %v", got, err)
	}
}

// A repository can be called after a machine, in the folder that is named for caches.
func TestList_FolderThatIsCalledLikeACache_IsNone(t *testing.T) {
	root := t.TempDir()
	newFolder(t, root, "a", time.Hour)
	theirs := filepath.Join(root, strings.Repeat("b", 32))
	must(t, os.MkdirAll(filepath.Join(theirs, "data"), 0o700))
	must(t, os.MkdirAll(filepath.Join(theirs, locationFile), 0o700)) // a folder
	for _, name := range []string{"config", "data/x"} {
		must(t, os.WriteFile(filepath.Join(theirs, name), nil, 0o600))
	}
	if got := list(t, root); len(got) != 1 || got[0].ID != strings.Repeat("a", 32) {
		t.Errorf("%+v", got)
	}
}

func TestFree_UnusedFolder_LeavesWhatCanNotBeMadeAgain(t *testing.T) {
	root := t.TempDir()
	path := newFolder(t, root, "a", time.Hour)
	f := list(t, root)[0]
	must(t, f.Free())
	for name, want := range map[string]bool{"index": false, seenFile: true, locationFile: true} {
		if _, err := os.Stat(filepath.Join(path, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	again := list(t, root)[0]
	if empty, err := again.Empty(); err != nil || !empty || !again.Used.Equal(f.Used) {
		t.Errorf("empty: %v, %v; last used %v, and %v before", empty, err, again.Used, f.Used)
	}
}

func TestFree_FolderInUse_IsLeftAlone(t *testing.T) {
	root := t.TempDir()
	path := newFolder(t, root, "a", 100*24*time.Hour)
	first, second := folderlock.Hold(path), folderlock.Hold(path) // several clients at once
	f := list(t, root)[0]
	first()
	if err := f.Free(); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	if empty, err := f.Empty(); err != nil || empty {
		t.Errorf("it is empty: %v, %v", empty, err)
	}
	second()
	must(t, f.Free())
}

func TestNoteLocation_MissingFolder_DoesNotMatter(t *testing.T) {
	NoteLocation(filepath.Join(t.TempDir(), "none"), "x")
}

func TestNoteLocation_Again_ReplacesAndLeavesNothing(t *testing.T) {
	root := t.TempDir()
	path := newFolder(t, root, "a", 0)
	for _, where := range []string{"/new", "/new", "/newer"} {
		NoteLocation(path, where)
		if got := list(t, root)[0].Location; got != where {
			t.Errorf("%q", got)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}
