package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

// grow appends to a file.
func grow(t testing.TB, path, data string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(data)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

func TestRun_FileChangesWhileRead_IsReadAgain(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"grows":          func(p string) error { grow(t, p, "more"); return nil },
		"grows a lot":    func(p string) error { grow(t, p, string(testrepo.Random(2, 1<<20))); return nil },
		"shrinks":        func(p string) error { return os.Truncate(p, 3) },
		"becomes empty":  func(p string) error { return os.Truncate(p, 0) },
		"is overwritten": func(p string) error { return os.WriteFile(p, []byte("FIRST"), 0) },
	} {
		for _, size := range []int{5, 300_000} {
			r, _ := newRepo(t)
			root := memoryDir(t)
			file := filepath.Join(root, "f")
			writeFile(t, file, testrepo.Random(1, size))
			times := 0
			res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}}, hooks{read: func(p string) {
				if times++; times == 1 {
					if err := change(p); err != nil {
						t.Error(err)
					}
				}
			}})
			must(t, err)
			if len(rec.errors) != 0 || times != 2 {
				t.Errorf("%s: read %d times, errors %v", name, times, rec.errors)
			}
			wantTree(t, r, res.Snapshot, root)
		}
	}
}

func TestRun_FileChangesAllTheTime_IsReportedWithItsOldState(t *testing.T) {
	for size, want := range map[int]int{5: maxAgain + 1, 300_000: maxAgain + 1, maxAgainBytes + 1: 1} {
		r, _ := newRepo(t)
		root := memoryDir(t)
		file := filepath.Join(root, "f")
		writeFile(t, file, testrepo.Random(1, size))
		settleTimes()
		times := 0
		o := Options{Paths: []string{root}, Host: "h"}
		res, rec, err := runWith(t.Context(), r, o, hooks{read: func(p string) {
			times++
			grow(t, p, "more")
		}})
		must(t, err)
		if !errors.Is(rec.errors[file], ErrChanged) || res.Summary.Errors != 1 || times != want {
			t.Errorf("size %d: read %d times, errors %v", size, times, rec.errors)
		}
		n := mustHave(t, readBack(t, r, res.Snapshot), file)
		if whole, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(whole, n.data) || len(n.data) < size {
			t.Errorf("size %d: %d bytes, which are not the file's first ones", size, len(n.data))
		}
		wantTree(t, r, mustRun(t, r, o).Snapshot, root)
	}
}

func TestRun_EntryVanishes_IsReportedAndLeftOut(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, map[string]string{"stays": "x", "file": "x", "dir/f": "x", "later": "x", "parent/gone/f": "x", "parent/stays": "x"})
	gone := []string{"file", "dir", "parent/gone"}
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, ReadConcurrency: 1}, hooks{
		listed: func(path string) {
			if path == root {
				must(t, os.Remove(filepath.Join(root, "file")))
				must(t, os.RemoveAll(filepath.Join(root, "dir")))
			}
		},
		opened: func(path string) error { // by now parent/gone was looked at, and is not yet listed
			if filepath.Base(path) == "stays" && filepath.Base(filepath.Dir(path)) == "parent" {
				return os.RemoveAll(filepath.Join(root, "parent/gone"))
			}
			return nil
		},
	})
	must(t, err)
	for _, name := range gone {
		if err := rec.errors[filepath.Join(root, name)]; !errors.Is(err, ErrVanished) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(rec.errors) != len(gone) || res.Summary.Errors != uint64(len(gone)) {
		t.Errorf("%v", rec.errors)
	}
	wantTree(t, r, res.Snapshot, root)
}

