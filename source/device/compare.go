package device

import (
	"errors"
	"fmt"
	"os"
	"slices"

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
func compareExtents(old []fiemapExtent, b *os.File, size int64) (out []source.Range, err error) {
	at := 0
	err = extents(b, func(e *fiemapExtent) error {
		from, to := min(e.logical, uint64(size)), min(e.logical+e.length, uint64(size))
		out = appendRange(out, source.Zero, int64(from)-end(out))
		for from < to {
			for at < len(old) && old[at].logical+old[at].length <= from {
				at++
			}
			kind, until := e.compare(old[at:], from, to)
			out = appendRange(out, kind, int64(until-from))
			from = until
		}
		if len(out) > maxMapRanges {
			return fmt.Errorf("%w: more than %d ranges", ErrMap, maxMapRanges)
		}
		return nil
	})
	return appendRange(out, source.Zero, size-end(out)), err
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

// StateOf names the state of an image: another file has another name, and so has the same one after it was written to.
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
		"file-%s-%x-%x.%x-%x.%x-%x", fs, st.Ino, st.Btime.Sec, st.Btime.Nsec, st.Mtime.Sec, st.Mtime.Nsec, st.Size,
	), nil
}
