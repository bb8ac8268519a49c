package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
)

func TestMkdirAll_SyncsEveryParentEveryTime(t *testing.T) {
	_, fsys := folder(t)
	for range 2 {
		fsys.Reset()
		if err := durable.MkdirAll(fsys, "a/b/c", 0o700); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, op := range fsys.Ops() {
			if !strings.HasPrefix(op, "stat ") {
				got = append(got, op)
			}
		}
		want := []string{"mkdir a", "syncdir .", "mkdir a/b", "syncdir a", "mkdir a/b/c", "syncdir a/b"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	fsys.Fail = failing("syncdir a", durabletest.Before, errDisk, 1)
	if err := durable.MkdirAll(fsys, "a/b/c", 0o700); !errors.Is(err, errDisk) {
		t.Errorf("a failed sync was ignored: %v", err)
	}
}

func TestCreateDir_MissingFolders_Made(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "x/y/z")
	for range 2 { // and again, when it is there
		d, err := durable.CreateDir(path, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Fatalf("%v, %v", info, err)
		}
	}
	if err := os.Symlink(filepath.Join(base, "x"), filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	d, err := durable.CreateDir(filepath.Join(base, "link/new"), 0o700)
	if err != nil {
		t.Fatalf("through an absolute link above: %v", err)
	}
	d.Close()
	if err := os.Symlink("nowhere", filepath.Join(base, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"dangling", "dangling/x"} {
		if _, err := durable.CreateDir(filepath.Join(base, p), 0o700); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%s: err = %v", p, err)
		}
	}
}

// A hostile folder has links to the rest of the system.
func TestDir_SymlinkEscape_Refused(t *testing.T) {
	base := t.TempDir()
	outside, inside := filepath.Join(base, "outside"), filepath.Join(base, "inside")
	for _, p := range []string{outside, inside} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(inside, "way")); err != nil {
		t.Fatal(err)
	}
	d, err := durable.OpenDir(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Open("way/secret"); err == nil {
		t.Error("read outside of the folder")
	}
	if _, err := d.CreateExcl("way/new", 0o600); err == nil {
		t.Error("wrote outside of the folder")
	}
	if err := d.Unlink("way/secret"); err == nil {
		t.Error("removed outside of the folder")
	}
}

func TestDir_FIFO_DoesNotBlockOpen(t *testing.T) {
	path, fsys := folder(t)
	if err := syscall.Mkfifo(filepath.Join(path, "pipe"), 0o600); err != nil {
		t.Skip(err)
	}
	f, err := fsys.Open("pipe")
	if err == nil {
		f.Close()
	}
}

func TestDir_RenameNoReplace_RefusesTakenName(t *testing.T) {
	path, fsys := folder(t)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.RenameNoReplace("a", "b"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("err = %v", err)
	}
	if got, _ := content(t, filepath.Join(path, "b")); string(got) != "b" {
		t.Fatalf("content %q", got)
	}
	if err := fsys.RenameNoReplace("a", "c"); err != nil {
		t.Fatal(err)
	}
	if err := fsys.RenameNoReplace("a", "d"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("err = %v", err)
	}
}
