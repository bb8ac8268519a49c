package redis

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// spool is a temporary file that has no name and is encrypted with a key that exists in this process's memory alone: what
// the server holds is on the disk of the backup's machine at no time. Writing it is not safe for concurrent use; reading is.
type spool struct {
	f     *os.File
	block cipher.Block
	size  int64
	w     cipher.Stream
	buf   []byte
}

const spoolBuffer = 256 << 10

// newSpool makes an empty one in a folder.
func newSpool(dir string) (*spool, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	f, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	s := &spool{f: f, block: block, buf: make([]byte, 0, spoolBuffer)}
	s.w = s.stream(0)
	return s, nil
}

// unnamed makes a file that goes with its last descriptor.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "temporary file in "+dir), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, &fs.PathError{Op: "create temporary file", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, "kura-redis-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// stream is the cipher from an offset on.
func (s *spool) stream(off int64) cipher.Stream {
	var iv [aes.BlockSize]byte // each key is used for one file
	binary.BigEndian.PutUint64(iv[8:], uint64(off)/aes.BlockSize)
	c := cipher.NewCTR(s.block, iv[:])
	if skip := off % aes.BlockSize; skip > 0 {
		var drop [aes.BlockSize]byte
		c.XORKeyStream(drop[:skip], drop[:skip])
	}
	return c
}

// Write is of io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		written += n
		if len(s.buf) == cap(s.buf) {
			if err := s.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush writes what is buffered; it is called before anything is read.
func (s *spool) flush() error {
	s.w.XORKeyStream(s.buf, s.buf)
	n, err := s.f.WriteAt(s.buf, s.size)
	s.size += int64(n)
	s.buf = s.buf[:0]
	return err
}

// ReadAt is of io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), max(s.size-off, 0))], off)
	s.stream(off).XORKeyStream(p[:n], p[:n])
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (s *spool) close() { _ = s.f.Close() }
