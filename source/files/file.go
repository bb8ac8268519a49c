package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/tree"
)

const fileFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC

var (
	// ErrOtherType is wrapped when an entry is no regular file any more.
	ErrOtherType = errors.New("no regular file any more")

	// ErrReplaced is wrapped when a folder is not the one any more that it was when it was first opened.
	ErrReplaced = errors.New("folder was replaced")
)

// File is an open regular file. It is not safe for concurrent use.
type File struct {
	fd int
}

// euid is who reads. The kernel is asked once, and not for each file.
var euid = uint32(os.Geteuid())

// leaseWait is how long to wait for whoever holds a lease on a file, such as a file server, to give it back;
// the kernel takes it away after /proc/sys/fs/lease-break-time, 45 seconds by default.
const leaseWait = 60 * time.Second

// Open opens a file that was found to be a regular one, of the given owner.
func (d *Dir) Open(ctx context.Context, name string, uid uint32) (File, error) {
	at, err := d.use()
	if err != nil {
		return File{}, err
	}
	defer d.done()
	flags := fileFlags
	if euid == 0 || euid == uid {
		flags |= unix.O_NOATIME
	}
	for waited := time.Duration(0); ; {
		fd, err := openat(at, name, flags)
		switch {
		case err == nil:
			return File{fd}, nil
		case errors.Is(err, unix.EPERM) && flags&unix.O_NOATIME != 0:
			flags &^= unix.O_NOATIME
		case errors.Is(err, unix.EWOULDBLOCK) && waited < leaseWait:
			const pause = 50 * time.Millisecond
			select {
			case <-ctx.Done():
				return File{}, ctx.Err()
			case <-time.After(pause):
				waited += pause
			}
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO): // a symlink; a socket or an unused FIFO
			return File{}, fmt.Errorf("%w: %w", ErrOtherType, err)
		default:
			return File{}, err
		}
	}
}

// Close closes the file.
func (f File) Close() { _ = unix.Close(f.fd) } // it was only read from

// Stat looks at the open file.
func (f File) Stat(st *Stat) error { return statx(f.fd, "", unix.AT_EMPTY_PATH, st) }

// Same reports whether the open file still is as st says, cheaply. The error is ErrOtherType
// for what is no regular file.
func (f File) Same(st *Stat) (bool, error) {
	var s unix.Stat_t
	if err := unix.Fstat(f.fd, &s); err != nil {
		return false, fmt.Errorf("stat: %w", err)
	}
	now := Stat{
		Type: modeType(s.Mode), Size: s.Size, Inode: s.Ino, Dev: s.Dev,
		MTime: fileTime(int64(s.Mtim.Sec), uint32(s.Mtim.Nsec)),
		CTime: fileTime(int64(s.Ctim.Sec), uint32(s.Ctim.Nsec)),
	}
	if now.Type != tree.File {
		return false, ErrOtherType
	}
	return now.SameContent(st), nil
}

// Read reads on. It is an io.Reader.
func (f File) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// ReadAt reads at an offset. It is an io.ReaderAt.
func (f File) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// ReadUpTo reads from the start of the file, up to so many bytes.
func (f File) ReadUpTo(limit int) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, 0, int64(limit)))
}

// Rewind goes back to the start of the file.
func (f File) Rewind() error {
	if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
		return fmt.Errorf("seek: %w", err)
	}
	return nil
}

// Sequential tells the kernel that all of the file will be read in order.
func (f File) Sequential() { _ = unix.Fadvise(f.fd, 0, 0, unix.FADV_SEQUENTIAL) } // only a hint

// NextHole returns the first hole behind off in a file of the given size, as [start, end); start = end
// if there is none.
func (f File) NextHole(off, size int64) (start, end int64, err error) {
	start, err = unix.Seek(f.fd, off, unix.SEEK_HOLE)
	if err == unix.ENXIO || err == nil && start >= size {
		return size, size, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("seek: %w", err)
	}
	end, err = unix.Seek(f.fd, start, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return start, size, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("seek: %w", err)
	}
	return start, end, nil
}
