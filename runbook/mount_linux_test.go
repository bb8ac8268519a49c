package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// What is mounted on a folder keeps it from being moved, and what is mounted below it would be moved along.
func TestPreflight_MountsInWhatMoves_Refused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	dir := t.TempDir()
	folder, other := filepath.Join(dir, "nova"), filepath.Join(dir, "other")
	if err := errors.Join(os.MkdirAll(filepath.Join(folder, "in stances"), 0o755), os.Mkdir(other, 0o755)); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, t.TempDir()).world()
	for _, at := range []string{filepath.Join(folder, "in stances"), folder} {
		if err := unix.Mount(other, at, "", unix.MS_BIND, ""); err != nil {
			t.Skip("mounting is not possible here: ", err)
		}
		got := lookAt(t, w, fmt.Sprintf("[[step]]\nname = \"a\"\nkind = \"move-aside\"\npath = %q\n", folder))
		if err := unix.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || !strings.Contains(got[0], "something is mounted on "+at) {
			t.Errorf("%q", got)
		}
	}
}
