package files

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Attr is an extended attribute.
type Attr struct {
	Name  string
	Value []byte
}

// attrBuffers are large enough for any list of names and any value that the kernel returns
// (XATTR_LIST_MAX and XATTR_SIZE_MAX).
var attrBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Attrs returns the file's extended attributes, sorted by name.
func (f File) Attrs() ([]Attr, error) { return attrsOf(f.fd) }

// Attrs returns the folder's extended attributes, sorted by name.
func (d *Dir) Attrs() ([]Attr, error) {
	fd, err := d.use()
	if err != nil {
		return nil, err
	}
	defer d.done()
	if d.path { // descriptors made with O_PATH have no attributes
		return attrs(
			func(b []byte) (int, error) { return unix.Listxattr(d.name, b) },
			func(name string, b []byte) (int, error) { return unix.Getxattr(d.name, name, b) },
		)
	}
	return attrsOf(fd)
}

// AttrsOf returns the extended attributes of an entry that is neither opened nor followed. It needs /proc: there
// is no such call relative to a folder in kernels before 6.13.
func (d *Dir) AttrsOf(name string) ([]Attr, error) {
	fd, err := d.use()
	if err != nil {
		return nil, err
	}
	defer d.done()
	path := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
	return attrs(
		func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) },
	)
}

func attrsOf(fd int) ([]Attr, error) {
	return attrs(
		func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) },
	)
}

func attrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]Attr, error) {
	buf := attrBuffers.Get().(*[64 << 10]byte)
	defer attrBuffers.Put(buf)
	n, err := list(buf[:])
	if n == 0 && err == nil || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	var out []Attr
	var failed error
	for name := range strings.SplitSeq(string(bytes.TrimSuffix(buf[:n], []byte{0})), "\x00") {
		n, err := get(name, buf[:])
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) { // removed meanwhile; listed but not for us
			continue
		}
		if err != nil {
			failed = fmt.Errorf("read extended attribute %s: %w", name, err)
			continue
		}
		out = append(out, Attr{name, bytes.Clone(buf[:n])})
	}
	slices.SortFunc(out, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b Attr) bool { return a.Name == b.Name }), failed
}

// kept are the inode flags that users set, and those that say what the file system does with a file for its
// user: encrypt it, sign it, ignore case in its names. The others say how it has stored the file (with extents, an
// index, inline), which says nothing about another copy.
const kept = 0x3C0FF | // secure deletion … append only, no dump, no atime; data journal … top of hierarchies
	0x400 | // not to be compressed
	0x800 | // encrypted
	0x00100000 | // fs-verity
	0x00800000 | // no copy on write
	0x02000000 | // direct access
	0x20000000 | // inherit project
	0x40000000 // case-insensitive names

// Flags returns the file's inode flags, 0 where the file system has none.
func (f File) Flags() uint32 { return flagsOf(f.fd) }

// Flags returns the folder's inode flags, 0 where the file system has none.
func (d *Dir) Flags() uint32 {
	if d.path {
		return 0
	}
	fd, err := d.use()
	if err != nil {
		return 0
	}
	defer d.done()
	return flagsOf(fd)
}

func flagsOf(fd int) uint32 {
	// The kernel writes an int, whatever the ioctl's number says.
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0
	}
	return flags & kept
}
