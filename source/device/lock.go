package device

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/mounts"
)

// lock keeps away, for the time of the restore, programs that lock what they have, such as those that run virtual machines, and other
// restores.
func (t *Target) lock(o TargetOptions) error {
	all := unix.Flock_t{Type: unix.F_WRLCK}
	how := unix.F_OFD_SETLK
	if t.dry { // it is open for reading, and only looked at
		how = unix.F_OFD_GETLK
	}
	locked, err := flock(t.f, how, &all)
	if locked && !o.Force {
		return &UseError{t.path, "another program has locked it"}
	}
	return err
}

// unlockedAround returns an error if a program has locked what the target is a part of, or a part of the target: locks are on the device that
// a program uses, and are not seen from others.
func (t *Target) unlockedAround() error {
	ways, err := mounts.Ways(t.path)
	if err != nil {
		return err
	}
	for _, way := range ways {
		f, err := os.OpenFile(way, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // it has gone, or is out of reach
		}
		locked, err := flock(f, unix.F_OFD_GETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if locked {
			return &UseError{t.path, "another program has locked " + way}
		}
	}
	return nil
}

// flock takes a lock, or asks for those of others, and reports whether there are any.
func flock(f *os.File, how int, l *unix.Flock_t) (locked bool, err error) {
	err = unix.FcntlFlock(f.Fd(), how, l)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return true, nil
	case errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported): // there are none here
		return false, nil
	}
	return err == nil && how == unix.F_OFD_GETLK && l.Type != unix.F_UNLCK, err
}
