package folderlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lock takes the exclusive lock of a folder. The error is ErrInUse if somebody has a lock on it, and wraps
// errors.ErrUnsupported where folders can not be locked.
func Lock(path string) (release func(), err error) { return flock(path, unix.LOCK_EX) }

// share takes a lock that others can have at the same time.
func share(path string) (release func(), err error) { return flock(path, unix.LOCK_SH) }

func flock(path string, how int) (release func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err == nil:
		return func() { _ = f.Close() }, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = ErrInUse
	default: // EBADF is NFS, which wants something open for writing
		err = fmt.Errorf("folderlock: %w: %w", errors.ErrUnsupported, err)
	}
	return nil, errors.Join(err, f.Close())
}

// Owner returns the number of the user who owns a folder, if that is known.
func Owner(info fs.FileInfo) (uid int, known bool) {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return 0, false
	}
	return int(stat.Uid), true
}
