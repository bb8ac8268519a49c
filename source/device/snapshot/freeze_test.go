package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// writer writes to a file system without a pause, and counts how often.
func writer(t testing.TB, dir string) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for !stop.Load() {
			if err := os.WriteFile(filepath.Join(dir, "written"), fmt.Append(nil, n.Load()), 0o600); err != nil {
				t.Error(err)
				return
			}
			n.Add(1)
			time.Sleep(time.Millisecond) // others want to run, too
		}
	})
	t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
	})
	return &n
}

// goesOn waits until something more was written.
func goesOn(t testing.TB, n *atomic.Int64) {
	t.Helper()
	for from, i := n.Load(), 0; n.Load() < from+2; i++ {
		if i == 6000 {
			t.Fatal("nothing is written any more: the file system is still frozen")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// frozenImage makes an image with a file system, and mounts it.
func frozenImage(t testing.TB, kind string) (image, mounted string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 400<<20))
	testsys.Format(t, kind, image)
	return image, testsys.MountDevice(t, kind, testsys.Loop(t, image))
}

func TestTake_FreezeUnderWrites_StandsStillMeanwhileAndGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	if !testsys.AsMounter(t) {
		return
	}
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			image, mounted := frozenImage(t, kind)
			n := writer(t, mounted)
			goesOn(t, n)
			// Nothing is written between the beginning and the end of the copy.
			program, log := script(t, fmt.Sprintf(`test $KURA_SNAPSHOT = create || exit 0
cp %[1]s $LOG.1; sleep 0.2; cp %[1]s $LOG.2; echo $KURA_SNAPSHOT_OF`, filepath.Join(mounted, "written")))
			taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
			taker.FreezeDevices = true
			taken, err := taker.Take(t.Context(), []string{image})
			must(t, err)
			if a, b := read(t, log+".1"), read(t, log+".2"); a != b {
				t.Errorf("written to while it was frozen: %q, %q", a, b)
			}
			if taken.Frozen < 200*time.Millisecond || taken.Made.IsZero() {
				t.Errorf("frozen for %v", taken.Frozen)
			}
			t.Logf("%s: frozen for %v", kind, taken.Frozen)
			goesOn(t, n)
			must(t, taken.Remove(t.Context()))
		})
	}
}

func TestFreeze_TakesTooLong_WatchdogThawsAndItIsKnown(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	_, mounted := frozenImage(t, "ext4")
	f, err := freeze(placeAt(t, mounted), Watchdog{Args: []string{"watchdog"}, Longest: time.Second})
	if err == nil { // otherwise it was too late before it was frozen
		must(t, os.WriteFile(filepath.Join(mounted, "x"), []byte("x"), 0o600)) // returns only when it is thawed
		_, err = f.thaw()
	}
	if !errors.Is(err, ErrThawed) {
		t.Errorf("%v", err)
	}
	// Nobody's freeze is ended but one's own.
	first, err := freeze(placeAt(t, mounted), Watchdog{Args: []string{"watchdog"}, Longest: time.Hour})
	must(t, err)
	if _, err := freeze(placeAt(t, mounted), Watchdog{Args: []string{"watchdog"}, Longest: time.Hour}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("frozen twice: %v", err)
	}
	if _, err := first.thaw(); err != nil {
		t.Errorf("the first one: %v", err)
	}
}

// placeAt opens a mount point.
func placeAt(t testing.TB, at string) place {
	t.Helper()
	p, err := openMountPoint(at)
	must(t, err)
	t.Cleanup(func() { must(t, p.dir.Close()) })
	return p
}

func TestTake_CopyTakesTooLong_IsEndedAndThawed(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	if !testsys.AsMounter(t) {
		return
	}
	image, mounted := frozenImage(t, "ext4")
	n := writer(t, mounted)
	goesOn(t, n)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: `test $KURA_SNAPSHOT != create || exec sleep 60`})
	taker.FreezeDevices, taker.Watchdog.Longest = true, time.Second
	_, err := taker.Take(t.Context(), []string{image})
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrThawed) { // as freezing alone may take too long, too
		t.Errorf("%v", err)
	}
	goesOn(t, n)
}

func TestTake_WhatTheRunNeeds_IsNotFrozen(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image, mounted := frozenImage(t, "ext4")
	program, _ := script(t, cloud)
	take := func(change func(*Taker)) error {
		taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
		taker.FreezeDevices = true
		change(taker)
		taken, err := taker.Take(t.Context(), []string{image})
		if err == nil {
			must(t, taken.Remove(t.Context()))
		}
		return err
	}
	must(t, take(func(*Taker) {}))
	for name, change := range map[string]func(*Taker){
		"a cache that is there":    func(t *Taker) { t.Own = []string{mounted} },
		"a repository that is not": func(t *Taker) { t.Own = []string{filepath.Join(mounted, "a", "b")} },
		"the root":                 func(t *Taker) { t.Freeze = []string{"/"} },
		"no mount point": func(tk *Taker) {
			must(t, os.MkdirAll(filepath.Join(mounted, "d"), 0o755))
			tk.Freeze = []string{filepath.Join(mounted, "d")}
		},
		"where the copy is": func(t *Taker) {
			t.FreezeDevices, t.Freeze, t.Provider = false, []string{mounted}, inside{t.Provider}
			t.Own = []string{mounted}
		},
		"an LVM volume":               func(t *Taker) { t.Provider = lvm{} },
		"an image that nobody mounts": func(tk *Taker) { tk.Provider = inside{tk.Provider} },
	} {
		of := image
		if name == "an image that nobody mounts" {
			of = write(t, filepath.Join(t.TempDir(), "other"), "x")
		}
		taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
		taker.FreezeDevices = true
		change(taker)
		if _, err := taker.Take(t.Context(), []string{of}); !errors.Is(err, ErrFreeze) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(mounted, "x"), nil, 0o600))
}

