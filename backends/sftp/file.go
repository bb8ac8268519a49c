package sftp

import (
	"errors"
	"io"
	"io/fs"

	"github.com/pkg/sftp"

	"github.com/kura-backup/kura/internal/durable"
)

// file is an open file on the server. It belongs to one connection, and is gone with that.
type file struct {
	remote *remote
	name   string
	c      *conn
	f      *sftp.File
	mode   chan error // the answer to chmod, if it was asked for
}

var _ durable.File = (*file)(nil)

// answer makes an error of this file's connection into one of the file.
func (f *file) answer(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return pathError(op, f.name, f.c.outcome(err))
}

// chmod asks for a mode, and does not wait for the answer. It does not matter if the server refuses.
func (f *file) chmod(perm fs.FileMode) {
	f.mode = make(chan error, 1)
	f.remote.pool.wg.Go(func() { f.mode <- f.f.Chmod(perm) })
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	if err != nil {
		return n, f.remote.noSpace(f.answer("write", err))
	}
	return n, nil
}

// ReadAt asks for all pieces at once. A server may send less of a piece than it was asked for; what is missing
// then is asked for again, until there is nothing more.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.f.ReadAt(p[done:], off+int64(done))
		done += n
		if err != nil && (!errors.Is(err, io.EOF) || n == 0) {
			return done, f.answer("read", err)
		}
	}
	return done, nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	info, err := f.f.Stat()
	return info, f.answer("stat", err)
}

// Sync makes the content durable where the server can do that: whether the store is durable is judged by its
// folders.
func (f *file) Sync() error {
	if f.mode != nil {
		<-f.mode
		f.mode = nil
	}
	if err := f.sync(); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

func (f *file) sync() error { return f.answer("sync", f.f.Sync()) }

// TryLock has nothing to offer: SFTP has no locks.
func (f *file) TryLock() error { return pathError("lock", f.name, errors.ErrUnsupported) }

// Close does not wait for an answer: what had to be made sure was by Sync.
func (f *file) Close() error {
	f.remote.pool.wg.Go(func() {
		defer f.remote.pool.put(f.c)
		if f.mode != nil {
			<-f.mode
		}
		_ = f.f.Close() // a handle that stays open goes with the connection
	})
	return nil
}
