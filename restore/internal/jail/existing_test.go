package jail_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/restore/internal/jail"
)

// startCopy starts a copy of a program in a folder, and returns what ends it.
func startCopy(t *testing.T, folder string) (end func()) {
	t.Helper()
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(from)
	must(t, err)
	path := filepath.Join(folder, "sleep")
	must(t, os.WriteFile(path, program, 0o755))
	cmd := exec.Command(path, "600")
	for try := 0; ; try++ {
		// A process that another test just starts may still have the copy open for writing.
		if err = cmd.Start(); !errors.Is(err, syscall.ETXTBSY) || try == 100 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		cmd = exec.Command(path, "600")
	}
	must(t, err)
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		must(t, f.Close())
		t.Skip("this kernel lets programs be written to that run")
	}
	return end
}

func TestUpdate_ProgramThatRuns_KeepsItsMode(t *testing.T) {
	d, path := open(t)
	end := startCopy(t, path)
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
