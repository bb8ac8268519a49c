package testsys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Inode flags, as FS_IOC_SETFLAGS takes them.
const (
	FlagSync      = 0x8
	FlagImmutable = 0x10
	FlagAppend    = 0x20
	FlagNoDump    = 0x40
	FlagNoAtime   = 0x80
	FlagDirSync   = 0x10000
)

// exhibit is an entry of the gallery. What is zero is left as it comes; folders stand before what is in them.
type exhibit struct {
	name     string
	create   func(path string) error
	root     bool // only root can make it
	uid, gid int
	mode     uint32 // the permission bits, and some other bit where these are 0
	xattrs   map[string][]byte
	time     unix.Timespec
	flags    int
}

// Gallery fills a folder with one of everything that a file tree can hold, always the same, and returns what the
// user or the file system does not allow. No sockets are among it.
func Gallery(t testing.TB, root string) (lacking []string) {
	t.Helper()
	Unlock(t, root)
	all := exhibits()
	if os.Geteuid() != 0 {
		all = slices.DeleteFunc(all, func(x exhibit) bool { return x.root })
		lacking = append(lacking, "what only root can make")
	}
	for i := range all {
		x := &all[i]
		if err := x.create(filepath.Join(root, x.name)); err != nil {
			t.Fatal(err)
		}
		if x.time == (unix.Timespec{}) {
			x.time = unix.Timespec{Sec: 1_600_000_000 + int64(i), Nsec: int64(i * 7919 % 1_000_000_000)}
		}
	}
	must(t, MakeDeep(filepath.Join(root, "deep"), strings.Repeat("d", 200), 60))
	for _, set := range []func(*exhibit, string) error{(*exhibit).setMeta, (*exhibit).setFlags} {
		for i := range slices.Backward(all) {
			x := &all[i]
			err := set(x, filepath.Join(root, x.name))
			if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM) {
				lacking = append(lacking, fmt.Sprintf("%q: %v", x.name, err))
			} else if err != nil {
				t.Fatalf("%q: %v", x.name, err)
			}
		}
	}
	return lacking
}

func (x *exhibit) setMeta(path string) error {
	if x.root {
		if err := os.Lchown(path, x.uid, x.gid); err != nil {
			return err
		}
	}
	var refused error // the rest is worth having
	for name, value := range x.xattrs {
		err := unix.Lsetxattr(path, name, value, 0)
		if len(value) > 3000 && (err == unix.ENOSPC || err == unix.E2BIG) { // ext4 has one block for all of them
			err = unix.Lsetxattr(path, name, value[:3000], 0)
		}
		if err != nil {
			refused = fmt.Errorf("%s: %w", name, err)
		}
	}
	if x.mode != 0 {
		if err := unix.Chmod(path, x.mode&0o7777); err != nil {
			return err
		}
	}
	times := []unix.Timespec{x.time, x.time}
	return errors.Join(unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW), refused)
}

func (x *exhibit) setFlags(path string) error {
	if x.flags == 0 {
		return nil
	}
	return ChangeFlags(path, x.flags, 0)
}

// Flags returns the inode flags of a file or folder.
func Flags(path string) (flags int, err error) {
	err = withFlags(path, func(_ int, now int) error {
		flags = now
		return nil
	})
	return flags, err
}

// ChangeFlags sets and clears inode flags of a file or folder.
func ChangeFlags(path string, set, unset int) error {
	return withFlags(path, func(fd int, now int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, now&^unset|set); err != nil {
			return fmt.Errorf("inode flags %#x: %w", set, err)
		}
		return nil
	})
}

func withFlags(path string, do func(fd int, now int) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("inode flags: %w", err)
	}
	return do(fd, int(now))
}

// Unlock makes sure that everything below a folder can be removed when the test is over.
func Unlock(t testing.TB, root string) {
	t.Cleanup(func() {
		// What goes wrong here, removing the folder tells.
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			switch {
			case errors.Is(err, unix.ENAMETOOLONG) || len(path) > unix.PathMax/2: // nothing is locked that deep
				return filepath.SkipDir
			case d == nil:
			case os.Geteuid() != 0 && d.IsDir():
				_ = os.Chmod(path, 0o700)
			case os.Geteuid() == 0 && (d.IsDir() || d.Type().IsRegular()):
				_ = ChangeFlags(path, 0, FlagImmutable|FlagAppend)
			}
			return nil
		})
	})
}

// MakeDeep makes folders of a name in each other, each with a file "f" in it that has the depth as its content.
// Paths may be longer than system calls take. The times are always the same.
func MakeDeep(root, name string, depth int) (err error) {
	at, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(at)) }()
	move := func(to string) error {
		fd, err := unix.Openat(at, to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Close(at)
		at = fd
		return err
	}
	stamp := func(level int) []unix.Timespec {
		ts := unix.Timespec{Sec: 1_500_000_000 + int64(level), Nsec: int64(level)}
		return []unix.Timespec{ts, ts}
	}
	for i := range depth {
		if err := errors.Join(unix.Mkdirat(at, name, 0o755), move(name), writeAt(at, "f", fmt.Append(nil, i))); err != nil {
			return err
		}
		if err := unix.UtimesNanoAt(at, "f", stamp(i), 0); err != nil {
			return err
		}
	}
	for i := range depth {
		if err := errors.Join(move(".."), unix.UtimesNanoAt(at, name, stamp(depth-i), 0)); err != nil {
			return err
		}
	}
	return nil
}

func writeAt(dir int, name string, data []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, data)
	return errors.Join(err, unix.Close(fd))
}

// ACL encodes an access control list that grants rights to user 1234, as Linux keeps it.
func ACL(owner, user, group, mask, other uint16) []byte {
	const none = ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, owner, none}, {2, user, 1234}, {4, group, none}, {0x10, mask, none}, {0x20, other, none}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// Capability encodes file capabilities: the permitted set, effective.
func Capability(permitted uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	b = binary.LittleEndian.AppendUint32(b, permitted)
	return append(b, make([]byte, 12)...)
}

// random returns bytes that do not compress, always the same for a seed.
func random(seed uint64, n int) []byte {
	src := rand.NewPCG(seed, 1)
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, src.Uint64())
	}
	return b[:n]
}