// inside is a provider that writes to the file system of the image.
type inside struct{ Provider }

func (inside) Writes() bool { return true }

// runVictim is a run that freezes a file system and never gets on.
func runVictim(args []string) {
	l, err := OpenLeases(args[0])
	if err != nil {
		fail(err)
	}
	p, err := New("command", Options{Command: args[2]})
	if err != nil {
		fail(err)
	}
	taker := &Taker{
		Kind: "command", Provider: p, Leases: l, FreezeDevices: args[3] == "freeze",
		Watchdog: Watchdog{Args: []string{"watchdog"}, Longest: time.Hour, Stderr: os.Stderr}, Holder: []string{"holder"},
	}
	_, err = taker.Take(context.Background(), []string{args[1]})
	fail(fmt.Errorf("it went on: %w", err))
}

// startVictim starts a run that is in the middle of making a copy when it returns.
func startVictim(t testing.TB, leases, image, program, log string, freeze string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "victim", leases, image, program, freeze)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for i := 0; ; i++ {
		if _, err := os.Stat(log); err == nil {
			return cmd
		}
		if i == 6000 {
			t.Fatal("it does not begin")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const hanging = `echo "$KURA_SNAPSHOT" >> $LOG; test $KURA_SNAPSHOT != create || exec sleep 60`

func TestFreeze_KilledInIt_IsThawedAndTheNextRunRemovesWhatIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	if !testsys.AsMounter(t) {
		return
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			image, mounted := frozenImage(t, kind)
			leases := t.TempDir()
			n := writer(t, mounted)
			goesOn(t, n)
			program, log := script(t, hanging)
			victim := startVictim(t, leases, image, program, log, "freeze")
			dir, err := os.Open(mounted)
			must(t, err)
			if err := ioctl(dir, fiFreeze, nil); !errors.Is(err, unix.EBUSY) {
				t.Errorf("it is not frozen: %v", err)
			}
			must(t, dir.Close())
			must(t, victim.Process.Kill()) // nothing of it runs any more, but for the watchdog
			goesOn(t, n)
			if err := victim.Wait(); err == nil {
				t.Error("the killed run went well")
			}

			l, err := OpenLeases(leases)
			must(t, err)
			defer l.Close()
			left, err := l.Left()
			must(t, err)
			if len(left) != 1 || left[0].Of != image {
				t.Fatalf("left: %+v", left)
			}
			must(t, left[0].Remove(t.Context()))
			if got := read(t, log); got != "create\nremove\n" || len(entries(t, leases)) != 0 {
				t.Errorf("%q, %q", got, entries(t, leases))
			}
		})
	}
}

func TestFreeze_WatchdogToldToEnd_GoesOnWatching(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image, mounted := frozenImage(t, "ext4")
	n := writer(t, mounted)
	goesOn(t, n)
	program, log := script(t, hanging)
	victim := startVictim(t, t.TempDir(), image, program, log, "freeze")
	dog := childOf(t, victim.Process.Pid, "watchdog")
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		must(t, unix.Kill(dog, s))
	}
	if exec.Command("sh", "-c", "echo -1000 > /proc/self/oom_score_adj").Run() == nil { // it is allowed here
		if got := strings.TrimSpace(read(t, fmt.Sprintf("/proc/%d/oom_score_adj", dog))); got != "-1000" {
			t.Errorf("when memory runs out it may go: %s", got)
		}
	}
	must(t, victim.Process.Kill())
	goesOn(t, n)
}

// childOf returns the process that another has started with an argument.
func childOf(t testing.TB, parent int, arg string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, name := range all {
		var pid, ppid int
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		i := strings.LastIndexByte(string(b), ')')
		var state string
		if _, err := fmt.Sscan(string(b[i+1:]), &state, &ppid); err != nil || ppid != parent {
			continue
		}
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if err == nil && strings.Contains(string(line), "\x00"+arg+"\x00") {
			return pid
		}
	}
	t.Fatalf("process %d has no child %s", parent, arg)
	return 0
}

func TestLeases_RunThatLives_IsLeftAlone(t *testing.T) {
	leases, dir := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "volume"), "x")
	program, log := script(t, hanging)
	victim := startVictim(t, leases, image, program, log, "")
	l, err := OpenLeases(leases)
	must(t, err)
	defer l.Close()
	if left, err := l.Left(); err != nil || len(left) != 0 {
		t.Fatalf("of a living run: %+v, %v", left, err)
	}
	must(t, victim.Process.Kill())
	_ = victim.Wait() // was killed
	left, err := l.Left()
	must(t, err)
	if len(left) != 1 {
		t.Fatalf("of a dead run: %+v", left)
	}
	must(t, left[0].Remove(t.Context()))
}

func TestRunWatchdog_CalledByPeople_SaysSo(t *testing.T) {
	for _, arg := range []string{"", "0", "-5", "x"} {
		if _, err := RunWatchdog(arg, strings.NewReader(""), os.Stderr); err == nil {
			t.Errorf("%q: no error", arg)
		}
	}
	if err := RunHolder(); err == nil {
		t.Error("a holder of nothing")
	}
}
