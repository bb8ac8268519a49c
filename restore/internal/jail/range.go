package jail

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Data returns the first range at or behind at that may hold anything but a hole. If there is none before
// the end of the file, ok is false.
func (f *File) Data(at int64) (from, end int64, ok bool, err error) {
	seek := func(at int64, whence int) (to int64, err error) {
		err = retry(func() (err error) {
			to, err = unix.Seek(f.fd, at, whence)
			return err
		})
		return to, err
	}
	if from, err = seek(at, unix.SEEK_DATA); err == unix.ENXIO {
		return 0, 0, false, nil
	}
	if err == nil {
		end, err = seek(from, unix.SEEK_HOLE)
	}
	return from, end, err == nil, wrap("seek", err)
}

// Clear makes a range of an existing file read as zeros, without space on disk where the file system can.
func (f *File) Clear(at, length int64) error {
	err := f.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, min(length, 1<<20))
	for length > 0 {
		n := min(length, int64(len(zeros)))
		if err := f.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at, length = at+n, length-n
	}
	return nil
}

// Allocate gives a range of a file space on disk, where the file system can do that without writing. What is not
// written reads as zeros.
func (f *File) Allocate(at, length int64) error {
	err := f.allocate(0, at, length)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func (f *File) allocate(mode uint32, at, length int64) error {
	return wrap("fallocate", retry(func() error { return unix.Fallocate(f.fd, mode, at, length) }))
}
