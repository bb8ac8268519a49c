package jail_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/restore/internal/jail"
)

func open(t *testing.T) (*jail.Dir, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target")
	d, created, err := jail.Open(path, false)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryOperation_NameThatIsNoSingleComponent_IsRefused(t *testing.T) {
	d, path := open(t)
	must(t, os.WriteFile(filepath.Join(path, "f"), nil, 0o600))
	info, err := d.Lstat("f")
	must(t, err)
	before, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	for _, name := range []string{"", ".", "..", "/", "/tmp/kura-jail", "../kura-jail", "f/..", "a/b", "zero\x00byte"} {
		ops := map[string]func() error{
			"Mkdir":     func() error { _, err := d.Mkdir(name); return err },
			"OpenDir":   func() error { _, err := d.OpenDir(name); return err },
			"Create":    func() error { _, err := d.Create(name); return err },
			"Reopen":    func() error { _, err := d.Reopen(name, info.Identity); return err },
			"OpenFile":  func() error { _, err := d.OpenFile(name); return err },
			"Symlink":   func() error { _, err := d.Symlink("x", name); return err },
			"Mknod":     func() error { _, err := d.Mknod(name, jail.FIFO, 0, 0); return err },
			"Link to":   func() error { return d.Link(d, "f", info.Identity, name) },
			"Link from": func() error { return d.Link(d, name, info.Identity, "g") },
			"Remove":    func() error { return d.Remove(name) },
			"RemoveOwn": func() error { return d.RemoveOwn(name, info.Identity) },
			"Replace":   func() error { return d.Replace("f", info.Identity, name) },
			"Replacing": func() error { return d.Replace(name, info.Identity, "g") },
			"Lstat":     func() error { _, err := d.Lstat(name); return err },
		}
		for op, call := range ops {
			if err := call(); !errors.Is(err, jail.ErrName) {
				t.Errorf("%s(%q): %v", op, name, err)
			}
		}
	}
	after, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(after) != len(before) {
		t.Errorf("beside the target there is %v", after)
	}
}

func TestReopen_SomethingElseHasTheName_IsRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for name, swap := range map[string]func(path string) error{
		"symlink":      func(p string) error { return os.Symlink(outside, p) },
		"hard link":    func(p string) error { return os.Link(outside, p) },
		"another file": func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"folder":       func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":         func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"nothing":      func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			d, path := open(t)
			f, err := d.Create("f")
			must(t, err)
			info, err := f.Stat()
			must(t, err)
			again, err := d.Reopen("f", info.Identity)
			must(t, err) // as long as it is the same
			must(t, again.Close())
			must(t, os.Rename(filepath.Join(path, "f"), filepath.Join(path, "kept"))) // so that its inode number is not given away again
			must(t, swap(filepath.Join(path, "f")))

			opened := make(chan error, 1)
			go func() {
				_, err := d.Reopen("f", info.Identity)
				opened <- err
			}()
			select {
			case err = <-opened:
			case <-time.After(time.Minute):
				t.Fatal("blocks")
			}
			if err == nil {
				t.Error("opened")
			}
			if err := d.RemoveOwn("f", info.Identity); name != "nothing" && !errors.Is(err, jail.ErrReplaced) {
				t.Errorf("RemoveOwn: %v", err)
			}
			if err := d.Replace("f", info.Identity, "g"); err == nil {
				t.Error("renamed")
			}
			if err := d.Link(d, "f", info.Identity, "g"); err == nil {
				t.Error("linked")
			}
			if _, err := os.Lstat(filepath.Join(path, "g")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a link is left: %v", err)
			}
			must(t, f.Close())
		})
	}
}

