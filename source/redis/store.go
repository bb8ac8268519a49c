package redis

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/redis/rdb"
)

const (
	fileMode  = 0o600
	maxCounts = 500 // databases whose keys are counted each for itself
)

// openedFile is a file as it was when it was opened: a server replaces its file by another.
type openedFile struct {
	*os.File
	size int64
}

func openFile(path string) (*openedFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &openedFile{f, info.Size()}, nil
}

// readRDB stores a file that is there.
func (s *Source) readRDB(ctx context.Context, path string, out source.Writer) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s.details.File = path
	return s.store(ctx, f, f.size, out, nil)
}

// store stores the server's RDB file, if check, which is called when all is known about it, does not object.
func (s *Source) store(ctx context.Context, r io.ReaderAt, size int64, out source.Writer, check func() error) error {
	file, err := s.examine(ctx, r, size)
	if err != nil {
		return err
	}
	s.details.RDB = &file.RDBFile
	if file.Info != nil {
		s.note(file.Info)
	}
	if check != nil {
		if err := check(); err != nil {
			return err
		}
	}
	return file.store(out, s.folder()+"/"+dumpFile)
}

// note keeps what the file says of itself.
func (s *Source) note(info *rdb.Info) {
	if sec, err := strconv.ParseInt(info.Facts["ctime"], 10, 64); err == nil {
		at := time.Unix(sec, 0).UTC()
		s.details.SavedAt = &at
	}
	offset, err := strconv.ParseInt(info.Facts["repl-offset"], 10, 64)
	if id := info.Facts["repl-id"]; err == nil && id != "" {
		s.details.ReplicationID, s.details.ReplicationOffset, s.details.OffsetExact = id, offset, true
	}
	if v := info.Facts["redis-ver"]; v != "" && s.details.Server == "" {
		s.details.Server = "redis " + v
	}
	if v := info.Facts["valkey-ver"]; v != "" && s.details.Server == "" {
		s.details.Server = "valkey " + v
	}
}

// examined is an RDB file that is whole.
type examined struct {
	RDBFile
	file *rdb.File // nil if the format is not known
	r    io.ReaderAt
}

// reader ends reads with its context.
type reader struct {
	io.ReaderAt
	ctx context.Context // of the run that reads
}

func (r reader) ReadAt(p []byte, off int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReaderAt.ReadAt(p, off)
}

func (s *Source) examine(ctx context.Context, r io.ReaderAt, size int64) (*examined, error) {
	r = reader{r, ctx}
	e := &examined{RDBFile: RDBFile{Size: size, Form: Sorted}, r: r}
	f, err := rdb.Examine(r, size, s.o.Memory)
	if unknown, ok := errors.AsType[*rdb.UnsupportedError](err); ok {
		e.Form, e.Reason = Original, unknown.What
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	if s.o.Exact {
		e.Form = Exact
	}
	info := f.Info
	if len(info.Databases) > maxCounts { // a manifest has no room for more
		info.Databases = nil
	}
	e.file, e.Info, e.Keys = f, &info, f.Info.Keys()
	return e, nil
}

// store writes the file to a path of the snapshot.
func (e *examined) store(out source.Writer, path string) error {
	switch e.Form {
	case Original:
		return writeFile(out, path, func(w source.File) error {
			return rdb.Check(io.TeeReader(io.NewSectionReader(e.r, 0, e.Size), w), e.Size)
		})
	case Sorted:
		return writeFile(out, path, func(w source.File) error { return e.file.Write(w) })
	}
	return writeFile(out, path, func(w source.File) error {
		return writeFile(out, path+orderSuffix, func(order source.File) error {
			return writeFile(out, path+apartSuffix, func(apart source.File) error { return e.file.WriteExact(w, order, apart) })
		})
	})
}

// writeFile makes a file of what write writes.
func writeFile(out source.Writer, path string, write func(source.File) error) error {
	f, err := out.Create(path, source.FileNode(fileMode))
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	return f.Close()
}
