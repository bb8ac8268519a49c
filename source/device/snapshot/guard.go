package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kura-backup/kura/internal/mounts"
)

// place is where a file system is mounted that is to be frozen. It is held open from when it was looked at, so that it is this one which
// is frozen, whatever is mounted there, or no longer, by then.
type place struct {
	at    string
	dir   *os.File
	mount mounts.Mount
}

// places are those of different file systems, the inner ones first: to freeze one that lies in a frozen one would wait for that.
type places []place

func (all places) close() {
	for _, p := range all {
		_ = p.dir.Close() // it was not written to
	}
}

// add adds a place, unless its file system is there already.
func (all *places) add(p place) {
	if slices.ContainsFunc(*all, func(q place) bool { return q.mount.Major == p.mount.Major && q.mount.Minor == p.mount.Minor }) {
		_ = p.dir.Close()
		return
	}
	*all = append(*all, p)
}

// toFreeze returns what is frozen, after it was made sure that it may be.
func (t *Taker) toFreeze(paths []string) (out places, err error) {
	defer func() {
		if err != nil {
			out.close()
			out = nil
		}
	}()
	for _, at := range t.Freeze {
		p, err := openMountPoint(at)
		if err != nil {
			return out, err
		}
		out.add(p)
	}
	if t.FreezeDevices {
		if err := out.addDevices(paths); err != nil {
			return out, err
		}
	}
	own := t.Own
	if t.Provider.Writes() {
		own = append(slices.Clone(own), paths...)
	}
	for _, p := range out {
		if err := p.guard(own); err != nil {
			return out, err
		}
	}
	if _, ok := t.Provider.(lvm); ok && len(out) > 0 {
		return out, fmt.Errorf("%w: LVM freezes what is mounted of the volume itself, and would wait for another who does", ErrFreeze)
	}
	slices.SortStableFunc(out, func(a, b place) int { return cmp.Compare(b.mount.Depth(), a.mount.Depth()) })
	return out, nil
}

// addDevices adds what is mounted of the devices, and of the loop devices of images.
func (all *places) addDevices(paths []string) error {
	for _, path := range paths {
		mounted, err := mountsOf(path)
		if err != nil {
			return err
		}
		for len(mounted) > 0 {
			first := mounted[0]
			same := func(m mounts.Mount) bool { return m.Major == first.Major && m.Minor == first.Minor }
			p, err := openOneOf(slices.DeleteFunc(slices.Clone(mounted), func(m mounts.Mount) bool { return !same(m) }))
			if err != nil {
				return fmt.Errorf("%w, of %s", err, path)
			}
			all.add(p)
			mounted = slices.DeleteFunc(mounted, same)
		}
	}
	if len(*all) == 0 {
		return fmt.Errorf("%w: nothing is mounted, writable, of %v", ErrFreeze, paths)
	}
	return nil
}

// mountsOf returns where the file systems of a device, or of the loop devices of an image, are mounted to be written to.
func mountsOf(path string) (out []mounts.Mount, err error) {
	uses, err := mounts.Uses(path)
	for _, u := range uses {
		if u.Mount != nil && !u.ReadOnly {
			out = append(out, *u.Mount)
		}
	}
	return out, err
}

// openOneOf opens one of the mounts of a file system: another may be mounted over some of them.
func openOneOf(all []mounts.Mount) (place, error) {
	for _, m := range all {
		dir, err := os.Open(m.At)
		if err != nil {
			continue
		}
		info, err := dir.Stat()
		got, ofErr := mounts.OfFile(dir)
		if err == nil && ofErr == nil && info.IsDir() && got.ID == m.ID {
			return place{m.At, dir, m}, nil
		}
		_ = dir.Close()
	}
	return place{}, fmt.Errorf("%w: nobody gets at what is mounted at %s", ErrFreeze, all[0].At)
}

// openMountPoint opens a mount point.
func openMountPoint(at string) (_ place, err error) {
	dir, err := os.Open(at)
	if err != nil {
		return place{}, err
	}
	defer func() {
		if err != nil {
			_ = dir.Close()
		}
	}()
	m, err := mounts.OfFile(dir)
	if err != nil {
		return place{}, err
	}
	if m.At != filepath.Clean(at) {
		if real, err := filepath.EvalSymlinks(at); err != nil || m.At != real {
			return place{}, fmt.Errorf("%w: %s is no mount point; it lies in %s", ErrFreeze, at, m.At)
		}
	}
	return place{at, dir, m}, nil
}

// guard refuses to freeze a file system that this run, or the system, needs to go on.
func (p *place) guard(own []string) error {
	own = append(slices.Clone(own), "/")
	if self, err := os.Executable(); err == nil {
		own = append(own, self)
	}
	this := fmt.Sprintf("/proc/self/fd/%d", p.dir.Fd())
	for _, o := range own {
		same, err := mounts.SameFileSystem(this, existing(o))
		if err != nil {
			return err
		}
		if same {
			if real, err := filepath.EvalSymlinks(o); err == nil {
				o = real
			}
			return fmt.Errorf("%w: %s has %s, which this run needs", ErrFreeze, p.at, o)
		}
	}
	return nil
}

// existing returns the nearest that is there of a path and the folders above it.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		if up := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && up != path {
			path = up
			continue
		}
		return path
	}
}
