package backup

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const childVar = "KURA_TEST_CHILD"

// asNobody is an ordinary user, asMounter has mounts of its own.
func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func asMounter() *syscall.SysProcAttr { return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} }

// inChild runs the calling test again in another process, and reports whether this is that process.
func inChild(t *testing.T, attr func() *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(childVar) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	home := t.TempDir()
	for _, d := range []string{home, filepath.Dir(home)} {
		must(t, os.Chmod(d, 0o755))
	}
	exe := filepath.Join(home, "test")
	from, err := os.Open("/proc/self/exe")
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(exe, os.O_WRONLY|os.O_CREATE, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, errors.Join(err, to.Close()))
	tmp := filepath.Join(home, "tmp")
	must(t, os.Mkdir(tmp, 0o777))
	must(t, os.Chmod(tmp, 0o777))
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, childVar+"="+t.Name())
	cmd.SysProcAttr = attr()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip(err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in the other process: %v\n%s", err, out)
	}
	return false
}
