package jail

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Unfinished is the mode of a file that is being written: private, with the sticky bit, which means nothing
// on files and which hardly anybody sets. So whoever comes after a restore that was killed can tell its
// unfinished files from others.
const Unfinished = unix.S_ISVTX | 0o600

// View opens a folder that is only looked at: through it nothing is changed, not even to get access.
func View(path string) (*Dir, error) {
	dir, err := open(path)
	if err != nil {
		return nil, err
	}
	dir.view = true
	return dir, nil
}

// IsTop reports whether the folder is the topmost one of the system.
func (d *Dir) IsTop() bool {
	var top unix.Stat_t
	info, err := d.Stat()
	return err == nil && unix.Stat("/", &top) == nil && infoOf(&top).Identity == info.Identity
}

// Readlink returns what a symbolic link points to.
func (d *Dir) Readlink(name string) (string, error) {
	if err := check(name); err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	var n int
	err := retry(func() (err error) {
		n, err = unix.Readlinkat(d.fd, name, buf)
		return err
	})
	if err != nil {
		return "", wrap("readlink", err)
	}
	return string(buf[:n]), nil
}

// IsSymlink reports whether it is a symbolic link.
func (i *Info) IsSymlink() bool { return i.kind == unix.S_IFLNK }

// Names returns the names of all entries, in no order.
func (d *Dir) Names() (names []string, err error) {
	// A descriptor of its own: the position in a folder is shared by all that are duplicates.
	var fd int
	err = retry(func() (err error) {
		fd, err = unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, wrap("open", err)
	}
	f := os.NewFile(uintptr(fd), "folder")
	defer f.Close()
	for {
		some, err := f.Readdirnames(4096)
		names = append(names, some...)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Update opens an existing file, which must still be the one of the given identity and have no other name, for
// writing, and marks it as [Unfinished]. One that can not be opened keeps its mode.
func (d *Dir) Update(name string, id Identity) (*File, error) {
	h, err := d.pin(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if info.Identity != id || info.Links != 1 {
		return nil, ErrReplaced
	}
	if info.Mode != Unfinished { // before the first byte is
		if err := h.Chmod(Unfinished); err != nil {
			return nil, d.explain(name, err)
		}
	}
	f, err := d.Reopen(name, id)
	if err != nil && info.Mode != Unfinished {
		// Nothing was written, and a program that runs, which nobody may write to, has to start again some day.
		return nil, errors.Join(err, h.Chmod(info.Mode))
	}
	return f, err
}

// Busy reports whether a file is a program that runs, which nobody may write to.
func (d *Dir) Busy(name string, id Identity) bool {
	f, err := d.Reopen(name, id)
	if err != nil {
		return errors.Is(err, unix.ETXTBSY)
	}
	_ = f.Close() // nothing was written
	return false
}

// HasFile reports whether the folder has a regular file of exactly this content under one of the names. One of that size that can not be read
// may be it.
func (d *Dir) HasFile(content []byte, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := d.Lstat(name)
		if err != nil || !info.IsFile() || info.Size != int64(len(content)) {
			return false
		}
		f, err := d.OpenFile(name)
		if err != nil {
			return true
		}
		defer f.Close()
		got := make([]byte, len(content))
		err = f.ReadAt(got, 0)
		return err != nil || bytes.Equal(got, content)
	})
}

// Device is the number of the file system that an entry is on.
func (i *Info) Device() uint64 { return i.dev }

// Dup is the folder once more, with a life of its own.
func (d *Dir) Dup() (*Dir, error) {
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("dup", err)
	}
	return &Dir{Handle: Handle{fd: fd}, view: d.view}, nil
}

// HasXAttr reports whether an extended attribute has the value.
func (h *Handle) HasXAttr(name string, value []byte) bool {
	buf := make([]byte, len(value)+1)
	n, err := unix.Fgetxattr(h.fd, name, buf)
	return err == nil && bytes.Equal(buf[:n], value)
}

// Grants reports whether the entry has an access control list.
func (h *Handle) Grants() bool {
	_, err := unix.Fgetxattr(h.fd, AccessACL, nil)
	return err == nil
}

// XAttrs returns the names of the extended attributes that a restore sets and takes away: those of users, access
// control lists, and capabilities. Others belong to the system. The entry must not be pinned only.
func (h *Handle) XAttrs() []string {
	n, err := unix.Flistxattr(h.fd, nil)
	if err != nil || n == 0 {
		return nil
	}
	list := make([]byte, n+1024)
	if n, err = unix.Flistxattr(h.fd, list); err != nil {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, "user.") && name != AccessACL && name != DefaultACL && name != "security.capability"
	})
}

// RemoveXAttr takes an extended attribute away. The entry must not be pinned only.
func (h *Handle) RemoveXAttr(name string) error {
	return wrap("removexattr", retry(func() error { return unix.Fremovexattr(h.fd, name) }))
}
