package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/mounts"
)

// Target is what a device is restored to: a block device that nobody else uses, an image, or a new file.
type Target struct {
	path  string // as named
	at    string // where it is written: of a new file this is not its name yet
	f     *os.File
	block bool
	fresh bool // a new file: what is not written is zero
	size  int64
	dry   bool
	noZap atomic.Bool
}

// TargetOptions are for OpenTarget.
type TargetOptions struct {
	DryRun bool // write nothing
	// Force overwrites a file of another size, or what another program has locked.
	Force bool
}

// OpenTarget opens what size bytes are to be restored to.
func OpenTarget(path string, size int64, o TargetOptions) (*Target, error) {
	t := &Target{path: path, at: path, size: size, dry: o.DryRun}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, t.create(o)
	case err != nil:
		return nil, err
	case !isDevice(info):
		return nil, fmt.Errorf("%w: %s", ErrKind, path)
	}
	if t.block = !info.Mode().IsRegular(); t.block {
		err = t.openBlock(o)
	} else {
		err = t.openFile(info, o)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Target) flags() int {
	if t.dry {
		return os.O_RDONLY
	}
	return os.O_RDWR
}

// openBlock opens a device for this program alone: that fails if anything is mounted of it, or if it is a part of another.
func (t *Target) openBlock(o TargetOptions) (err error) {
	t.f, err = os.OpenFile(t.path, t.flags()|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		by, userErr := mounts.User(t.path)
		if userErr != nil || by == "" {
			by = "another program has it open for itself"
		}
		return &UseError{t.path, by}
	}
	if err != nil {
		return err
	}
	have, err := (&Device{f: t.f}).Now()
	if err == nil && have < t.size {
		err = fmt.Errorf("%w: %s has %d bytes, and %d are to be restored", ErrSmall, t.path, have, t.size)
	}
	// Swap and loop devices do not keep others away, nor do virtual machines, which lock what they have.
	if err == nil {
		err = t.unused()
	}
	if err == nil {
		err = t.lock(o)
	}
	if err == nil && !o.Force {
		err = t.unlockedAround()
	}
	if err != nil {
		return errors.Join(err, t.f.Close())
	}
	return nil
}

// unused returns an error if somebody is known to use the target.
func (t *Target) unused() error {
	by, err := mounts.User(t.path)
	if err == nil && by != "" {
		err = &UseError{t.path, by}
	}
	return err
}

func (t *Target) openFile(info os.FileInfo, o TargetOptions) (err error) {
	if err := t.unused(); err != nil {
		return err
	}
	if info.Size() != t.size && !o.Force {
		return fmt.Errorf("%w: %s has %d bytes, and %d are to be restored", ErrSize, t.path, info.Size(), t.size)
	}
	if t.f, err = os.OpenFile(t.path, t.flags(), 0); err != nil {
		return err
	}
	now, err := t.f.Stat()
	if err == nil && !os.SameFile(now, info) {
		err = fmt.Errorf("%w: %s is another file now", ErrKind, t.path)
	}
	if err == nil {
		err = t.lock(o)
	}
	if err == nil && !t.dry && now.Size() != t.size {
		err = t.f.Truncate(t.size)
	}
	if err != nil {
		return errors.Join(err, t.f.Close())
	}
	return nil
}

// Close closes the target. What was not finished stays as it is.
func (t *Target) Close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}

// readAt reads what is there now.
func (t *Target) readAt(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(int(t.f.Fd()), p, off)
		if n == 0 && err == nil {
			clear(p) // behind the end of a file, in a dry run
			return nil
		}
		if err != nil && err != unix.EINTR {
			return &ReadError{t.path, off, err}
		}
		p, off = p[max(n, 0):], off+int64(max(n, 0))
	}
	return nil
}

func (t *Target) writeAt(p []byte, off int64) error {
	_, err := t.f.WriteAt(p, off)
	return err
}

// zero makes a range zero, without storing zeros where that is possible.
func (t *Target) zero(off, length int64) error {
	if !t.noZap.Load() && off%align == 0 && length%align == 0 {
		err := t.zap(off, length)
		if err == nil {
			return nil
		}
		t.noZap.Store(true)
	}
	for length > 0 {
		n := min(length, BlockSize)
		if err := t.writeAt(zeros[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

func (t *Target) zap(off, length int64) error {
	if !t.block {
		return unix.Fallocate(int(t.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
	}
	return zeroOut(t.f, off, length)
}

// sync brings everything to the disk, and lets go of what is in the page cache, so that what is read next comes from there.
func (t *Target) sync() error {
	if err := t.f.Sync(); err != nil {
		return err
	}
	if t.block {
		_, _ = unix.IoctlRetInt(int(t.f.Fd()), unix.BLKFLSBUF) // for root alone; direct reads do without
		return nil
	}
	_ = unix.Fadvise(int(t.f.Fd()), 0, 0, unix.FADV_DONTNEED) // advice
	return nil
}
