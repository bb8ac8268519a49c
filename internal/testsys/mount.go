package testsys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mount mounts a new file system of the given kind (tmpfs, ext4, xfs, btrfs) and size and returns where. It needs
// [AsMounter], and skips the test, saying why, where the kernel or its tools lack something.
func Mount(t testing.TB, kind string, size int64) string {
	t.Helper()
	if kind == "tmpfs" {
		return mountAt(t, "none", kind, fmt.Sprintf("size=%d", size))
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, size))
	Format(t, kind, image)
	return MountDevice(t, kind, Loop(t, image))
}

// Format makes an empty file system (ext4, xfs, btrfs) in an image.
func Format(t testing.TB, kind, image string) {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", mkfs, err, out)
	}
}

// MountDevice mounts the file system on a block device until the end of the test and returns where. It needs [AsMounter].
func MountDevice(t testing.TB, kind, device string) string {
	t.Helper()
	return mountAt(t, device, kind, "")
}

// MountShort is MountDevice at a folder with a short name, for servers: that of a socket may have about a hundred bytes.
func MountShort(t testing.TB, kind, device string) string {
	t.Helper()
	at, err := os.MkdirTemp("/tmp", "kura-")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(at)) })
	return mount(t, device, at, kind, "")
}

func mountAt(t testing.TB, source, kind, options string) string {
	t.Helper()
	return mount(t, source, t.TempDir(), kind, options)
}

func mount(t testing.TB, source, at, kind, options string) string {
	t.Helper()
	if err := unix.Mount(source, at, kind, 0, options); err != nil {
		t.Skipf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	return at
}

// Loop returns a loop device of an image, which goes when the test and whatever is mounted of it have ended. It skips the test where
// there are none.
func Loop(t testing.TB, image string) string {
	t.Helper()
	name, err := loop(t, image, 0)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	return name
}

// Partitioned returns a loop device of an image, as Loop does, and a partition of it that has all but the first MiB.
func Partitioned(t testing.TB, image string) (disk, part string) {
	t.Helper()
	disk, err := loop(t, image, unix.LO_FLAGS_PARTSCAN)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	info, err := os.Stat(image)
	must(t, err)
	f, err := os.Open(disk)
	must(t, err)
	defer f.Close()
	// What linux/blkpg.h says, and x/sys does not.
	span := struct {
		start, length int64
		number        int32
		_             [132]byte
	}{start: 1 << 20, length: info.Size() - 1<<20, number: 1}
	add := struct {
		op, flags, size int32
		data            unsafe.Pointer
	}{op: 1, size: int32(unsafe.Sizeof(span)), data: unsafe.Pointer(&span)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&add))); errno != 0 {
		t.Skipf("no partitions of loop devices here: %v", errno)
	}
	part = disk + "p1"
	if _, err := os.Stat(part); err != nil {
		t.Skipf("no nodes for partitions here: %v", err)
	}
	return disk, part
}

// loop returns a loop device that goes when nothing uses it any more.
func loop(t testing.TB, image string, flags uint32) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer backing.Close()
	for range 20 { // others may be faster
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("get a free loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | flags}}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			t.Cleanup(func() { _ = dev.Close() }) // after the mount, which then holds it alone
			return name, nil
		}
		_ = dev.Close() // another's, which would not go as long as we have it open
		if !errors.Is(err, unix.EBUSY) {
			return "", fmt.Errorf("set up %s: %w", name, err)
		}
	}
	return "", unix.EBUSY
}
