package testsys

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSweep_FoldersOfTheDead_GoAndNoOthers(t *testing.T) {
	root := t.TempDir()
	folder := func(name string, age time.Duration) string {
		dir := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Join(dir, "below"), 0o700))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(dir, at, at))
		return dir
	}
	there := func(dir string) bool {
		_, err := os.Lstat(dir)
		return err == nil
	}
	dead, held := folder(memoryPrefix+"1", time.Hour), folder(memoryPrefix+"2", time.Hour)
	young, foreign := folder(memoryPrefix+"3", 0), folder("other-4", time.Hour)
	for range 2 { // others hold it, too
		f, err := hold(held, unix.LOCK_SH)
		must(t, err)
		defer f.Close()
	}
	sweep(root)
	if there(dead) {
		t.Error("what a process has left that was killed is still there")
	}
	for _, dir := range []string{held, young, foreign} {
		if !there(filepath.Join(dir, "below")) {
			t.Errorf("%s was removed", dir)
		}
	}
}

func TestNewMemoryDir_UntilItIsRemoved_IsHeld(t *testing.T) {
	dir, remove, err := NewMemoryDir()
	if err != nil {
		t.Skip(err)
	}
	if f, err := hold(dir, unix.LOCK_EX); err == nil {
		t.Error("another takes it for one that is left")
		must(t, f.Close())
	}
	must(t, remove())
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
