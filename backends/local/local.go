package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"syscall"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/durable"
)

// Store is a folder of objects. It is safe for concurrent use, and any number of
// Stores in any number of processes may use one folder.
type Store struct {
	fsys   durable.FS
	writer *durable.Writer
}

var (
	_ backends.Store   = (*Store)(nil)
	_ backends.Sweeper = (*Store)(nil)
)

// Open opens the store in an existing folder. The error wraps
// [backends.ErrNoStore] when there is no such folder. An empty folder is a store
// without objects; nothing in it is changed.
func Open(dir string) (*Store, error) {
	fsys, err := durable.OpenDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: folder %s does not exist", backends.ErrNoStore, dir)
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %s is not a folder", backends.ErrNoStore, dir)
	case err != nil:
		return nil, err
	}
	return New(fsys), nil
}

// Create opens the store in a folder, which it makes first, with those above it,
// where it is missing.
func Create(dir string) (*Store, error) {
	fsys, err := durable.CreateDir(dir, 0o700)
	if err != nil {
		return nil, err
	}
	return New(fsys), nil
}

// New returns the store in a folder behind the seam. Closing the store closes
// fsys.
func New(fsys durable.FS) *Store {
	return &Store{fsys: fsys, writer: durable.NewWriter(fsys, TempDir)}
}

// Put creates an object; see [backends.Store].
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.put(ctx, name, data); err != nil {
		kind := backends.Permanent
		if _, ok := errors.AsType[*durable.UnclearError](err); ok {
			kind = backends.Unclear
		}
		return &backends.Error{Op: "put", Name: name, Kind: kind, Err: err}
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, path := place(name)
	err := s.writer.CreateExclusive(ctx, path, data)
	if errors.Is(err, fs.ErrExist) {
		return backends.ErrExist
	}
	return err
}

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	data, err := s.get(ctx, name, offset, length, buf)
	if err != nil {
		return nil, &backends.Error{Op: "get", Name: name, Err: err}
	}
	return data, nil
}

func (s *Store) get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if err := backends.CheckName(name); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, path := place(name)
	f, err := s.fsys.Open(path)
	if err != nil {
		return nil, notExist(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", backends.ErrNotExist, path)
	}
	n, err := backends.Span(name, offset, length, info.Size())
	if err != nil {
		return nil, err
	}
	s.writer.Saw(dir)
	if err := s.writer.Found(path); err != nil {
		return nil, err
	}
	buf = backends.Buffer(buf, n)
	for done := 0; done < len(buf); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := buf[done:min(len(buf), done+readSize)]
		m, err := f.ReadAt(piece, offset+int64(done))
		if m < len(piece) {
			if err == nil || errors.Is(err, io.EOF) {
				// It has become shorter since the Stat, which no object does.
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		done += m
	}
	return buf, nil
}

// readSize is how much is read between two looks at the context.
const readSize = 4 << 20

// List yields the objects; see [backends.Store].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		err := s.list(ctx, prefix, after, func(i backends.Info) bool { return yield(i, nil) })
		if err != nil {
			yield(backends.Info{}, &backends.Error{Op: "list", Name: prefix, Err: err})
		}
	}
}

// Delete removes an object; see [backends.Store].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.delete(ctx, name); err != nil {
		return &backends.Error{Op: "delete", Name: name, Err: err}
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	if err := backends.CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, path := place(name)
	info, err := s.fsys.Stat(path)
	if err != nil {
		return notExist(err)
	}
	if !info.Mode().IsRegular() { // Unlink would remove an empty folder
		return fmt.Errorf("%w: %s is not a file", backends.ErrNotExist, path)
	}
	if err := s.fsys.Unlink(path); err != nil {
		return notExist(err)
	}
	return nil
}

// notExist translates how a file system says that there is no such object: the
// file is missing, or its folder is, or there is a file where that should be.
func notExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return backends.ErrNotExist
	}
	return err
}

// Caps says what the folder can do. It is create-only by link(2) or its like;
// on file systems with neither, Put fails.
func (s *Store) Caps() backends.Caps {
	return backends.Caps{CreateOnly: true, Durable: s.writer.Durable(), Local: true}
}

// Sweep removes the temporary files of dead writers. The first Put of a Store
// does it, too.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	return durable.Sweep(ctx, s.fsys, TempDir)
}

// Close gives up the folder.
func (s *Store) Close() error { return s.fsys.Close() }
