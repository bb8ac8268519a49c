package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
	"github.com/kura-backup/kura/internal/testsys"
)

// recorded opens a store through a recording file system.
func recorded(t *testing.T, dir string) (*local.Store, *durabletest.FS) {
	t.Helper()
	d, err := durable.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	fsys := durabletest.New(d)
	s := local.New(fsys)
	t.Cleanup(func() { s.Close() })
	return s, fsys
}

func TestStore_OnAFileSystemWithoutLinksAndLocks_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) backends.Store {
		d, err := durable.OpenDir(testsys.MemoryDir(t))
		if err != nil {
			t.Fatal(err)
		}
		fsys := durabletest.New(d)
		fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
			switch op.Kind {
			case "link":
				return durabletest.Before, syscall.EPERM
			case "lock":
				return durabletest.Before, errors.ErrUnsupported
			}
			return 0, nil
		}
		return local.New(fsys)
	})
}

// An object whose writer was killed before it synced the folder must not be
// lost when something newer that rests on it is kept.
func TestPut_AfterSeeingOthersObjects_SyncsTheirFoldersFirst(t *testing.T) {
	for what, see := range map[string]func(s *local.Store) error{
		"List": func(s *local.Store) error {
			for _, err := range s.List(t.Context(), "log/", "") {
				return err
			}
			return nil
		},
		"Get": func(s *local.Store) error {
			_, err := s.Get(t.Context(), "log/0000000000000999", 0, -1, nil)
			return err
		},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "log/0000000000000/0000000000000999"), "unsynced")
		s, fsys := recorded(t, dir)
		if err := see(s); err != nil {
			t.Fatal(err)
		}
		if fsys.Count("syncdir log/0000000000000") != 0 {
			t.Errorf("%s: reading alone syncs", what)
		}
		if err := s.Put(t.Context(), "log/0000000000001000", []byte("x")); err != nil {
			t.Fatal(err)
		}
		link := fsys.Index("link tmp/put-* log/0000000000001/0000000000001000")
		for _, op := range []string{"syncdir .", "syncdir log", "syncdir log/0000000000000"} {
			if !slices.Contains(fsys.Ops()[:link], op) {
				t.Errorf("%s: no %q before the new object has its name", what, op)
			}
		}
	}
}

// A caller that gets no clear answer looks at the name, and is content with its own bytes.
func TestGet_AfterAnUnclearPut_MakesTheObjectDurableFirst(t *testing.T) {
	s, fsys := recorded(t, t.TempDir())
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "link" || op.Kind == "open" {
			return durabletest.After, syscall.EIO
		}
		return 0, nil
	}
	if err := s.Put(t.Context(), "data/abc", []byte("x")); !backends.IsUnclear(err) {
		t.Fatal(err)
	}
	get := func() error {
		_, err := s.Get(t.Context(), "data/abc", 0, -1, nil)
		return err
	}
	fsys.Reset()
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "syncdir" {
			return durabletest.Before, syscall.EIO
		}
		return 0, nil
	}
	if err := get(); !errors.Is(err, syscall.EIO) {
		t.Errorf("found, and not durable: %v", err)
	}
	fsys.Fail = nil
	if err := get(); err != nil || fsys.Count("syncdir data/ab") != 2 {
		t.Errorf("%v, %q", err, fsys.Ops())
	}
	if err := get(); err != nil || fsys.Count("syncdir data/ab") != 2 {
		t.Errorf("synced again: %v, %q", err, fsys.Ops())
	}
}

func TestReading_EveryOperationFailsInTurn_AnError(t *testing.T) {
	disk := errors.New("disk on fire")
	for what, act := range map[string]func(s *local.Store) error{
		"Get": func(s *local.Store) error {
			_, err := s.Get(t.Context(), "data/abc", 0, -1, nil)
			return err
		},
		"List": func(s *local.Store) (last error) {
			for _, err := range s.List(t.Context(), "", "") {
				last = err
			}
			return last
		},
		"Delete": func(s *local.Store) error { return s.Delete(t.Context(), "data/abc") },
	} {
		for target := 0; ; target++ {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "data/ab/abc"), "content")
			s, fsys := recorded(t, dir)
			fsys.Reset()
			failed := ""
			fsys.Fail = func(n int, op durabletest.Op) (durabletest.When, error) {
				if n == target {
					failed = op.Kind
					return durabletest.Before, disk
				}
				return 0, nil
			}
			err := act(s)
			if failed == "" {
				if err != nil || target < 2 {
					t.Fatalf("%s without a failure, %d operations: %v", what, target, err)
				}
				break
			}
			if failed != "close" && (!errors.Is(err, disk) || errors.Is(err, backends.ErrNotExist)) {
				t.Errorf("%s, %s fails: err = %v", what, failed, err)
			}
		}
	}
}

func TestPut_Failures_CarryKindAndCause(t *testing.T) {
	for _, c := range []struct {
		fail map[string]error
		want backends.Kind
	}{
		{map[string]error{"write": syscall.ENOSPC}, backends.Permanent},
		{map[string]error{"create": syscall.EROFS}, backends.Permanent},
		{map[string]error{"sync": syscall.EIO}, backends.Permanent},
		{map[string]error{"syncdir": syscall.EIO}, backends.Permanent},
		{map[string]error{"link": syscall.EIO, "open": syscall.EIO}, backends.Unclear},
	} {
		s, fsys := recorded(t, t.TempDir())
		fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
			return durabletest.Before, c.fail[op.Kind]
		}
		err := s.Put(t.Context(), "data/abc", []byte("content"))
		for op, cause := range c.fail {
			if !errors.Is(err, cause) || backends.KindOf(err) != c.want {
				t.Errorf("%s fails: %v is %v, want %v", op, err, backends.KindOf(err), c.want)
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "put data/abc: ") {
			t.Errorf("the error does not say what failed: %v", err)
		}
	}
}

func TestCaps_FoldersCannotBeSynced_NotDurable(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	if want := (backends.Caps{CreateOnly: true, Durable: true, Local: true}); s.Caps() != want {
		t.Errorf("Caps = %+v, want %+v", s.Caps(), want)
	}
	d, err := durable.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fsys := durabletest.New(d)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "syncdir" {
			return durabletest.Before, errors.ErrUnsupported
		}
		return 0, nil
	}
	weak := local.New(fsys)
	defer weak.Close()
	if weak.Caps().Durable {
		t.Error("durable without syncing folders")
	}
}

func TestOpen_ChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	names(t, s, "", "")
	if _, err := s.Get(t.Context(), "config", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Fatalf("%v, %v", entries, err)
	}
}

func TestOpen_NoFolder_ErrNoStore(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "x")
	for _, p := range []string{"missing", "missing/too", "file", "file/x"} {
		if _, err := local.Open(filepath.Join(dir, p)); !errors.Is(err, backends.ErrNoStore) || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: err = %v", p, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made a folder")
	}
	s, err := local.Create(filepath.Join(dir, "missing/too"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	open(t, filepath.Join(dir, "missing/too")).Close()
}

// A folder that vanishes, such as a disk that is pulled, must not look empty:
// an empty listing would call every object lost.
func TestList_FolderRemoved_AnErrorAndNotEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // the empty mount point
		t.Fatal(err)
	}
	err = nil
	for _, e := range s.List(t.Context(), "", "") {
		err = e
	}
	if err == nil {
		t.Error("a vanished store lists as an empty one")
	}
	if err := s.Put(t.Context(), "config", []byte("x")); err == nil {
		t.Error("Put into a vanished store succeeded")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("something was written beside it: %v, %v", entries, err)
	}
}
