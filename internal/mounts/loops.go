package mounts

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// LoopsOf returns the loop devices that have a file, or a block device, behind them.
func LoopsOf(path string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return loopsOf(&st), nil
}

func loopsOf(st *unix.Stat_t) (out []string) {
	all, err := filepath.Glob(filepath.Join(sysfs, "block/loop*/loop/backing_file"))
	if err != nil {
		return nil // only a pattern can be wrong
	}
	slices.SortFunc(all, func(a, b string) int { return len(a) - len(b) }) // loop2 before loop10
	for _, name := range all {
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(name)))
		if back, ok := backing(device, name); ok && sameThing(&back, st) {
			out = append(out, device)
		}
	}
	return out
}

// backing returns what is behind a loop device. The path that sysfs has may be that of other mounts than those of this process, or
// have another file by now, so that the device itself is asked first, which root may.
func backing(device, name string) (st unix.Stat_t, ok bool) {
	if f, err := os.Open(device); err == nil {
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		if _ = f.Close(); err == nil {
			st.Mode, st.Dev, st.Ino, st.Rdev = unix.S_IFREG, info.Device, info.Inode, info.Rdevice
			if info.Rdevice != 0 {
				st.Mode = unix.S_IFBLK
			}
			return st, true
		}
	}
	return st, unix.Stat(word(name), &st) == nil
}

// sameThing reports whether two names are of one file, or of one block device.
func sameThing(a, b *unix.Stat_t) bool {
	kind := a.Mode & unix.S_IFMT
	switch {
	case kind != b.Mode&unix.S_IFMT:
		return false
	case kind == unix.S_IFBLK:
		return a.Rdev == b.Rdev
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}
