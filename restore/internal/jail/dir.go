package jail

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Dir is an open folder. Its methods may be called concurrently, but for Close.
type Dir struct {
	Handle
	view bool // nothing is changed through it
	ours bool // all that is in it was made by this run
}

// ErrSameName is returned where two entries of a folder can not both be there.
var ErrSameName = errors.New("restore: another entry of this folder has this name here: does the target tell upper from lower case?")

// SetOurs says that this run has made the folder. What is in the way of an entry there is another one of the same folder, which is not
// removed for it.
func (d *Dir) SetOurs() { d.ours = true }

// Mkdir makes a folder, private to the user. A folder that exists already is kept, and anything else
// that has the name is removed, but see [ErrSameName].
func (d *Dir) Mkdir(name string) (existed bool, err error) {
	if err := check(name); err != nil {
		return false, err
	}
	mkdir := func() error {
		return retry(func() error { return unix.Mkdirat(d.fd, name, 0o700) })
	}
	err = mkdir()
	if err == unix.EEXIST {
		if err := d.spare(name); err != nil {
			return false, err
		}
		info, serr := d.Lstat(name)
		if serr != nil {
			return false, serr
		}
		if info.IsDir() {
			return true, nil
		}
		if err := d.Remove(name); err != nil {
			return false, err
		}
		err = mkdir()
	}
	return false, d.explain(name, wrap("mkdir", err))
}

