package repo

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// Where processes of other users are hidden, one that is not to be seen may be alive.
func TestSign_ProcessIsHidden_NotDead(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"); err != nil {
		t.Skipf("mount proc: %v", err)
	}
	boot, _, _ := strings.Cut(processMark(), ":")
	sign := func(pid int) *Sign { return &Sign{Process: boot + ":" + strconv.Itoa(pid) + ":1"} }
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: this thread, and no other, becomes another user's
		const nobody = 65534
		_, _, errGroups := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0) // root's would see all
		_, _, errGroup := unix.RawSyscall(unix.SYS_SETRESGID, nobody, nobody, nobody)
		_, _, errUser := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		if errGroups != 0 || errGroup != 0 || errUser != 0 {
			t.Error(errGroups, errGroup, errUser)
			return
		}
		if _, err := processStart("1"); !os.IsNotExist(err) {
			t.Errorf("process 1 can be seen: %v", err)
		}
		if sign(1).Dead() {
			t.Error("a hidden process was taken for dead")
		}
		if !sign(ended.Process.Pid).Dead() {
			t.Error("a process that has ended was not taken for dead")
		}
	}()
	<-done
}
