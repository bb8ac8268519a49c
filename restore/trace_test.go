package restore_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changing are the system calls by which a restore changes what is on disk.
var changing = []uint64{
	unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MKNODAT, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE,
	unix.SYS_FALLOCATE, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_FSETXATTR, unix.SYS_SETXATTR,
	unix.SYS_FREMOVEXATTR,
}

// traced runs a command, and kills it before the system call of a number, of those that change something: 0 lets it live. It returns how many there
// were, and whether it was killed.
func traced(t *testing.T, cmd *exec.Cmd, killAt int) (calls int, killed bool) {
	t.Helper()
	runtime.LockOSThread() // a thread traces, and not a process
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("nothing may be traced here")
	} else if err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer func() { _ = cmd.Process.Release() }() // it is waited for here
	for first := true; ; first = false {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			t.Fatal(err)
		case tid == pid && ws.Exited():
			if ws.ExitStatus() != 0 {
				t.Fatalf("the child ended with %d", ws.ExitStatus())
			}
			return calls, killed
		case tid == pid && ws.Signaled():
			if !killed {
				t.Fatalf("the child got %v", ws.Signal())
			}
			return calls, true
		case !ws.Stopped():
			continue // one of its threads
		}
		pass := 0
		switch sig := ws.StopSignal(); {
		case first:
			if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
				t.Fatal(err)
			}
		case sig == unix.SIGTRAP|0x80:
			if nr, enters := entered(tid); enters && slices.Contains(changing, nr) {
				if calls++; calls == killAt {
					killed = true
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		case sig == unix.SIGTRAP, sig == unix.SIGSTOP: // of tracing itself
		default:
			pass = int(sig)
		}
		if err := unix.PtraceSyscall(tid, pass); err != nil && err != unix.ESRCH {
			t.Fatal(err)
		}
	}
}

// entered returns the number of the system call that a thread is about to make, if it has stopped for that.
func entered(tid int) (nr uint64, enters bool) {
	const getSyscallInfo, entry = 0x420e, 1 // PTRACE_GET_SYSCALL_INFO, on every architecture
	var info struct {
		op   uint8
		_    [3]uint8
		arch uint32
		_    [2]uint64
		nr   uint64
		_    [8]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return info.nr, errno == 0 && info.op == entry
}

// sameTest is a process that runs the test again, with one thing to be told.
func sameTest(t *testing.T, name, value string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), name+"="+value, "TMPDIR="+t.TempDir(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd
}
