package snapshot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// nested makes a file system on an image that lies in another one, and mounts both.
func nested(t testing.TB) (outer, image, inner string) {
	t.Helper()
	_, outer = frozenImage(t, "ext4")
	image = filepath.Join(outer, "inner")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	testsys.Format(t, "ext4", image)
	inner = testsys.MountDevice(t, "ext4", testsys.Loop(t, image))
	thawAtEnd(t, outer, inner)
	return outer, image, inner
}

// thawAtEnd thaws file systems whatever happens, so that a test that fails ends.
func thawAtEnd(t testing.TB, mounted ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, at := range mounted {
			if dir, err := os.Open(at); err == nil {
				_ = ioctl(dir, fiThaw, nil)
				_ = dir.Close()
			}
		}
	})
}

// slowFreeze calls do while a freeze of the inner file system waits: for a write that is under way, which waits for the outer one. Then it lets
// all go on.
func slowFreeze(t testing.TB, outer, inner string, do func()) {
	t.Helper()
	dir, err := os.Open(outer)
	must(t, err)
	defer dir.Close()
	f, err := os.OpenFile(filepath.Join(inner, "dirty"), os.O_CREATE|os.O_WRONLY|unix.O_DSYNC, 0o600)
	must(t, err)
	defer f.Close()
	must(t, ioctl(dir, fiFreeze, nil))
	written := make(chan error, 1)
	go func() {
		_, err := f.Write(make([]byte, 4<<20))
		written <- err
	}()
	time.Sleep(300 * time.Millisecond)
	do()
	must(t, ioctl(dir, fiThaw, nil))
	must(t, <-written)
}

// isFreezing waits until a process waits for a file system to be frozen.
func isFreezing(t testing.TB, pid int) {
	t.Helper()
	for range 3000 {
		calls, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		must(t, err)
		for _, name := range calls {
			if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), fmt.Sprintf(" %#x ", fiFreeze)) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Skip("it does not begin, or the kernel does not tell")
}

// When FIFREEZE takes longer than is allowed the watchdog must be there when it is over at last.
func TestFreeze_ItselfTakesTooLong_IsThawedAndItIsKnown(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	outer, _, inner := nested(t)
	p, done := placeAt(t, inner), make(chan error, 1)
	slowFreeze(t, outer, inner, func() {
		go func() {
			f, err := freeze(p, Watchdog{Args: []string{"watchdog"}, Longest: 200 * time.Millisecond, Stderr: os.Stderr})
			if err == nil {
				_, err = f.thaw()
				err = fmt.Errorf("it was frozen for too long: %w", errors.Join(err, errors.ErrUnsupported))
			}
			done <- err
		}()
		isFreezing(t, os.Getpid())
		time.Sleep(2 * time.Second) // longer than the watchdog would try after the end of the process
	})
	if err := <-done; !errors.Is(err, ErrThawed) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(filepath.Join(inner, "x"), nil, 0o600))
}

func TestFreeze_KilledWhileItIsUnderWay_IsThawedWhenItIsOver(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	outer, _, inner := nested(t)
	n := writer(t, inner)
	thawAtEnd(t, inner)
	goesOn(t, n)
	victim := exec.Command("/proc/self/exe", "freezer", inner)
	victim.Stderr = os.Stderr
	slowFreeze(t, outer, inner, func() {
		must(t, victim.Start())
		isFreezing(t, victim.Process.Pid)
		must(t, victim.Process.Kill())
		time.Sleep(1500 * time.Millisecond)
	})
	if err := victim.Wait(); err == nil {
		t.Error("the killed run went well")
	}
	goesOn(t, n)
}

// runFreezer is a run that freezes a file system, and has no time to do anything else.
func runFreezer(at string) {
	p, err := openMountPoint(at)
	if err == nil {
		_, err = freeze(p, Watchdog{Args: []string{"watchdog"}, Longest: 200 * time.Millisecond, Stderr: os.Stderr})
	}
	fail(fmt.Errorf("it went on: %w", err))
}

// A run may be waiting for its lock for long before it freezes anything: if it ends then, what somebody else has frozen is not its own.
func TestFreeze_RunEndsBeforeIt_WatchdogThawsNothing(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	_, mounted := frozenImage(t, "ext4")
	thawAtEnd(t, mounted)
	p := placeAt(t, mounted)
	watched, err := places{p}.watched(t.Context(), Watchdog{Args: []string{"watchdog"}, Longest: 50 * time.Millisecond})
	must(t, err)
	must(t, ioctl(p.dir, fiFreeze, nil))
	time.Sleep(200 * time.Millisecond) // its time does not count yet
	must(t, watched[0].dismiss())
	if err := ioctl(p.dir, fiThaw, nil); err != nil {
		t.Errorf("it was thawed: %v", err)
	}
}

