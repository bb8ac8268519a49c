package backup

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

// openings notes which files are opened.
type openings struct {
	mu    sync.Mutex
	names map[string]int
}

func (o *openings) hook(path string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.names = map[string]int{}
	}
	o.names[filepath.Base(path)]++
	return nil
}

func TestRun_OneFileChanged_OnlyThatOneIsRead(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	names := []string{"same", "size", "mtime", "ctime", "inode", "mode"}
	for _, name := range names {
		writeFile(t, at(name), []byte("first"))
	}
	settleTimes()
	mustRun(t, r, Options{Paths: []string{root}, Host: "h"})

	times := func(name string, from string) {
		st, err := os.Stat(at(from))
		must(t, err)
		must(t, os.Chtimes(at(name), st.ModTime(), st.ModTime()))
	}
	writeFile(t, at("size"), []byte("firstly"))
	times("size", "same")
	writeFile(t, at("mtime"), []byte("other"))
	times("ctime", "same")
	writeFile(t, at("ctime"), []byte("other")) // with the old size and mtime: only the ctime tells
	times("ctime", "same")
	writeFile(t, at("new"), []byte("other"))
	times("new", "inode")
	must(t, os.Rename(at("new"), at("inode")))
	must(t, os.Chmod(at("mode"), 0o600))
	settleTimes()

	var opened openings
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, Host: "h"}, hooks{opened: opened.hook})
	must(t, err)
	wantTree(t, r, res.Snapshot, root)
	for _, name := range names {
		action, reads := Changed, 1
		if name == "same" {
			action, reads = Unmodified, 0
		}
		if got := rec.items[at(name)].Action; got != action || opened.names[name] != reads {
			t.Errorf("%s: %v, opened %d times", name, got, opened.names[name])
		}
	}
	if s := res.Summary; s.FilesChanged != 5 || s.FilesUnmodified != 1 || s.FilesNew != 0 {
		t.Errorf("%+v", s)
	}
}

func TestUnchanged_EachSign_IsEnoughToReadAgain(t *testing.T) {
	const start = 1_000_000 * int64(time.Second)
	was := tree.Node{Type: tree.File, Size: 5, Inode: 7, MTime: tree.MakeTime(10, 1), CTime: tree.MakeTime(20, 1)}
	now := files.Stat{Type: tree.File, Size: 5, Inode: 7, MTime: tree.MakeTime(10, 1), CTime: tree.MakeTime(20, 1)}
	w := &walk{starts: [2]int64{start, start}}
	if !w.sameContent(0, &was, &now) {
		t.Fatal("nothing changed")
	}
	for name, change := range map[string]func(n *tree.Node, st *files.Stat){
		"size": func(_ *tree.Node, st *files.Stat) { st.Size++ }, "inode": func(_ *tree.Node, st *files.Stat) { st.Inode++ },
		"mtime": func(_ *tree.Node, st *files.Stat) { st.MTime.Nsec++ }, "ctime": func(_ *tree.Node, st *files.Stat) { st.CTime.Nsec++ },
		"earlier mtime": func(_ *tree.Node, st *files.Stat) { st.MTime.Sec-- },
		"type":          func(_ *tree.Node, st *files.Stat) { st.Type = tree.Symlink },
		"device":        func(_ *tree.Node, st *files.Stat) { st.Device++ },
		"error":         func(n *tree.Node, _ *files.Stat) { n.Error = "it could not be read" },
		"fresh": func(n *tree.Node, st *files.Stat) {
			n.CTime = tree.MakeTime(start/int64(time.Second)-1, 999_999_999)
			st.CTime = n.CTime
		},
		"fresh by whole seconds": func(n *tree.Node, st *files.Stat) {
			n.CTime = tree.MakeTime(start/int64(time.Second)-2, 0)
			st.CTime = n.CTime
		},
	} {
		n, st := was, now
		change(&n, &st)
		if w.sameContent(0, &n, &st) {
			t.Errorf("%s: taken for unchanged", name)
		}
	}
}

