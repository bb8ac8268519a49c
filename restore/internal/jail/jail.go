package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrName is returned for a name that is not a single component of a path.
	ErrName = errors.New("restore: not the name of an entry")

	// ErrFolder is returned where a folder is in the way of something else.
	ErrFolder = errors.New("restore: a folder is in the way")

	// ErrReplaced is returned when an entry is no longer the one that was created.
	ErrReplaced = errors.New("restore: the entry was replaced by something else meanwhile")

	// ErrLocked is returned where an entry, or the folder that it is in, is immutable or append-only: not even root
	// changes it before the flag is taken off.
	ErrLocked = errors.New("restore: it is immutable or append-only in the target: chattr -i -a takes that off")

	// ErrMounted is returned where a file system is mounted in a folder that is to be deleted.
	ErrMounted = errors.New("restore: a file system is mounted here, which is not deleted")
)

// UnfinishedFolder is the mode of the folder to restore into, where it was made for that, until it gets its own one: private, with the
// sticky bit, which means nothing where nobody else can write. So whoever comes after a restore that was killed
// can tell it from a folder of the user's.
const UnfinishedFolder = unix.S_ISVTX | 0o700

// Open opens a folder to restore into. If it does not exist, it is made, private to the user, and if mark says so as [UnfinishedFolder]
// in the same step: there is no moment in which it is there without the mark.
func Open(path string, mark bool) (dir *Dir, created bool, err error) {
	mode := uint32(0o700)
	if mark {
		mode = UnfinishedFolder
	}
	if created, err = makeTop(path, mode); err != nil {
		return nil, false, err
	}
	dir, err = open(path)
	return dir, created, err
}

// makeTop makes a folder, and those above it, unless it is there.
func makeTop(path string, mode uint32) (made bool, err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // opening it says what is wrong
	}
	name := path
	for strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.") {
		name = strings.TrimSuffix(strings.TrimSuffix(name, "."), "/")
	}
	if above, _ := filepath.Split(name); above != "" {
		if err := os.MkdirAll(above, 0o700); err != nil {
			return false, err
		}
	}
	err = retry(func() error { return unix.Mkdir(name, mode) })
	switch err {
	case nil:
		return true, nil
	case unix.EEXIST: // by now, or it is a link that leads nowhere
		return false, nil
	}
	return false, &fs.PathError{Op: "mkdir", Path: name, Err: err}
}

// IsUnfinished reports whether it is a folder that a restore has made to restore into, and not completed. What is made in a
// folder with the setgid bit inherits that.
func (i *Info) IsUnfinished() bool { return i.IsDir() && i.Mode&^unix.S_ISGID == UnfinishedFolder }

func open(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: path, Err: err}
	}
	return &Dir{Handle: Handle{fd: fd}}, nil
}

// check refuses what is not a single component.
func check(name string) error {
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// openat opens a single name below a folder. All that is used and has a name is opened here: openSame only looks before it.
func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	if err := check(name); err != nil {
		return -1, err
	}
	err = retry(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, wrap("open", err)
}

// wrap names the operation that failed. The caller knows of which entry.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(op, err)
}

// Identity tells one inode from all others that exist at the same time.
type Identity struct {
	dev, ino uint64
	kind     uint32
}

// Info is what is known of an entry.
type Info struct {
	Identity
	UID, GID uint32
	Mode     uint32 // the 12 permission bits
	Size     int64
	Links    uint64
	Sec      int64 // of the last modification
	Nsec     uint32
}

// IsDir reports whether it is a folder.
func (i *Info) IsDir() bool { return i.kind == unix.S_IFDIR }

// IsFile reports whether it is a regular file.
func (i *Info) IsFile() bool { return i.kind == unix.S_IFREG }

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Identity: Identity{dev: uint64(st.Dev), ino: st.Ino, kind: st.Mode & unix.S_IFMT},
		UID:      st.Uid, GID: st.Gid, Mode: st.Mode & 0o7777, Size: st.Size,
		Links: uint64(st.Nlink), Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec),
	}
}

// IsRoot reports whether the user may set everything.
func IsRoot() bool { return os.Geteuid() == 0 }
