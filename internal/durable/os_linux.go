package durable

import (
	"errors"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

func (d *Dir) RenameNoReplace(oldname, newname string) error {
	from, err := d.root.Open(path.Dir(oldname))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := d.root.Open(path.Dir(newname))
	if err != nil {
		return err
	}
	defer to.Close()
	err = unix.Renameat2(int(from.Fd()), path.Base(oldname), int(to.Fd()), path.Base(newname), unix.RENAME_NOREPLACE)
	if err == nil {
		return nil
	}
	err = &os.LinkError{Op: "renameat2", Old: oldname, New: newname, Err: err}
	if errors.Is(err, syscall.EINVAL) { // how a file system refuses the flag
		return unsupported(err)
	}
	return err
}

// SetDirect turns O_DIRECT on or off.
func (f osFile) SetDirect(on bool) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		flags &^= unix.O_DIRECT
		if on {
			flags |= unix.O_DIRECT
		}
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	}
	if err != nil {
		return &os.PathError{Op: "fcntl", Path: f.Name(), Err: err}
	}
	return nil
}

// TryLock uses flock: it belongs to the open file, so it also stands between
// two users in one process, and a child does not inherit it past exec.
func (f osFile) TryLock() error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrLocked
		case unix.EINVAL, unix.ENOLCK, unix.EBADF:
			// No locks here; EBADF is NFS, which wants a file open for writing.
			return unsupported(err)
		default:
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}