func TestTake_WatchdogIsKilled_IsThawedAllTheSame(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	_, mounted := frozenImage(t, "ext4")
	f, err := freeze(placeAt(t, mounted), Watchdog{Args: []string{"watchdog"}, Longest: time.Hour})
	must(t, err)
	must(t, f.dog.Process.Kill())
	f.longest = 0 // it is over now
	if _, err := f.thaw(); !errors.Is(err, ErrThawed) {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(filepath.Join(mounted, "x"), nil, 0o600))
}

// The order of the steps, with what is dirty written before anybody waits.
func TestTake_LockAndFreeze_WhatIsDirtyIsWrittenBefore(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, freezing := range []bool{false, true} {
		while := "wait" // for what can be written
		if freezing {
			while = "sleep 0.2"
		}
		image, mounted := frozenImage(t, "ext4")
		const marker = "written before anybody waits"
		write(t, filepath.Join(mounted, "dirty"), strings.Repeat(marker, 1000))
		lock, log := script(t, fmt.Sprintf(`grep -qa "%[1]s" %[2]s && echo synced >> $LOG
test -e %[3]s/locked || echo x > %[3]s/locked; echo lock >> $LOG; "$@"; status=$?
echo x > %[3]s/unlocked; echo unlock >> $LOG; exit $status`, marker, image, mounted))
		program, _ := script(t, fmt.Sprintf(`LOG=%[2]s
test $KURA_SNAPSHOT = create || { echo $KURA_SNAPSHOT >> $LOG; exit 0; }
touch %[1]s/late >&- 2>&- & %[3]s; test -e %[1]s/late || echo frozen >> $LOG
echo create >> $LOG; echo $KURA_SNAPSHOT_OF`, mounted, log, while))
		taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
		taker.Lock, taker.FreezeDevices = lock, freezing
		taken, err := taker.Take(t.Context(), []string{image})
		must(t, err)
		must(t, taken.Remove(t.Context()))
		want := "synced lock create unlock check remove"
		if freezing {
			want = "synced lock frozen create unlock check remove"
		}
		if got := strings.Join(strings.Fields(read(t, log)), " "); got != want {
			t.Errorf("freezing: %v: %s", freezing, got)
		}
	}
}

func TestTake_OneFileSystemWithinTheOther_InnerIsFrozenFirst(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	outer, _, inner := nested(t)
	other := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	taker := newTaker(t, t.TempDir(), "command", Options{Command: "test $KURA_SNAPSHOT != create || echo $KURA_SNAPSHOT_OF"})
	taker.Watchdog.Longest = 2 * time.Minute
	for _, order := range [][]string{{outer, inner}, {inner, outer}} {
		write(t, filepath.Join(inner, "dirty"), "x")
		taker.Freeze = order
		taken, err := taker.Take(t.Context(), []string{other})
		must(t, err)
		must(t, taken.Remove(t.Context()))
	}
}

// What is mounted over what was meant must not be frozen in its place.
func TestTake_AnotherIsMountedOverIt_ItIsNotFrozen(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image, mounted := frozenImage(t, "ext4")
	upper, _ := frozenImage(t, "ext4")
	program, _ := script(t, cloud)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
	taker.FreezeDevices = true
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && strings.TrimSpace(string(b)) == upper {
			must(t, unix.Mount("/dev/"+filepath.Base(filepath.Dir(filepath.Dir(l))), mounted, "ext4", 0, ""))
			defer func() { must(t, unix.Unmount(mounted, unix.MNT_DETACH)) }()
		}
	}
	if taken, err := taker.Take(t.Context(), []string{image}); !errors.Is(err, ErrFreeze) {
		t.Errorf("frozen for %v, %v", taken.Frozen, err)
		must(t, taken.Remove(t.Context()))
	}
}

func TestTake_UnmountedWhileTheLockIsWaitedFor_WhatWasMeantIsFrozen(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	_, outer := frozenImage(t, "ext4")
	image, _ := frozenImage(t, "ext4")
	at := filepath.Join(outer, "at")
	must(t, os.Mkdir(at, 0o755))
	must(t, unix.Mount(testsys.Loop(t, image), at, "ext4", 0, ""))
	lock, log := script(t, fmt.Sprintf(`umount -l %s || exit 9; "$@"`, at))
	program, _ := script(t, fmt.Sprintf(`test $KURA_SNAPSHOT = create || exit 0
touch %[1]s/x && echo goes on >> %[2]s; echo $KURA_SNAPSHOT_OF`, outer, log))
	taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
	taker.Freeze, taker.Lock = []string{at}, lock
	taken, err := taker.Take(t.Context(), []string{write(t, filepath.Join(t.TempDir(), "volume"), "x")})
	must(t, err)
	must(t, taken.Remove(t.Context()))
	if b, err := os.ReadFile(log); err != nil || string(b) != "goes on\n" {
		t.Errorf("what it had been mounted in was frozen: %q, %v", b, err)
	}
}
