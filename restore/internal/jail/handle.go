package jail

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Handle is an open or pinned entry whose metadata can be set. Its methods may be called
// concurrently, but for Close.
type Handle struct {
	fd   int
	path bool // opened with O_PATH: the calls on descriptors refuse it
}

// Close releases the descriptor.
func (h *Handle) Close() error { return wrap("close", unix.Close(h.fd)) }

// Stat describes the entry.
func (h *Handle) Stat() (Info, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(h.fd, &st) })
	return infoOf(&st), wrap("stat", err)
}

// proc is a path that leads to the very inode of a pinned descriptor: the kernel jumps there without
// resolving anything, and does not follow a symbolic link that is pinned.
func (h *Handle) proc() string { return fmt.Sprintf("/proc/self/fd/%d", h.fd) }

// KeepID in place of an owner or group leaves it as it is.
const KeepID = ^uint32(0)

// Chown sets owner and group. It clears the setuid and setgid bits and capabilities.
func (h *Handle) Chown(uid, gid uint32) error {
	return wrap("chown", retry(func() error {
		return unix.Fchownat(h.fd, "", int(int32(uid)), int(int32(gid)), unix.AT_EMPTY_PATH)
	}))
}

// Chmod sets the 12 permission bits.
func (h *Handle) Chmod(mode uint32) error {
	return wrap("chmod", retry(func() error {
		if h.path {
			return unix.Fchmodat(unix.AT_FDCWD, h.proc(), mode, 0)
		}
		return unix.Fchmod(h.fd, mode)
	}))
}

// SetXAttr sets an extended attribute.
func (h *Handle) SetXAttr(name string, value []byte) error {
	return wrap("setxattr", retry(func() error {
		if h.path {
			return unix.Setxattr(h.proc(), name, value, 0)
		}
		return unix.Fsetxattr(h.fd, name, value, 0)
	}))
}

// The attributes in which Linux keeps access control lists.
const (
	AccessACL  = "system.posix_acl_access"
	DefaultACL = "system.posix_acl_default"
)

// HasDefaultACL reports whether what is made in the folder inherits an access control list.
func (d *Dir) HasDefaultACL() bool {
	_, err := unix.Fgetxattr(d.fd, DefaultACL, nil)
	return err == nil
}

// DropACLs removes access control lists, inherited ones above all.
func (h *Handle) DropACLs() {
	for _, name := range []string{AccessACL, DefaultACL} {
		// The usual error is that there is none.
		_ = retry(func() error {
			if h.path {
				return unix.Removexattr(h.proc(), name)
			}
			return unix.Fremovexattr(h.fd, name)
		})
	}
}

// SetModTime sets the time of the last modification and leaves that of the last access alone.
func (h *Handle) SetModTime(sec int64, nsec uint32) error {
	return h.setTimes(unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Sec: sec, Nsec: int64(nsec)})
}

// SetAccessTime sets the time of the last access and leaves that of the last modification alone.
func (h *Handle) SetAccessTime(sec int64, nsec uint32) error {
	return h.setTimes(unix.Timespec{Sec: sec, Nsec: int64(nsec)}, unix.Timespec{Nsec: unix.UTIME_OMIT})
}

func (h *Handle) setTimes(access, mod unix.Timespec) error {
	times := [2]unix.Timespec{access, mod}
	return wrap("utimensat", retry(func() error {
		if h.path {
			return unix.UtimesNanoAt(h.fd, "", times[:], unix.AT_EMPTY_PATH)
		}
		// Package unix has no futimens, which is utimensat without a path; it is older than AT_EMPTY_PATH here.
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(h.fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}))
}
