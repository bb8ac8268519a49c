package testsys

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const childVar = "KURA_TEST_CHILD"

// AsUser runs the calling test again in a process of an ordinary user, and reports whether this is that process.
// If the user is an ordinary one already it is this one.
func AsUser(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	const nobody = 65534
	return inChild(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// AsMounter runs the calling test again in a process that has mounts of its own, and reports whether this is that
// process. Who is not root may not mount: the test is skipped.
func AsMounter(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	return inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
}

func inChild(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(childVar) == t.Name() {
		return true
	}
	home := t.TempDir()
	for _, d := range []string{home, filepath.Dir(home)} {
		must(t, os.Chmod(d, 0o755))
	}
	tmp := filepath.Join(home, "tmp")
	must(t, os.Mkdir(tmp, 0o777))
	must(t, os.Chmod(tmp, 0o777))
	// The user may not be able to reach the program that this process runs.
	exe := filepath.Join(home, "test")
	must(t, copyProgram(exe))

	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.short=" + strconv.FormatBool(testing.Short())}
	for _, a := range os.Args[1:] { // the package's own
		if !strings.HasPrefix(a, "-test.") {
			args = append(args, a)
		}
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, childVar+"="+t.Name())
	attr.Pdeathsig = syscall.SIGKILL // also when this process is killed, or ends because a test takes too long
	cmd.SysProcAttr = attr
	runtime.LockOSThread() // since the kernel sends it when the thread ends that has started the process
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	switch {
	case errors.Is(err, syscall.EPERM): // no such process may be started here
		t.Skip(err)
	case err == nil && bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		t.Skipf("in the other process:\n%s", out)
	case err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Errorf("in the other process: %v\n%s", err, out)
	default:
		t.Logf("in the other process:\n%s", out)
	}
	return false
}

func copyProgram(path string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
