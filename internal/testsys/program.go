package testsys

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// RunningProgram starts a copy of a program in a folder, with the name sleep, and returns its bytes and its process, which end
// ends. The test is skipped where such a file can be written to.
func RunningProgram(t testing.TB, folder string) (program []byte, pid int, end func()) {
	t.Helper()
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(folder, "sleep")
	if program, err = os.ReadFile(from); err == nil {
		err = os.WriteFile(path, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "600")
	for try := 0; ; try++ {
		// A process that another test just starts may still have the copy open for writing.
		if err = cmd.Start(); !errors.Is(err, syscall.ETXTBSY) || try == 100 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		cmd = exec.Command(path, "600")
	}
	if err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		_ = f.Close()
		t.Skip("this kernel lets programs be written to that run")
	}
	return program, cmd.Process.Pid, end
}
