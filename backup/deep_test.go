package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// makeDeep makes folders inside each other, with a file before and a file behind each folder. Their paths are
// longer than any system call takes.
func makeDeep(t *testing.T, root string, depth int) {
	t.Helper()
	at, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for i := range depth {
		for _, name := range []string{"a", "z"} {
			fd, err := unix.Openat(at, name, unix.O_CREAT|unix.O_WRONLY, 0o644)
			must(t, err)
			_, err = unix.Write(fd, fmt.Appendf(nil, "%s%d", name, i))
			must(t, err)
			must(t, unix.Close(fd))
		}
		must(t, unix.Mkdirat(at, "folder", 0o755))
		next, err := unix.Openat(at, "folder", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(at))
		at = next
	}
	must(t, unix.Close(at))
}

// TestRun_DeepFolders_FewAreOpenAtOnce goes deeper than the paths that system calls take, and than the number
// of files that a process may have open.
func TestRun_DeepFolders_FewAreOpenAtOnce(t *testing.T) {
	depth := 3000
	if testing.Short() {
		depth = 800
	}
	r, _ := newRepo(t)
	root := memoryDir(t)
	makeDeep(t, root, depth)
	settleTimes()
	var most, listed atomic.Int64
	count := func(string) {
		if listed.Add(1)%16 != 0 {
			return // counting takes its time
		}
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Error(err)
		}
		most.Store(max(most.Load(), int64(len(list))))
	}
	o := Options{Paths: []string{root}, Host: "h", Scan: true}
	var before repo.Snapshot
	for again := range 2 {
		res, err := run(t.Context(), r, o, Events{Error: func(path string, err error) {
			t.Errorf("%d bytes of path: %v", len(path), err)
		}}, hooks{listed: count})
		must(t, err)
		if res.Summary.Files != uint64(2*depth) || res.Summary.Errors > 0 {
			t.Fatalf("%+v", res.Summary)
		}
		if again == 1 && (string(before.Root) != string(res.Snapshot.Root) || res.Summary.FilesUnmodified != uint64(2*depth)) {
			t.Errorf("unchanged: %+v", res.Summary)
		}
		before = *res.Snapshot
	}
	if most.Load() > 700 { // the walk's and the scan's
		t.Errorf("%d files were open at once", most.Load())
	}
	n, err := r.Find(t.Context(), &before, root)
	must(t, err)
	id := n.Subtree
	for i := range depth {
		id = wantLevel(t, r, id, i)
	}
}

func wantLevel(t *testing.T, r *repo.Repository, id object.BlobID, i int) (next object.BlobID) {
	t.Helper()
	var names []string
	for n, err := range tree.ReadDir(t.Context(), id, r.LoadTree) {
		must(t, err)
		names = append(names, n.Name)
		if n.Type == tree.Folder {
			next = n.Subtree
		} else if data := readContent(t, r, n); string(data) != fmt.Sprintf("%s%d", n.Name, i) {
			t.Fatalf("level %d: %s has %q", i, n.Name, data)
		}
	}
	if strings.Join(names, " ") != "a folder z" {
		t.Fatalf("level %d: %q", i, names)
	}
	return next
}

func TestRun_LargeFolder_ChangedInTheMiddle(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 4_000
	}
	r, store := newRepo(t)
	root := memoryDir(t)
	for i := range n {
		writeFile(t, filepath.Join(root, fmt.Sprintf("%05d", i)), nil)
	}
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	writeFile(t, filepath.Join(root, "02500"), []byte("changed"))
	must(t, os.Remove(filepath.Join(root, "03500")))
	settleTimes()
	store.Reset()
	res := mustRun(t, r, o)
	if s := res.Summary; s.Files != uint64(n-1) || s.FilesUnmodified != uint64(n-2) || s.FilesChanged != 1 {
		t.Errorf("%+v", s)
	}
	if s := res.Summary; s.BytesAdded > 400<<10 {
		t.Errorf("stored %d bytes for one changed entry", s.BytesAdded)
	}
	wantTree(t, r, res.Snapshot, root)
}
