package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir is the [FS] of the operating system below one folder. It holds the
// folder itself and not its path: when a disk is unmounted under a running
// process, its calls fail or go on on that disk, and never fall into the empty
// mount point beneath. Symbolic links that lead out of the folder are refused.
// It is safe for concurrent use.
type Dir struct {
	root *os.Root
}

var _ FS = (*Dir)(nil)

// OpenDir opens an existing folder. The error matches fs.ErrNotExist when it is
// missing and syscall.ENOTDIR when it is something else.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		// OpenRoot has an error of its own for what is not a folder.
		if info, statErr := os.Stat(path); statErr == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
		}
		return nil, err
	}
	return &Dir{root}, nil
}

// CreateDir opens a folder and makes it first where it is missing, durably, with
// the folders above it.
func CreateDir(path string, perm fs.FileMode) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The nearest folder above that is there, through whatever links it takes.
	above, rest := path, "."
	for {
		if _, err := os.Stat(above); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if _, err := os.Lstat(above); err == nil {
			return nil, fmt.Errorf("%s is a symbolic link to a folder that is missing", above)
		}
		rest = filepath.Join(filepath.Base(above), rest)
		above = filepath.Dir(above)
	}
	dir, err := OpenDir(above)
	if err != nil || rest == "." {
		return dir, err
	}
	defer dir.Close()
	if err := MkdirAll(dir, filepath.ToSlash(rest), perm); err != nil {
		return nil, err
	}
	return OpenDir(path)
}

func (d *Dir) CreateExcl(name string, perm fs.FileMode) (File, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *Dir) Open(name string) (File, error) {
	// Without O_NONBLOCK a FIFO that somebody left here would hold us forever.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *Dir) Link(oldname, newname string) error { return d.root.Link(oldname, newname) }

func (d *Dir) Rename(oldname, newname string) error { return d.root.Rename(oldname, newname) }

func (d *Dir) Unlink(name string) error { return d.root.Remove(name) }

func (d *Dir) Mkdir(name string, perm fs.FileMode) error { return d.root.Mkdir(name, perm) }

func (d *Dir) Stat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }

func (d *Dir) Close() error { return d.root.Close() }

func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

func (d *Dir) SyncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	// What a file system answers that has no fsync for folders: not a failure
	// to write something, there is nothing it could be asked to write.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("sync folder %s: %w (%v)", name, errors.ErrUnsupported, err)
	}
	return err
}

type osFile struct{ *os.File }

// unsupported adds errors.ErrUnsupported to an error of one operation that means
// just that.
func unsupported(err error) error {
	return fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
}
