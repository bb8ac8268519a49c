package durable

import (
	"context"
	"errors"
	"io"
	"syscall"
	"unsafe"
)

// temp is a temporary file with synced content.
type temp struct {
	fsys FS
	name string
	file File // open until the end: it holds the lock
}

// So much is written between two looks at the context. A local disk takes as much as most files have at once: with pieces of 4 MiB a
// backup of noise took 6 % more CPU time, mostly of the runtime that looks who waits for how long.
const (
	chunk       = 4 << 20
	directChunk = 16 << 20
)

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
	data, err := t.writeDirect(ctx, data)
	if err != nil {
		return err
	}
	if _, err := t.write(ctx, data, chunk); err != nil {
		return err
	}
	return t.file.Sync()
}

// write writes data in pieces, and returns what it has not written.
func (t *temp) write(ctx context.Context, data []byte, piece int) (rest []byte, err error) {
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return data, err
		}
		n, err := t.file.Write(data[:min(len(data), piece)])
		data = data[max(n, 0):]
		if err != nil {
			return data, err
		}
		if n == 0 {
			return data, io.ErrShortWrite
		}
	}
	return nil, nil
}

const (
	directUnit  = 4096    // no disk has larger blocks
	directLeast = 1 << 20 // from which size on it is worth it
)

// writeDirect writes as much of a large file as it can past the page cache, and returns the rest. What is written is
// not read again soon, and does not push out what the machine works with; and the kernel need not find memory for it, copy it, and
// look for it again when it is synced: the first backup of 1.5 GB of noise took 8.0 s, 6.7 s
// of them system time, with the page cache, and 5.7 s, 1.7 s of system time, without.
func (t *temp) writeDirect(ctx context.Context, data []byte) (rest []byte, err error) {
	f, ok := t.file.(DirectFile)
	if !ok || len(data) < directLeast || uintptr(unsafe.Pointer(&data[0]))%directUnit != 0 || f.SetDirect(true) != nil {
		return data, nil
	}
	whole := len(data) &^ (directUnit - 1)
	rest, err = t.write(ctx, data[:whole], directChunk)
	if errors.Is(err, syscall.EINVAL) { // not here, or not from where a short write has ended
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return data[whole-len(rest):], f.SetDirect(false)
}

// discard removes the file. What cannot be removed is litter for a later sweep.
func (t *temp) discard() {
	_ = t.fsys.Unlink(t.name)
	t.close()
}

// close gives up the lock. After a clean fsync, close has nothing to report
// about the content that could be lost.
func (t *temp) close() { _ = t.file.Close() }