func TestRun_EntryBecomesAnotherType_ThatIsBackedUp(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{"a": "x", "fifo": "x", "folder": "x", "link": "x", "socket": "x", "vanishes": "x", "z": "x"})
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, ReadConcurrency: 1}, hooks{opened: func(path string) error {
		if filepath.Base(path) != "a" { // all were looked at, none of the others was opened
			return nil
		}
		for _, name := range []string{"fifo", "folder", "link", "vanishes"} {
			must(t, os.Remove(at(name)))
		}
		must(t, unix.Mkfifo(at("fifo"), 0o600))
		makeTree(t, root, map[string]string{"folder/inside": "y"})
		return os.Symlink("/etc/passwd", at("link"))
	}})
	must(t, err)
	if len(rec.errors) != 1 || !errors.Is(rec.errors[at("vanishes")], ErrVanished) {
		t.Errorf("%v", rec.errors)
	}
	got := readBack(t, r, res.Snapshot)
	for name, want := range map[string]tree.Type{"fifo": tree.FIFO, "folder": tree.Folder, "link": tree.Symlink, "folder/inside": tree.File} {
		if n := mustHave(t, got, at(name)); n.Type != want {
			t.Errorf("%s: %v", name, n.Type)
		}
	}
	wantTree(t, r, res.Snapshot, root)
}

func TestRun_SparseFile_HolesAreNotRead(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	file := filepath.Join(root, "sparse")
	const size = 1 << 40 // nobody reads that
	f, err := os.Create(file)
	must(t, err)
	must(t, f.Truncate(size))
	data := testrepo.Random(1, 100_000)
	for _, off := range []int64{0, 1 << 30, size - int64(len(data))} {
		_, err := f.WriteAt(data, off)
		must(t, err)
	}
	must(t, f.Close())
	res := mustRun(t, r, Options{Paths: []string{root}})
	n, err := r.Find(t.Context(), res.Snapshot, file)
	must(t, err)
	var holes, stored, all int64
	for e, err := range tree.ReadContent(t.Context(), n, r.LoadTree) {
		must(t, err)
		switch all += e.Length; e.Kind {
		case tree.Hole:
			holes += e.Length
		case tree.Data:
			stored += e.Length
		}
	}
	if all != size || n.Size != size || holes < size-1<<20 || stored < 300_000 || stored > 400_000 || res.Summary.Bytes != size {
		t.Errorf("size %d, extents of %d, holes of %d, data of %d", n.Size, all, holes, stored)
	}
}

// TestRun_FilesOfProc_AreReadToTheirEnd: they have no size until they are read.
func TestRun_FilesOfProc_AreReadToTheirEnd(t *testing.T) {
	const file = "/proc/sys/kernel/ostype"
	r, _ := newRepo(t)
	res := mustRun(t, r, Options{Paths: []string{file}})
	if n := mustHave(t, readBack(t, r, res.Snapshot), file); !strings.HasPrefix(string(n.data), "Linux") {
		t.Errorf("%q", n.data)
	}
}

func TestRun_LargeFileAndStream_AreTheSameReadAheadOrNot(t *testing.T) {
	data := testrepo.Random(1, aheadFile+300_000)
	root := memoryDir(t)
	writeFile(t, filepath.Join(root, "f"), data)
	for _, cpus := range []int{4, 2}[:sized(2, 1)] { // without it there is one goroutine
		before := runtime.GOMAXPROCS(cpus)
		r, _ := newRepo(t)
		a, err := newAhead(r)
		if must(t, err); (a == nil) != (cpus == 2) {
			t.Errorf("with %d CPUs: %v", cpus, a != nil)
		}
		res := mustRun(t, r, Options{Paths: []string{root}})
		streamed := mustRun(t, r, Options{Source: streams(t, stream.Stream{Reader: bytes.NewReader(data)})})
		runtime.GOMAXPROCS(before)
		wantTree(t, r, res.Snapshot, root)
		if n := mustHave(t, readBack(t, r, streamed.Snapshot), "/stdin"); !bytes.Equal(n.data, data) {
			t.Errorf("with %d CPUs the stream has %d bytes", cpus, len(n.data))
		}
		if streamed.Summary.BytesAdded > 1<<20 {
			t.Errorf("with %d CPUs the stream has other chunks: %+v", cpus, streamed.Summary)
		}
	}
}
