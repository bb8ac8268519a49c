package lvmtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testrand"
)

func TestSecondRun_WhileTheFirstReads_BothSucceed(t *testing.T) {
	b := newBox(t, 160)
	w := b.write(b.volume("data", "ext4", 32, 6))
	before := w.acknowledged()
	first := b.start("device", "backup", device("data"), "--snapshot", "lvm", "--tag", "first", slowly)
	name := first.reading()
	must(t, first.Process.Signal(syscall.SIGSTOP))
	b.env = append(b.env, "KURA_CACHE_DIR="+filepath.Join(b.dir, "cache2")) // the first may have stopped while it had its own locked
	if out := b.kura("device", "backup", device("data"), "--snapshot", "lvm", "--tag", "second"); strings.Contains(out, "removed") {
		t.Errorf("%s", out)
	}
	b.kura("device", "cleanup")
	if left := b.snapshots(); len(left) != 1 || left[0] != name {
		t.Errorf("%q, and not %s", left, name)
	}
	must(t, first.Process.Signal(syscall.SIGCONT))
	if out, err := first.wait(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	w.check(b.clean("ext4", b.restored("--tag", "first")), before)
}

func TestKilled_WhileItReads_NextRunRemovesTheSnapshot(t *testing.T) {
	b := newBox(t, 160)
	w := b.write(b.volume("data", "ext4", 32, 6))
	b.sh("lvcreate --yes --snapshot --name mine --size 16m %s/data", group)
	for _, again := range []string{"backup", "cleanup"} {
		r := b.start("device", "backup", device("data"), "--snapshot", "lvm", slowly)
		name := r.reading()
		must(t, r.Process.Kill())
		_, _ = r.wait()
		if left := b.snapshots(); len(left) != 1 || left[0] != name {
			t.Fatalf("left: %q", left)
		}
		args := []string{"device", again}
		if again == "backup" {
			args = append(args, device("data"), "--snapshot", "lvm")
		}
		if out := b.kura(args...); !strings.Contains(out, "removed the lvm snapshot "+name) {
			t.Errorf("%s", out)
		}
		b.nothingIsLeft()
	}
	w.goesOn()
	b.sh("lvremove --yes %s/mine", group) // is still there
}

// TestEnded_WhileLVMHasSuspended… stops LVM where it would do the most harm: between the moment when it has made all who write to the volume
// wait, and the moment when it lets them go on.
func TestEnded_WhileLVMHasSuspendedTheVolume_ItGoesOn(t *testing.T) {
	const size = 100
	b := newBox(t, size)
	at := b.volume("data", "ext4", 32, 4)
	// Behind LVM's own data each write takes long, so that the moment can be caught.
	const whole, own = mib / sector, behind + mib/sector
	slow := []string{
		fmt.Sprintf("0 %d linear %s %d", whole, under, behind),
		fmt.Sprintf("%d %d delay %s %d 0 %s %d 500", whole, sectors(size)-whole, under, own, under, own),
	}
	w := b.write(at)
	for name, c := range map[string]struct {
		args  []string
		end   syscall.Signal
		after time.Duration
	}{
		"lock held too long": {[]string{"--lock-command", "exec", "--max-hold", "20s"}, 0, 20 * time.Second},
		"terminated":         {nil, syscall.SIGTERM, 0},
		"killed":             {nil, syscall.SIGKILL, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			b.table(slow...)
			r := b.start(append([]string{"device", "backup", device("data"), "--snapshot", "lvm"}, c.args...)...)
			b.until("LVM suspends the volume", b.stopSuspending)
			b.until("it is suspended", func() bool { return strings.Contains(b.suspended(), group+"-data") })
			must(t, r.Process.Signal(c.end))
			time.Sleep(c.after + 8*time.Second) // longer than kura waits for what it has told to end
			next := r
			if c.end == syscall.SIGKILL { // what LVM goes on with must not get lost
				_, _ = r.wait()
				next = b.start("device", "cleanup")
			}
			b.sh("pkill -CONT '^lvcreate$' || true")
			out, err := next.wait()
			t.Logf("%v: %s", err, out)
			if ended := err != nil; ended != (next == r) {
				t.Errorf("%v: %s", err, out)
			}
			b.until("LVM has ended", b.noLVM)
			b.nothingIsLeft()
			b.table(plain(size))
			w.goesOn()
		})
	}
}

