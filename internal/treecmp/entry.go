package treecmp

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// entry compares the two entries of a name.
func (c *comparer) entry(name string) error {
	c.entries++
	var st [2]unix.Stat_t
	for i := range c.sides {
		var err error
		if st[i], err = c.sides[i].stat(name); err != nil {
			return c.failed(name, err)
		}
	}
	a, b := &st[0], &st[1]
	kind := a.Mode & unix.S_IFMT
	if kind != b.Mode&unix.S_IFMT {
		c.differ(name, Type, kindName(a.Mode), kindName(b.Mode))
		return nil
	}
	c.numbers(name, a, b)
	if kind != unix.S_IFDIR {
		c.hardLink(name, a, b)
	}
	if err := c.xattrs(name); err != nil {
		return c.failed(name, err)
	}
	var err error
	switch kind {
	case unix.S_IFREG:
		err = c.file(name, a.Size, b.Size)
	case unix.S_IFDIR:
		err = c.withBoth(name, unix.O_DIRECTORY, func(a, b int) error { return c.flags(name, a, b) })
	case unix.S_IFLNK:
		err = c.target(name)
	}
	if err != nil {
		return c.failed(name, err)
	}
	return nil
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "folder"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	}
	return fmt.Sprintf("mode %#o", mode)
}

// numbers compares what is in the inode of any entry.
func (c *comparer) numbers(name string, a, b *unix.Stat_t) {
	if a.Mode != b.Mode {
		c.differ(name, Mode, fmt.Sprintf("%#o", a.Mode&0o7777), fmt.Sprintf("%#o", b.Mode&0o7777))
	}
	if a.Uid != b.Uid {
		c.differ(name, UID, fmt.Sprint(a.Uid), fmt.Sprint(b.Uid))
	}
	if a.Gid != b.Gid {
		c.differ(name, GID, fmt.Sprint(a.Gid), fmt.Sprint(b.Gid))
	}
	if a.Mtim != b.Mtim {
		c.differ(name, ModTime, fmt.Sprintf("%d.%09d", a.Mtim.Sec, a.Mtim.Nsec), fmt.Sprintf("%d.%09d", b.Mtim.Sec, b.Mtim.Nsec))
	}
	if kind := a.Mode & unix.S_IFMT; (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && a.Rdev != b.Rdev {
		c.differ(name, Device, fmt.Sprintf("%#x", a.Rdev), fmt.Sprintf("%#x", b.Rdev))
	}
}

// hardLink compares with which earlier entries these two share their inodes. The number of links says nothing:
// some may be outside of what is compared.
func (c *comparer) hardLink(name string, a, b *unix.Stat_t) {
	if a.Nlink < 2 && b.Nlink < 2 {
		return
	}
	first, second := number(c.links, a, c.entries), number(c.linksTo, b, c.entries)
	if first != second {
		c.differ(name, HardLink, linkText(first, c.entries), linkText(second, c.entries))
	}
}

// number returns by which entry an inode was met first.
func number(m map[inode]int, st *unix.Stat_t, entry int) int {
	if n, ok := m[inodeOf(st)]; ok {
		return n
	}
	m[inodeOf(st)] = entry
	return entry
}

func linkText(first, entry int) string {
	if first == entry {
		return "not met before"
	}
	return fmt.Sprintf("the same as entry %d", first)
}

func (c *comparer) xattrs(name string) error {
	var values [2]map[string][]byte
	for i := range c.sides {
		var err error
		if values[i], err = c.sides[i].xattrs(name); err != nil {
			return err
		}
	}
	a, b := values[0], values[1]
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, attr := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[attr]
		y, inB := b[attr]
		if inA != inB || !bytes.Equal(x, y) {
			c.differ(name, XAttr, attrText(attr, x, inA), attrText(attr, y, inB))
		}
	}
	return nil
}

func attrText(name string, value []byte, ok bool) string {
	if !ok {
		return "no " + name
	}
	const most = 64
	return fmt.Sprintf("%s of %d bytes, %x", name, len(value), value[:min(len(value), most)])
}

// xattrs reads extended attributes through the folder's entry in /proc, which works for all types.
func (s *side) xattrs(name string) (map[string][]byte, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", s.fd, name)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values := map[string][]byte{}
	for _, attr := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		n, err := unix.Lgetxattr(path, attr, buf)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", attr, err)
		}
		values[attr] = bytes.Clone(buf[:n])
	}
	return values, nil
}

func (c *comparer) target(name string) error {
	var targets [2]string
	for i := range c.sides {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(c.sides[i].fd, name, buf)
		if err != nil {
			return err
		}
		targets[i] = string(buf[:n])
	}
	if targets[0] != targets[1] {
		c.differ(name, Target, fmt.Sprintf("%q", targets[0]), fmt.Sprintf("%q", targets[1]))
	}
	return nil
}

// comparedFlags are the inode flags that users set. The others tell how a file system stores the file.
const comparedFlags = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x10000 | 0x20000 |
	0x800000 | 0x2000000 | 0x20000000 | 0x40000000

func (c *comparer) flags(name string, a, b int) error {
	first, err := flagsOf(a)
	if err != nil {
		return err
	}
	second, err := flagsOf(b)
	if err == nil && first != second {
		c.differ(name, Flags, fmt.Sprintf("%#x", first), fmt.Sprintf("%#x", second))
	}
	return err
}

func flagsOf(fd int) (uint32, error) {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return 0, nil // the file system has none
	}
	return flags & comparedFlags, err
}

// withBoth opens the two entries of a name for reading.
func (c *comparer) withBoth(name string, flags int, do func(a, b int) error) (err error) {
	var fds [2]int
	for i := range c.sides {
		fd, err := unix.Openat(c.sides[i].fd, name, flags|unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unix.Close(fd)) }()
		fds[i] = fd
	}
	return do(fds[0], fds[1])
}