// TestRun_ChangeWithinATick_IsSeen: a file that is written to while a run is under way, after it was read,
// may keep its ctime. Therefore files that were young then are read by the next run whatever they look like.
func TestRun_ChangeWithinATick_IsSeen(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	young := filepath.Join(root, "young")
	for end := time.Now().Add(time.Minute); ; { // until the machine has time to begin the run within the tick
		writeFile(t, young, []byte("first"))
		first := mustRun(t, r, Options{Paths: []string{root}, Host: "h"})
		if n := mustHave(t, readBack(t, r, first.Snapshot), young); tooFresh(n.CTime, first.Snapshot.Start) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is too slow")
		}
	}
	var opened openings
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, Host: "h"}, hooks{opened: opened.hook})
	must(t, err)
	if opened.names["young"] != 1 || rec.items[young].Action != Changed {
		t.Errorf("opened %v, %+v", opened.names, rec.items)
	}
	if res.Summary.BytesAdded != 0 {
		t.Errorf("stored %d bytes again", res.Summary.BytesAdded)
	}
}

func TestRun_FileUnreadableThisTime_IsNotTakenFromTheParent(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	file := filepath.Join(root, "f")
	writeFile(t, file, []byte("first"))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	must(t, os.Chmod(file, 0o600))
	settleTimes()

	res, rec, err := runWith(t.Context(), r, o, hooks{opened: func(string) error { return syscall.EIO }})
	must(t, err)
	if !errors.Is(rec.errors[file], syscall.EIO) || res.Summary.Errors != 1 || len(rec.errors) != 1 {
		t.Errorf("errors %v, %+v", rec.errors, res.Summary)
	}
	n := mustHave(t, readBack(t, r, res.Snapshot), file)
	if n.Error == "" || !n.Content.IsZero() || n.Mode != 0o600 {
		t.Errorf("%+v", n.Node)
	}
	// It did not change since, but nobody has read it.
	again := mustRun(t, r, o)
	wantTree(t, r, again.Snapshot, root)
	if n := mustHave(t, readBack(t, r, again.Snapshot), file); n.Error != "" || again.Summary.FilesChanged != 1 {
		t.Errorf("%+v, %+v", n.Node, again.Summary)
	}
}

func TestRun_Parent_IsTheNewestOfHostAndPaths(t *testing.T) {
	r, _ := newRepo(t)
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		writeFile(t, filepath.Join(dir, "f"), []byte(dir))
	}
	settleTimes()
	back := func(o Options, want *repo.Snapshot) *repo.Snapshot {
		t.Helper()
		res := mustRun(t, r, o)
		switch {
		case want == nil && (res.Parent != nil || len(res.Snapshot.Parent) > 0 || res.Summary.FilesUnmodified > 0):
			t.Errorf("parent %v", res.Parent.ID)
		case want != nil && (res.Parent == nil || res.Parent.ID != want.ID || string(res.Snapshot.Parent) != string(want.ID[:])):
			t.Errorf("parent %v, want %v", res.Parent, want.ID)
		case want != nil && res.Summary.FilesNew+res.Summary.FilesChanged > 0:
			t.Errorf("%+v", res.Summary)
		}
		return res.Snapshot
	}
	one := back(Options{Paths: []string{a}, Host: "h"}, nil)
	back(Options{Paths: []string{a}, Host: "other"}, nil)
	back(Options{Paths: []string{b}, Host: "h"}, nil)
	both := back(Options{Paths: []string{a, b}, Host: "h"}, nil)
	back(Options{Paths: []string{b, a, b}, Host: "h"}, both)
	two := back(Options{Paths: []string{a}, Host: "h"}, one)
	three := back(Options{Paths: []string{a}, Host: "h", Tags: []string{"t"}}, two)
	back(Options{Paths: []string{a}, Host: "h", Force: true}, nil)
	back(Options{Paths: []string{a}, Host: "h", Parent: three}, three)
	back(Options{Paths: []string{a}, Host: "x", Parent: both}, both)
}
