package jail

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// explain says of an EPERM for an entry whether it comes from inode flags.
func (d *Dir) explain(name string, err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	if locked(d.fd, name) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if locked(d.fd, "") {
		return fmt.Errorf("the folder: %w: %w", ErrLocked, err)
	}
	return err
}

// locked looks at an entry, or with an empty name at the folder, without opening it.
func locked(fd int, name string) bool {
	var x unix.Statx_t
	err := retry(func() error {
		return unix.Statx(fd, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &x)
	})
	return err == nil && x.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}
