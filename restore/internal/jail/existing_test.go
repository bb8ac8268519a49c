package jail_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore/internal/jail"
)

func TestUpdate_ProgramThatRuns_KeepsItsMode(t *testing.T) {
	d, path := open(t)
	_, _, end := testsys.RunningProgram(t, path)
	info, err := d.Lstat("sleep")
	must(t, err)
	if !d.Busy("sleep", info.Identity) {
		t.Error("it is not busy")
	}
	if _, err := d.Update("sleep", info.Identity); !errors.Is(err, syscall.ETXTBSY) {
		t.Errorf("opened: %v", err)
	}
	if now, err := d.Lstat("sleep"); err != nil || now.Mode != 0o755 {
		t.Errorf("mode %#o, %v", now.Mode, err)
	}
	end()
	if d.Busy("sleep", info.Identity) {
		t.Error("it is still busy")
	}
	f, err := d.Update("sleep", info.Identity)
	must(t, err)
	must(t, f.Close())
	if now, err := d.Lstat("sleep"); err != nil || now.Mode != jail.Unfinished {
		t.Errorf("mode %#o, %v", now.Mode, err)
	}
}

// In a folder that the run has made something may have an entry's very name all the same: it was put there, or a call was interrupted.
func TestCreate_SameNameInAFolderOfOurs_IsReplaced(t *testing.T) {
	d, path := open(t)
	d.SetOurs()
	must(t, os.WriteFile(filepath.Join(path, "f"), []byte("planted"), 0o600))
	must(t, os.Mkdir(filepath.Join(path, "d"), 0o700))
	f, err := d.Create("f")
	must(t, err)
	must(t, f.Close())
	if existed, err := d.Mkdir("d"); err != nil || !existed {
		t.Errorf("existed %v, %v", existed, err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "f")); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}
