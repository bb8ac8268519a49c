package device

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/mounts"
	"github.com/kura-backup/kura/source"
)

// Compare makes a map of what changed from one copy of an image to a newer one, which share what is the same: reflinks on XFS or btrfs, or
// files in snapshots of a btrfs subvolume. What lies at the same place of the disk in both is the same, as long
// as both are there and neither is written to: what is shared is never changed in place. Moving data about, as defragmenting does, only makes
// more of it look changed.
func Compare(older, newer string) (_ *Map, err error) {
	a, err := os.Open(older)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	b, err := os.Open(newer)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	one, err := mounts.SameFileSystem(older, newer)
	if err != nil {
		return nil, err
	}
	info, err := b.Stat()
	for _, f := range []*os.File{a, b} {
		if err == nil {
			err = hasUniquePlaces(f)
		}
	}
	if err == nil && !one {
		err = fmt.Errorf("%w: %s and %s are in different file systems, and share nothing", ErrMap, older, newer)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no file", ErrMap, newer)
	}
	if err != nil {
		return nil, err
	}
	m := new(Map)
	if m.Since, err = StateOf(a); err != nil {
		return nil, err
	}
	if m.State, err = StateOf(b); err != nil {
		return nil, err
	}
	if m.Ranges, err = compareStill(a, b, info.Size()); err != nil {
		return nil, err
	}
	for f, was := range map[*os.File]string{a: m.Since, b: m.State} {
		if now, err := StateOf(f); err != nil || now != was {
			return nil, errors.Join(err, fmt.Errorf("%w: %s is being written to", ErrMap, f.Name()))
		}
	}
	return m, nil
}

// hasUniquePlaces returns an error unless what FIEMAP calls the place of a file's bytes is the place of no others in the file system. On
// XFS and btrfs it is; others have several disks and say not which of them they mean, as XFS does of a realtime device, or hand on what those below
// say.
func hasUniquePlaces(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	switch st.Type {
	case unix.BTRFS_SUPER_MAGIC:
		return nil
	case unix.XFS_SUPER_MAGIC:
	default:
		return fmt.Errorf("%w: %s is neither on XFS nor on btrfs", ErrMap, f.Name())
	}
	var attr [7]uint32 // struct fsxattr
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocGetXattr, uintptr(unsafe.Pointer(&attr))); errno != 0 {
		return fmt.Errorf("device: attributes of %s: %w", f.Name(), errno)
	}
	if attr[0]&xflagRealtime != 0 {
		return fmt.Errorf("%w: %s is on a realtime device", ErrMap, f.Name())
	}
	return nil
}

// What linux/fs.h says, and x/sys does not.
const (
	fsIocGetXattr = 0x801c581f
	xflagRealtime = 1
)

// compareTries is how often it is tried to compare files that are moved about on the disk meanwhile.
const compareTries = 5

// compareStill compares the places of two files at one moment. Between the looks at the one and at the other a file system may move something, and something
// else to where that was: so the first one must lie where it did afterwards, too.
func compareStill(a, b *os.File, size int64) ([]source.Range, error) {
	old, err := allExtents(a)
	if err != nil {
		return nil, err
	}
	for range compareTries {
		out, err := compareExtents(old, b, size)
		if err != nil {
			return nil, err
		}
		again, err := allExtents(a)
		if err != nil {
			return nil, err
		}
		if slices.Equal(old, again) {
			return out, nil
		}
		old = again
	}
	return nil, fmt.Errorf("%w: %s is being moved about on the disk", ErrMap, a.Name())
}

// compareExtents goes through the extents of a file beside those of the old one.
func compareExtents(old []fiemapExtent, b *os.File, size int64) ([]source.Range, error) {
	c := comparison{old: old, size: size}
	err := extents(b, c.add)
	return appendRange(c.out, source.Zero, size-end(c.out)), err
}

// comparison is what is known so far.
type comparison struct {
	old  []fiemapExtent // that end behind the last one of the new ones
	size int64
	out  []source.Range
}

// add compares one more extent. It may begin before the end of the last one, if it was merged with that between two questions: then that part
// is known.
func (c *comparison) add(e *fiemapExtent) error {
	from, to := min(e.logical, uint64(c.size)), min(e.logical+e.length, uint64(c.size))
	c.out = appendRange(c.out, source.Zero, int64(from)-end(c.out))
	for from = max(from, uint64(end(c.out))); from < to; {
		for len(c.old) > 0 && c.old[0].logical+c.old[0].length <= from {
			c.old = c.old[1:]
		}
		kind, until := e.compare(c.old, from, to)
		c.out = appendRange(c.out, kind, int64(until-from))
		from = until
	}
	if len(c.out) > maxMapRanges {
		return fmt.Errorf("%w: more than %d ranges", ErrMap, maxMapRanges)
	}
	return nil
}

// compare says what the range from from on is, and how far that goes. Old extents begin with the first that ends behind from.
func (e *fiemapExtent) compare(old []fiemapExtent, from, to uint64) (kind source.RangeKind, until uint64) {
	if e.flags&extentUnwritten != 0 {
		return source.Zero, to
	}
	if len(old) == 0 || old[0].logical >= to {
		return source.Data, to
	}
	o := &old[0]
	if from < o.logical {
		return source.Data, o.logical
	}
	until = min(to, o.logical+o.length)
	if (e.flags|o.flags)&(extentVague|extentUnwritten) == 0 && e.physical+(from-e.logical) == o.physical+(from-o.logical) {
		return source.Same, until
	}
	return source.Data, until
}

func allExtents(f *os.File) (out []fiemapExtent, err error) {
	err = extents(f, func(e *fiemapExtent) error {
		if len(out) == maxMapRanges {
			return fmt.Errorf("%w: %s has more than %d extents", ErrMap, f.Name(), maxMapRanges)
		}
		out = append(out, *e)
		return nil
	})
	return out, err
}

// StateOf names the state of an image: another file has another name, and so has the same one after it was written to, whatever its time was
// set to then. Being renamed, or linked, makes another state of it, too.
func StateOf(f *os.File) (string, error) {
	var st unix.Statx_t
	const want = unix.STATX_INO | unix.STATX_SIZE | unix.STATX_MTIME | unix.STATX_BTIME | unix.STATX_CTIME
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, want, &st); err != nil {
		return "", fmt.Errorf("device: %s: %w", f.Name(), err)
	}
	fs, err := mounts.FileSystemID(f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(
		"file-%s-%x-%x.%x-%x.%x-%x.%x-%x",
		fs, st.Ino, st.Btime.Sec, st.Btime.Nsec, st.Mtime.Sec, st.Mtime.Nsec, st.Ctime.Sec, st.Ctime.Nsec, st.Size,
	), nil
}
