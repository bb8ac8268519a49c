package redis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process restores into the folder.
var ErrBusy = errors.New("redis: another process restores into this folder")

const stageFolder = ".kura-restore"

// Staged is a folder in the server's, for what is fetched until it is put in its place. It is locked.
type Staged struct {
	Path string
	lock *os.File
}

// Stage makes the folder. What a run has left there that died is removed.
func (t *Target) Stage() (*Staged, error) {
	s := &Staged{Path: filepath.Join(t.Dir, stageFolder)}
	if err := os.Mkdir(s.Path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// Not followed, if somebody has put a link there.
	fd, err := unix.Open(s.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: s.Path, Err: err}
	}
	s.lock = os.NewFile(uintptr(fd), s.Path)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: %s", ErrBusy, t.Dir)
		}
		return nil, err
	}
	if err := s.clear(); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Staged) clear() error {
	names, err := s.lock.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(s.Path, name)); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the folder with what is left in it.
func (s *Staged) Close() error {
	return errors.Join(os.RemoveAll(s.Path), s.lock.Close())
}
