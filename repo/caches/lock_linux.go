package caches

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock takes the exclusive lock of a folder. The error is ErrInUse if somebody has a lock on it, and wraps
// errors.ErrUnsupported where folders can not be locked.
func lock(path string) (release func(), err error) { return flock(path, unix.LOCK_EX) }

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
		err = fmt.Errorf("caches: %w: %w", errors.ErrUnsupported, err)
	}
	return nil, errors.Join(err, f.Close())
}

// Private returns an error that wraps [fs.ErrPermission] if somebody else may write to a folder: false places of blobs in it
// would make a backup rely on what is nowhere. Where that can not be told it returns nil.
func Private(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !isOurs(info):
		err = errors.New("belongs to another user")
	case info.Mode().Perm()&0o022 != 0:
		err = errors.New("may be written to by other users")
	default:
		return nil
	}
	return &fs.PathError{Op: "use", Path: path, Err: fmt.Errorf("%w: it %w", fs.ErrPermission, err)}
}

// isOurs reports whether a folder is of the user that this process runs as.
func isOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
