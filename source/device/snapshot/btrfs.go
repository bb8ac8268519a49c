package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What linux/btrfs.h says, and x/sys does not.
const (
	btrfsSnapCreate  = 0x50009417 // BTRFS_IOC_SNAP_CREATE_V2
	btrfsSnapDestroy = 0x5000940f // BTRFS_IOC_SNAP_DESTROY
	btrfsReadOnly    = 1 << 1
	btrfsRootInode   = 256 // of every subvolume
)

type btrfsCreateArgs struct {
	fd      int64
	transid uint64
	flags   uint64
	_       [4]uint64
	name    [4040]byte
}

type btrfsDestroyArgs struct {
	fd   int64
	name [4088]byte
}

// btrfs makes a read-only snapshot of the subvolume that an image lies in.
type btrfs struct{}

func (btrfs) Writes() bool { return true }

func (btrfs) Create(_ context.Context, c *Copy) error {
	of, err := filepath.EvalSymlinks(c.Of)
	if err != nil {
		return err
	}
	root, err := subvolume(of)
	if err != nil {
		return err
	}
	inside, err := filepath.Rel(root, of)
	if err != nil {
		return err
	}
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	c.Volume = filepath.Join(root, "."+c.Name)
	c.begun = true
	args := btrfsCreateArgs{fd: int64(dir.Fd()), flags: btrfsReadOnly}
	copy(args.name[:], "."+c.Name)
	if err := ioctl(dir, btrfsSnapCreate, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("snapshot: a snapshot of the subvolume %s: %w", root, err)
	}
	c.At = filepath.Join(c.Volume, inside)
	return sameInode(of, c.At)
}

// sameInode returns an error unless a file of a snapshot is the one that it is a snapshot of: it has its number and its birth.
func sameInode(of, at string) error {
	var a, b unix.Statx_t
	for path, st := range map[string]*unix.Statx_t{of: &a, at: &b} {
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_TYPE|unix.STATX_BTIME, st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
	if a.Ino != b.Ino || a.Mode&unix.S_IFMT != b.Mode&unix.S_IFMT || a.Btime != b.Btime {
		return fmt.Errorf("%w: %s in the snapshot is another file than %s", ErrProvider, at, of)
	}
	return nil
}

func (btrfs) Check(_ context.Context, c *Copy) error {
	_, err := os.Lstat(c.At)
	return err
}

func (btrfs) Remove(_ context.Context, c *Copy) error {
	of, err := filepath.EvalSymlinks(filepath.Dir(c.Of)) // the image itself may be gone
	if err != nil {
		return err
	}
	root, err := subvolume(of)
	if err != nil {
		return err
	}
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	var args btrfsDestroyArgs
	copy(args.name[:], "."+c.Name)
	err = ioctl(dir, btrfsSnapDestroy, unsafe.Pointer(&args))
	if errors.Is(err, unix.ENOENT) {
		return c.gone()
	}
	if err != nil {
		return fmt.Errorf("snapshot: removing the subvolume %s: %w", filepath.Join(root, "."+c.Name), err)
	}
	return nil
}

// subvolume returns the root of the subvolume in which a path lies.
func subvolume(path string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return "", fmt.Errorf("%w: %s is not on btrfs", ErrProvider, path)
	}
	var dev uint64 // each subvolume has one of its own
	for at := path; ; {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return "", &os.PathError{Op: "stat", Path: at, Err: err}
		}
		if at == path {
			dev = st.Dev
		}
		if st.Dev == dev && st.Ino == btrfsRootInode {
			return at, nil
		}
		up := filepath.Dir(at)
		if up == at || st.Dev != dev {
			return "", fmt.Errorf("%w: the subvolume of %s is not mounted as a whole", ErrProvider, path)
		}
		at = up
	}
}

func ioctl(f *os.File, request uintptr, args unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(args))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// firstLine returns the first line of what a program said, without white space around it.
func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.TrimSpace(line))
}