// OpenDir opens a folder. One that its owner may not read or enter is made accessible for the owner.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	fd, err := openat(d.fd, name, flags, 0)
	if errors.Is(err, unix.EACCES) && !d.view {
		if uerr := d.unlock(name); uerr != nil {
			return nil, err
		}
		fd, err = openat(d.fd, name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return &Dir{Handle: Handle{fd: fd}, view: d.view}, nil
}

// unlock gives the owner of a folder all rights to it.
func (d *Dir) unlock(name string) error {
	h, err := d.pin(name)
	if err != nil {
		return err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return ErrReplaced
	}
	return h.Chmod(info.Mode | 0o700)
}

// Create creates a file for writing that only the user can open, marked as [Unfinished]. What has the name is removed first;
// if that is a folder the error is ErrFolder.
func (d *Dir) Create(name string) (*File, error) {
	var fd int
	err := d.place(name, func() (err error) {
		fd, err = openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, Unfinished)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &File{Handle{fd: fd}}, nil
}

// Reopen opens a file that was created before, for writing. If something else has its name by now the
// error is ErrReplaced.
func (d *Dir) Reopen(name string, id Identity) (*File, error) {
	return d.openFile(name, id, unix.O_WRONLY)
}

// OpenFile opens a regular file for reading.
func (d *Dir) OpenFile(name string) (*File, error) {
	return d.openFile(name, Identity{}, unix.O_RDONLY)
}

// OpenSame opens a regular file for reading that must be the one of the given identity.
func (d *Dir) OpenSame(name string, id Identity) (*File, error) {
	return d.openFile(name, id, unix.O_RDONLY)
}

func (d *Dir) openFile(name string, want Identity, flags int) (*File, error) {
	info, err := d.Lstat(name) // so that no device is opened in the usual case
	if err != nil {
		return nil, err
	}
	if !info.IsFile() {
		return nil, ErrReplaced
	}
	fd, err := openat(d.fd, name, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	f := &File{Handle{fd: fd}}
	info, err = f.Stat()
	if err == nil && (!info.IsFile() || want != Identity{} && want != info.Identity) {
		err = ErrReplaced
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Symlink makes a symbolic link and pins it. What it points to is not looked at.
func (d *Dir) Symlink(target, name string) (*Handle, error) {
	err := d.place(name, func() error {
		return retry(func() error { return wrap("symlink", unix.Symlinkat(target, d.fd, name)) })
	})
	if err != nil {
		return nil, err
	}
	return d.pinNew(name, unix.S_IFLNK)
}

// The kinds of special files.
const (
	FIFO        uint32 = unix.S_IFIFO
	CharDevice  uint32 = unix.S_IFCHR
	BlockDevice uint32 = unix.S_IFBLK
)

// Mknod makes a special file, which only the user can open, and pins it.
func (d *Dir) Mknod(name string, kind, major, minor uint32) (*Handle, error) {
	err := d.place(name, func() error {
		return retry(func() error {
			return wrap("mknod", unix.Mknodat(d.fd, name, kind|0o600, int(unix.Mkdev(major, minor))))
		})
	})
	if err != nil {
		return nil, err
	}
	return d.pinNew(name, kind)
}

// Link gives the file from/old, which must still be the one that was created as id, a further name.
func (d *Dir) Link(from *Dir, old string, id Identity, name string) error {
	if err := check(old); err != nil {
		return err
	}
	err := d.place(name, func() error {
		// Without AT_SYMLINK_FOLLOW a symbolic link that took the place of the file would be linked itself.
		return retry(func() error { return wrap("link", unix.Linkat(from.fd, old, d.fd, name, 0)) })
	})
	if err != nil {
		return err
	}
	info, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if info.Identity != id {
		return errors.Join(ErrReplaced, d.Remove(name))
	}
	return nil
}

// place makes an entry, and removes what has its name if that is not a folder, but see [ErrSameName].
func (d *Dir) place(name string, create func() error) error {
	if err := check(name); err != nil {
		return err
	}
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return d.explain(name, err)
	}
	if err := d.spare(name); err != nil {
		return err
	}
	if err := d.Remove(name); err != nil {
		return err
	}
	return create()
}

// spare returns ErrSameName where what is in the way of an entry is another one that this run made: it has not quite the same name. What has was
// put there by somebody else, or made by a call that was interrupted when it had done its work, and is made again.
func (d *Dir) spare(name string) error {
	if !d.ours {
		return nil
	}
	names, err := d.Names()
	if err == nil && !slices.Contains(names, name) {
		err = ErrSameName
	}
	return err
}

// Remove removes an entry that is not a folder.
func (d *Dir) Remove(name string) error {
	if err := check(name); err != nil {
		return err
	}
	err := retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
	switch err {
	case unix.ENOENT:
		return nil
	case unix.EISDIR:
		return ErrFolder
	}
	return d.explain(name, wrap("unlink", err))
}

// RemoveOwn removes an entry if it still is the one that was created as id.
func (d *Dir) RemoveOwn(name string, id Identity) error {
	info, err := d.Lstat(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Identity != id {
		return ErrReplaced
	}
	return d.Remove(name)
}

// Replace gives a file that was created as id another name, in place of what has that. If that is a folder the error is ErrFolder.
func (d *Dir) Replace(old string, id Identity, name string) error {
	if err := check(name); err != nil {
		return err
	}
	info, err := d.Lstat(old)
	if err != nil {
		return err
	}
	if info.Identity != id {
		return ErrReplaced
	}
	err = retry(func() error { return unix.Renameat(d.fd, old, d.fd, name) })
	if err == unix.EISDIR {
		return ErrFolder
	}
	return d.explain(name, wrap("rename", err))
}

// Lstat describes an entry, of a symbolic link the link itself.
func (d *Dir) Lstat(name string) (Info, error) {
	if err := check(name); err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return infoOf(&st), wrap("stat", err)
}

// pin opens an entry of any kind without opening what it stands for.
func (d *Dir) pin(name string) (*Handle, error) {
	fd, err := openat(d.fd, name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	return &Handle{fd: fd, path: true}, nil
}

// pinNew pins an entry that was just made.
func (d *Dir) pinNew(name string, kind uint32) (*Handle, error) {
	h, err := d.pin(name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(h.fd, &st) }); err != nil {
		return nil, errors.Join(wrap("stat", err), h.Close())
	}
	// A second link would mean that somebody put an entry from elsewhere in its place.
	if st.Mode&unix.S_IFMT != kind || st.Nlink != 1 {
		return nil, errors.Join(ErrReplaced, h.Close())
	}
	return h, nil
}