// stopSuspending stops LVM if it waits for the kernel to write out what is dirty, and for all writes to end. It is asked often: that must not take
// longer than the kernel does.
func (b *box) stopSuspending() bool {
	b.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(b.t, err)
	for _, p := range all {
		if name, err := os.ReadFile(filepath.Join(p, "comm")); err != nil || string(name) != "lvcreate\n" {
			continue
		}
		stack, err := os.ReadFile(filepath.Join(p, "stack"))
		pid, numberErr := strconv.Atoi(filepath.Base(p))
		if err == nil && numberErr == nil && strings.Contains(string(stack), "dm_suspend") {
			return syscall.Kill(pid, syscall.SIGSTOP) == nil
		}
	}
	return false
}

// noLVM reports whether no program of LVM is at work any more.
func (b *box) noLVM() bool {
	return exec.Command("pgrep", "^lv(create|remove|extend|change)$").Run() != nil
}

func TestEnded_AtRandomMoments_NothingStandsStillOrIsLeft(t *testing.T) {
	b := newBox(t, 160)
	w := b.write(b.volume("data", "ext4", 32, 4))
	rng := testrand.New(t)
	began := time.Now()
	b.kura("device", "backup", device("data"), "--snapshot", "lvm")
	whole := time.Since(began)
	for i := range *roundsFlag {
		end := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2]
		after := time.Duration(rng.Int64N(int64(whole)))
		r := b.start("device", "backup", device("data"), "--snapshot", "lvm", slowly)
		time.Sleep(after)
		must(t, ignore(r.Process.Signal(end), os.ErrProcessDone))
		_, err := r.wait()
		// What LVM has begun it brings to an end.
		b.until("LVM has ended", b.noLVM)
		left := b.snapshots()
		t.Logf("%v after %v of %v: %v, left %q", end, after, whole, err, left)
		if end == syscall.SIGTERM && len(left) > 0 {
			t.Error("a run that was asked to end has left its snapshot")
		}
		if s := b.suspended(); s != "" {
			t.Fatalf("stands still: %s", s)
		}
		w.goesOn()
		b.kura("device", "cleanup")
		b.nothingIsLeft()
		if t.Failed() {
			return
		}
	}
}

// ignore is nil in place of an error that does not matter.
func ignore(err, unimportant error) error {
	if errors.Is(err, unimportant) {
		return nil
	}
	return err
}

func TestFreeze_KilledInIt_VolumeGoesOn(t *testing.T) {
	b := newBox(t, 100)
	w := b.write(b.volume("data", "ext4", 32, 4))
	begun := filepath.Join(b.dir, "begun")
	slow := "test $KURA_SNAPSHOT != create || { echo > " + begun + "; sleep 1000; }"
	r := b.start("device", "backup", device("data"), "--freeze", "--max-hold", "1h", "--snapshot", "command", "--snapshot-command", slow)
	b.until("it is frozen", func() bool {
		_, err := os.Stat(begun)
		return err == nil
	})
	must(t, r.Process.Kill())
	_, _ = r.wait()
	w.goesOn()
	b.kura("device", "cleanup")
}

// A file system that lies in another one waits for that, when both are frozen, if that is first, however many devices are between the two.
func TestFreeze_VolumeOnALoopDeviceInAnother_InnerOneIsFirst(t *testing.T) {
	b := newBox(t, 160)
	outer := b.volume("data", "ext4", 96, 4)
	image := filepath.Join(outer, "disk")
	inner := filepath.Join(b.dir, "inner")
	b.sh("truncate --size 48M %s; losetup /dev/loop6 %s; dmsetup create inner --table '0 %d linear /dev/loop6 0'", image, image, 48*mib/sector)
	t.Cleanup(func() { b.sh("udevadm settle; dmsetup remove --retry inner; losetup --detach /dev/loop6") })
	b.sh("mkfs.ext4 -q /dev/mapper/inner; mkdir %s; mount /dev/mapper/inner %s", inner, inner)
	t.Cleanup(func() { b.sh("umount %s", inner) })
	w := b.write(inner)
	out := b.kura("device", "backup", image, "--freeze-mount", outer, "--freeze-mount", inner, "--max-hold", "10m",
		"--snapshot", "command", "--snapshot-command", "test $KURA_SNAPSHOT != create || echo "+image)
	t.Logf("%s", out)
	w.goesOn()
}
