package caches

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/folderlock"
)

// ErrInUse is returned for a folder that a client has in use.
var ErrInUse = folderlock.ErrInUse

// The files that stay.
const (
	seenFile     = "seen"
	locationFile = "location"
)

// unlocked is how long a folder must not have been used to be freed where there are no locks.
const unlocked = 24 * time.Hour

// Folder is the cache of a repository. It is a plain value.
type Folder struct {
	ID       string    // of the repository, 32 hexadecimal digits
	Location string    // where the repository was when it was last opened; empty if that is unknown
	Used     time.Time // when it was last opened
	Size     int64     // bytes of its files; -1 if they were not looked at
	InUse    bool

	path string
}

// List returns the folders below a root, in the order of their ids: those in which a client has been. Their sizes are looked up if that is asked for.
func List(root string, sizes bool) ([]Folder, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Folder
	for _, e := range entries {
		if raw, err := hex.DecodeString(e.Name()); err != nil || len(raw) != 16 || !e.IsDir() {
			continue // not ours
		}
		path := filepath.Join(root, e.Name())
		if !isCache(path) {
			continue
		}
		f, err := look(path, sizes)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// isCache reports whether a folder has one of the files that every client leaves in its cache. A folder that is only called like one may
// be a repository: some name them after /etc/machine-id.
func isCache(path string) bool {
	for _, name := range []string{seenFile, locationFile} {
		if info, err := os.Lstat(filepath.Join(path, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func look(path string, sizes bool) (f Folder, err error) {
	f = Folder{ID: filepath.Base(path), Size: -1, path: path}
	info, err := os.Stat(path)
	if err != nil {
		return f, err
	}
	f.Used = info.ModTime() // every client that opens it makes and removes a file in it
	if text, err := os.ReadFile(filepath.Join(path, locationFile)); err == nil {
		f.Location = strings.TrimSuffix(string(text), "\n")
	}
	release, err := folderlock.Lock(path)
	if err == nil {
		release()
	}
	f.InUse = errors.Is(err, ErrInUse)
	if sizes {
		f.Size, err = sizeOf(path)
		return f, err
	}
	return f, nil
}

// sizeOf adds up files, of which some may vanish meanwhile.
func sizeOf(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return size, err
}

// Empty reports whether there is nothing in the folder that Free would remove.
func (f *Folder) Empty() (bool, error) {
	entries, err := os.ReadDir(f.path)
	for _, e := range entries {
		if !stays(e.Name()) {
			return false, nil
		}
	}
	return err == nil, err
}

func stays(name string) bool { return name == seenFile || name == locationFile }

// Free removes what can be made again. The error is ErrInUse while a client has the repository open, and where that
// can not be told.
func (f *Folder) Free() (err error) {
	release, err := folderlock.Lock(f.path)
	switch {
	case err == nil:
		defer release()
	case !errors.Is(err, errors.ErrUnsupported):
		return err
	case clock.Since(f.Used) < unlocked:
		return ErrInUse
	}
	used := f.Used // freeing is no use
	defer func() { err = errors.Join(err, os.Chtimes(f.path, used, used)) }()
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !stays(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(f.path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// NoteLocation remembers where the repository is, for people. It does not matter if it can not.
func NoteLocation(path, location string) {
	name := filepath.Join(path, locationFile)
	text := location + "\n"
	if old, err := os.ReadFile(name); err == nil && string(old) == text {
		return
	}
	f, err := os.CreateTemp(path, locationFile+"-")
	if err != nil {
		return
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// Temporary makes a folder for one run of a client that has no other, in the system's folder for temporary files, and
// holds it until it is released; removing it is up to the caller. Those of clients that were killed are removed after a day: a
// nightly run that ends for want of memory would fill the disk in the end.
func Temporary() (path string, release func(), err error) {
	return folderlock.Temporary(os.TempDir(), "kura-cache-", unlocked)
}

// Private returns an error that wraps [fs.ErrPermission] if somebody else may write to a folder: false places of blobs in it
// would make a backup rely on what is nowhere. Where that can not be told it returns nil.
func Private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	uid, known := folderlock.Owner(info)
	switch {
	case !known:
		return nil
	case uid != os.Geteuid():
		err = errors.New("belongs to another user")
	case info.Mode().Perm()&0o022 != 0:
		err = errors.New("may be written to by other users")
	default:
		return nil
	}
	return &fs.PathError{Op: "use", Path: path, Err: fmt.Errorf("%w: it %w", fs.ErrPermission, err)}
}
