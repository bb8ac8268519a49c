package files

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/tree"
)

// Stat is what the kernel says of an entry.
type Stat struct {
	Type   tree.Type
	Mode   uint32 // the 12 permission bits
	UID    uint32
	GID    uint32
	Size   int64
	Blocks uint64 // allocated, of 512 bytes
	Inode  uint64
	Links  uint64
	Dev    uint64 // device of the file system
	Device uint64 // of a device node, as in tree.Node

	// Unmounted says that nothing is mounted at the entry itself, whatever its device is. Old kernels do not tell.
	Unmounted bool

	MTime, CTime, BTime, ATime tree.Time
}

// SameContent reports whether nothing points to a change of a file between two looks at it.
func (s *Stat) SameContent(o *Stat) bool {
	return s.Type == o.Type && s.Size == o.Size && s.MTime == o.MTime && s.CTime == o.CTime &&
		s.Inode == o.Inode && s.Dev == o.Dev
}

// Stat looks at an entry, or, with follow, at what it leads to if it is a symlink.
func (d *Dir) Stat(name string, follow bool, st *Stat) error {
	at, err := d.use()
	if err != nil {
		return err
	}
	defer d.done()
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return statx(at, name, flags, st)
}

// StatSelf looks at the folder itself, opening it if need be.
func (d *Dir) StatSelf(st *Stat) error {
	fd, err := d.use()
	if err != nil {
		return err
	}
	defer d.done()
	return statx(fd, "", unix.AT_EMPTY_PATH, st)
}

// IsOfKernel reports whether the folder is on a file system of what the kernel says of itself and of its processes.
func (d *Dir) IsOfKernel() bool {
	fd, err := d.use()
	if err != nil {
		return false
	}
	defer d.done()
	var st unix.Statfs_t
	for {
		if err := unix.Fstatfs(fd, &st); err != unix.EINTR {
			break
		}
	}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC:
		return true
	}
	return false
}

func statx(at int, name string, flags int, st *Stat) error {
	var x unix.Statx_t
	for {
		err := unix.Statx(at, name, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("stat: %w", err)
		}
	}
	t := modeType(uint32(x.Mode))
	if t == 0 {
		return fmt.Errorf("stat: unknown kind of file, mode %#o", x.Mode)
	}
	*st = Stat{
		Type: t, Mode: uint32(x.Mode) & 0o7777, UID: x.Uid, GID: x.Gid,
		Size: int64(x.Size), Blocks: x.Blocks, Inode: x.Ino, Links: uint64(x.Nlink),
		Dev:   unix.Mkdev(x.Dev_major, x.Dev_minor),
		MTime: fileTime(x.Mtime.Sec, x.Mtime.Nsec), CTime: fileTime(x.Ctime.Sec, x.Ctime.Nsec),
		ATime: fileTime(x.Atime.Sec, x.Atime.Nsec),
	}
	if t == tree.CharDevice || t == tree.BlockDevice {
		st.Device = uint64(x.Rdev_major)<<32 | uint64(x.Rdev_minor)
	}
	st.Unmounted = x.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && x.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0
	if x.Mask&unix.STATX_BTIME != 0 {
		st.BTime = fileTime(x.Btime.Sec, x.Btime.Nsec)
	}
	return nil
}

// fileTime makes a time of what the kernel says. A damaged ext4 has times with a second's fraction of
// more than a second.
func fileTime(sec int64, nsec uint32) tree.Time { return tree.MakeTime(sec, min(nsec, 999_999_999)) }

func modeType(mode uint32) tree.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return tree.File
	case unix.S_IFDIR:
		return tree.Folder
	case unix.S_IFLNK:
		return tree.Symlink
	case unix.S_IFIFO:
		return tree.FIFO
	case unix.S_IFCHR:
		return tree.CharDevice
	case unix.S_IFBLK:
		return tree.BlockDevice
	case unix.S_IFSOCK:
		return tree.Socket
	}
	return 0
}

// Readlink returns the target of a symlink.
func (d *Dir) Readlink(name string) (string, error) {
	at, err := d.use()
	if err != nil {
		return "", err
	}
	defer d.done()
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(at, name, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("readlink: %w", err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
