package durable

import (
	"context"
	"errors"
	"io"
)

// temp is a temporary file with synced content.
type temp struct {
	fsys FS
	name string
	file File // open until the end: it holds the lock
}

// chunk is how much is written between two looks at the context.
const chunk = 4 << 20

// writeTemp makes a temporary file with the given content and syncs it.
func writeTemp(ctx context.Context, fsys FS, dir string, data []byte) (*temp, error) {
	name := TempName(dir)
	f, err := fsys.CreateExcl(name, filePerm)
	if err != nil {
		return nil, err
	}
	t := &temp{fsys, name, f}
	if err := t.fill(ctx, data); err != nil {
		t.discard()
		return nil, err
	}
	return t, nil
}

func (t *temp) fill(ctx context.Context, data []byte) error {
	// Only a lock that a sweep has is of interest: without one the file may be
	// taken for litter, which costs another attempt and nothing else.
	if err := t.file.TryLock(); errors.Is(err, ErrLocked) {
		return errSwept
	}
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := t.file.Write(data[:min(len(data), chunk)])
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return t.file.Sync()
}

// discard removes the file. What cannot be removed is litter for a later sweep.
func (t *temp) discard() {
	_ = t.fsys.Unlink(t.name)
	t.close()
}

// close gives up the lock. After a clean fsync, close has nothing to report
// about the content that could be lost.
func (t *temp) close() { _ = t.file.Close() }
