package mysql

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/tenant"
)

// lockedFiles are those that a server of either vendor keeps locked as long as it runs.
var lockedFiles = []string{"ibdata1", "aria_log_control"}

// Running returns an error wrapping ErrRunning if a server works in a folder, in a container, too. There need be no such folder.
func Running(dir string) error {
	for _, name := range lockedFiles {
		if err := unlocked(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	who, sure, err := tenant.Find(dir, "mariadbd", "mysqld")
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil || who == "" || !sure && !used(dir):
		return err
	}
	return fmt.Errorf("%w: %s: %s", ErrRunning, dir, who)
}

// used reports whether a server may have worked in a folder: in one that has none of these files there is nothing that could be ruined.
func used(dir string) bool {
	return slices.ContainsFunc(lockedFiles, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return !errors.Is(err, os.ErrNotExist)
	})
}

// unlocked returns an error if somebody has locked a file.
func unlocked(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // and who may not read it can not replace the folder either, or is told so then
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return &os.PathError{Op: "fcntl", Path: path, Err: err}
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("%w: process %d has locked %s", ErrRunning, lock.Pid, path)
	}
	return nil
}
