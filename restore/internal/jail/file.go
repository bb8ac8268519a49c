package jail

import (
	"io"

	"golang.org/x/sys/unix"
)

// File is an open regular file. Its methods may be called concurrently, but for Close.
type File struct{ Handle }

// WriteAt writes all of data at an offset.
func (f *File) WriteAt(data []byte, offset int64) error {
	for len(data) > 0 {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Pwrite(f.fd, data, offset)
			return err
		})
		if err != nil {
			return wrap("write", err)
		}
		if n == 0 {
			return wrap("write", io.ErrShortWrite)
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// ReadAt reads exactly len(data) bytes at an offset.
func (f *File) ReadAt(data []byte, offset int64) error {
	for len(data) > 0 {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Pread(f.fd, data, offset)
			return err
		})
		if err != nil {
			return wrap("read", err)
		}
		if n == 0 {
			return wrap("read", io.ErrUnexpectedEOF)
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// Truncate sets the size. What is between the last byte written and the size becomes a hole.
func (f *File) Truncate(size int64) error {
	return wrap("truncate", retry(func() error { return unix.Ftruncate(f.fd, size) }))
}

// SyncFS makes everything written to the file system of the folder durable.
func (d *Dir) SyncFS() error {
	return wrap("syncfs", retry(func() error { return unix.Syncfs(d.fd) }))
}
