package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kura-backup/kura/internal/mounts"
)

// mountsOf returns where the file systems of a device are mounted: those on a block device, or on the loop device of an image.
func mountsOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		if path, err = mounts.LoopOf(path); err != nil || path == "" {
			return nil, err
		}
	}
	all, err := mounts.OfDevice(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range all {
		if !m.ReadOnly {
			out = append(out, m.At)
		}
	}
	return out[:min(len(out), 1)], nil // frozen is the file system, wherever it is mounted
}

// guard refuses to freeze a file system that this run, or the system, needs to go on.
func guard(at string, own []string) error {
	m, err := mounts.Of(at)
	if err != nil {
		return err
	}
	if m.At != filepath.Clean(at) {
		if real, err := filepath.EvalSymlinks(at); err != nil || m.At != real {
			return fmt.Errorf("%w: %s is no mount point; it lies in %s", ErrFreeze, at, m.At)
		}
	}
	own = append(slices.Clone(own), "/")
	if self, err := os.Executable(); err == nil {
		own = append(own, self)
	}
	for _, p := range own {
		same, err := mounts.SameFileSystem(at, existing(p))
		if err != nil {
			return err
		}
		if same {
			if real, err := filepath.EvalSymlinks(p); err == nil {
				p = real
			}
			return fmt.Errorf("%w: %s has %s, which this run needs", ErrFreeze, at, p)
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
