package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reflink copies an image within its file system, sharing all blocks.
type reflink struct{}

func (reflink) Writes() bool { return true }

func (reflink) Create(_ context.Context, c *Copy) (err error) {
	from, err := os.Open(c.Of)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is no file, and only files have reflinks", ErrProvider, c.Of)
	}
	c.At = filepath.Join(filepath.Dir(c.Of), "."+c.Name)
	to, err := os.OpenFile(c.At, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	c.begun = true
	err = unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: the file system of %s has no reflinks; XFS and btrfs have: %w", ErrProvider, c.Of, err)
	}
	return errors.Join(err, to.Close())
}

func (reflink) Check(_ context.Context, c *Copy) error {
	_, err := os.Lstat(c.At)
	return err
}

func (reflink) Remove(_ context.Context, c *Copy) error {
	// The lease may have been written before the place was known.
	err := os.Remove(filepath.Join(filepath.Dir(c.Of), "."+c.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return c.gone()
	}
	return err
}
