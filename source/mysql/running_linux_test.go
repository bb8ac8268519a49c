package mysql

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// hiddenServer is the name under which this program is a process that only root may look into, as a server is that root has started and
// that has changed its user.
const hiddenServer = "mariadbd"

func hide() {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Println(err)
	}
	fmt.Println("hidden")
	_, _ = io.Copy(io.Discard, os.Stdin) // until nobody wants it any more
}

// An ordinary user can not know where another server works. In a folder without a server's files that does no harm.
func TestRunning_ServerThatOnlyRootMayLookInto_CountsWhereThereIsData(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), hiddenServer)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "hidden\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", cmd.Process.Pid)); !errors.Is(err, os.ErrPermission) {
		t.Skipf("this user may look into any process: %v", err)
	}
	dir := t.TempDir()
	if err := Running(dir); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ibdata1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Running(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("one with a server's data: %v", err)
	}
}