func TestOpenDir_SymbolicLink_IsNotFollowed(t *testing.T) {
	d, path := open(t)
	must(t, os.Mkdir(filepath.Join(path, "real"), 0o700))
	must(t, os.Symlink("real", filepath.Join(path, "inside")))
	must(t, os.Symlink("/", filepath.Join(path, "root")))
	for _, name := range []string{"inside", "root"} {
		if _, err := d.OpenDir(name); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

func TestCreate_ExistingEntries_AreReplacedUnlessFolders(t *testing.T) {
	d, path := open(t)
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	p := func(name string) string { return filepath.Join(path, name) }
	must(t, os.Symlink(outside, p("symlink")))
	must(t, os.Link(outside, p("hard link")))
	must(t, syscall.Mkfifo(p("fifo"), 0o600))
	for _, name := range []string{"symlink", "hard link", "fifo"} {
		f, err := d.Create(name)
		must(t, err)
		must(t, f.WriteAt([]byte("new"), 0))
		must(t, f.Close())
		if b, err := os.ReadFile(p(name)); err != nil || string(b) != "new" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("outside: %q, %v", b, err)
	}
	must(t, os.Mkdir(p("folder"), 0o700))
	if _, err := d.Create("folder"); !errors.Is(err, jail.ErrFolder) {
		t.Errorf("folder: %v", err)
	}
}

func TestOpen_ExistingFolder_IsNotCreated(t *testing.T) {
	path := t.TempDir()
	d, created, err := jail.Open(path, false)
	if err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	must(t, d.Close())
	must(t, os.WriteFile(filepath.Join(path, "f"), nil, 0o600))
	if _, _, err := jail.Open(filepath.Join(path, "f"), false); err == nil {
		t.Error("a file was opened as a folder")
	}
}

func TestOpen_Marks_OnlyWhatItMakes(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "there"), 0o750))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	for name, made := range map[string]bool{"there": false, "a": true, "b/c": true, "d/": true, "e/.": true, "f/g/.//": true} {
		d, created, err := jail.Open(filepath.Join(dir)+"/"+name, true)
		if err != nil || created != made {
			t.Errorf("%s: created %v, %v", name, created, err)
			continue
		}
		info, err := d.Stat()
		if must(t, err); info.IsUnfinished() != made {
			t.Errorf("%s: mode %#o", name, info.Mode)
		}
		must(t, d.Close())
	}
	if _, _, err := jail.Open(filepath.Join(dir, "link"), true); err == nil {
		t.Error("a link that leads nowhere was opened")
	}
	if info, err := os.Stat(filepath.Join(dir, "b")); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("what is above has mode %v, %v", info.Mode(), err)
	}
}

func TestDelete_Spared_StaysWithWhatIsAbove(t *testing.T) {
	d, path := open(t)
	at := func(name string) string { return filepath.Join(path, name) }
	for _, name := range []string{"a/own/deep", "a/closed/own", "other"} {
		must(t, os.MkdirAll(at(name), 0o700))
		must(t, os.WriteFile(at(name+"/f"), nil, 0o600))
	}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Symlink(at("a/own"), outside))
	must(t, os.Symlink("own", at("a/link")))
	must(t, os.Chmod(at("a/closed"), 0o500))
	spare, err := jail.SpareOf([]string{outside, at("a/closed/own/f"), at("a/link/none"), at("none"), at("other/f/none")})
	must(t, err)
	for name, want := range map[string]bool{"a": false, "other": false, "a/own": true, "a/own/deep": true} {
		sub, err := jail.View(at(name))
		must(t, err)
		if holds, err := spare.Holds(sub, nil); err != nil || holds != want {
			t.Errorf("%s: %v, %v", name, holds, err)
		}
		must(t, sub.Close())
	}
	var done, spared []string
	o := jail.Deletion{
		Spare:  spare,
		Done:   func(names []string) { done = append(done, filepath.Join(names...)) },
		Failed: func(names []string, err error) { t.Errorf("%q: %v", names, err) },
		Spared: func(names []string) { spared = append(spared, filepath.Join(names...)) },
	}
	if d.Delete("a", o) || !d.Delete("other", o) {
		t.Error("which is gone is said the wrong way round")
	}
	if want := []string{"other/f", "other"}; !slices.Equal(done, want) {
		t.Errorf("deleted %q", done)
	}
	if want := []string{"a/closed/own/f", "a/link", "a/own"}; !slices.Equal(spared, want) {
		t.Errorf("spared %q", spared)
	}
	if _, err := os.Stat(at("a/own/deep/f")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(at("a/closed")); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("%v, %v", info, err)
	}
	must(t, os.Chmod(at("a/closed"), 0o700))
}
