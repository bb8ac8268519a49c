package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/mounts"
)

// partialSuffix is what the name of a new file ends with until all of it is there.
const partialSuffix = ".kura-partial"

// create makes a new file, or goes on with the one that a run before this one has not completed.
func (t *Target) create(o TargetOptions) error {
	t.fresh, t.at = true, t.path+partialSuffix
	dir := filepath.Dir(t.path)
	m, err := mounts.Of(dir)
	if err != nil && !errors.Is(err, mounts.ErrNone) {
		return err
	}
	if m.Type == "devtmpfs" || strings.HasPrefix(filepath.Clean(t.path), "/dev/") && !strings.HasPrefix(filepath.Clean(t.path), "/dev/shm/") {
		return fmt.Errorf("%w: there is no device %s", fs.ErrNotExist, t.path)
	}
	if _, err := os.Lstat(t.path); err == nil { // it was not there, to Stat
		return fmt.Errorf("%w: %s is a symlink to what is not there", ErrKind, t.path)
	}
	if o.DryRun {
		return nil
	}
	f, err := os.OpenFile(t.at, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(t.at, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		t.fresh = false
	}
	if err != nil {
		return err
	}
	t.f = f
	if err = t.lock(TargetOptions{}); err == nil {
		err = t.ownPartial()
	}
	if err == nil {
		err = f.Truncate(t.size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// ownPartial refuses to go on with a file that was not left by a restore of this user: others might read what is written to it, or change it
// when it was compared.
func (t *Target) ownPartial() error {
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(t.at)
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s", ErrKind, t.at)
	case !os.SameFile(info, named): // the restore that had it has finished meanwhile
		return &UseError{t.at, "it is another file now"}
	case t.fresh:
		return nil
	}
	made, err := madeBeside(t.at)
	if err != nil {
		return err
	}
	if !asMade(info, made) {
		return &UseError{t.at, "it belongs to, or is open to, others, and can not be gone on with; remove it"}
	}
	return nil
}

// madeBeside says what a file is like that is made beside another for this user alone.
func madeBeside(path string) (_ os.FileInfo, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), partialSuffix+"-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	return f.Stat()
}

// asMade reports whether a file can be one that was made as another was: it belongs to the same user, and nobody else gets at it who does not get at that, too.
// Which user that is, and who does, is not for this program to say where file systems have owners and modes of their own: FAT, and those
// of other machines.
func asMade(info, made os.FileInfo) bool {
	a, ok := info.Sys().(*syscall.Stat_t)
	b, same := made.Sys().(*syscall.Stat_t)
	return ok && same && a.Uid == b.Uid && a.Nlink == 1 && info.Mode().Perm()&0o077&^made.Mode().Perm() == 0
}

// finish gives a new file its name.
func (t *Target) finish() error {
	if t.at == t.path {
		return nil
	}
	dir, err := durable.OpenDir(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := publish(dir, filepath.Base(t.at), filepath.Base(t.path)); err != nil {
		return err
	}
	t.at = t.path
	named, err := os.Lstat(t.path)
	if err != nil {
		return err
	}
	if info, err := t.f.Stat(); err != nil || !os.SameFile(info, named) {
		return errors.Join(fmt.Errorf("%w: %s is another file than was written", ErrVerify, t.path), err)
	}
	if err := dir.SyncDir("."); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// publish gives a file its name, which nothing has, in whichever way the file system can: over networks some can not rename without
// replacing, and some have no links.
func publish(dir durable.FS, from, to string) error {
	err := dir.RenameNoReplace(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if err = dir.Link(from, to); err == nil {
		return dir.Unlink(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := dir.Stat(to); err == nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return dir.Rename(from, to)
}
