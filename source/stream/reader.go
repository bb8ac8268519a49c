package stream

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 512 << 10
	buffers    = 4
	pipeSize   = 1 << 20 // Linux's limit for processes without privileges
)

// Reader reads a stream ahead. It is not safe for concurrent use.
type Reader struct {
	ctx  context.Context // of the run that the Reader is made for
	full chan block
	free chan []byte
	cur  block
	rest []byte
}

type block struct {
	data []byte
	err  error
}

// NewReader begins to read r, until it ends or ctx is cancelled. A read that is under way when ctx is
// cancelled can not be interrupted: the goroutine that waits for it ends when it does.
func NewReader(ctx context.Context, r io.Reader) *Reader {
	widen(r)
	s := &Reader{ctx: ctx, full: make(chan block, buffers), free: make(chan []byte, buffers)}
	for range buffers {
		s.free <- nil // memory is made when a slow stream turns out to need it
	}
	go s.pump(r)
	return s
}

func (s *Reader) pump(r io.Reader) {
	defer close(s.full)
	for {
		var buf []byte
		select {
		case <-s.ctx.Done():
			return
		case buf = <-s.free:
		}
		if buf == nil {
			buf = make([]byte, bufferSize)
		}
		n, err := r.Read(buf[:bufferSize])
		select {
		case <-s.ctx.Done():
			return
		case s.full <- block{buf[:n], err}:
		}
		if err != nil {
			return
		}
	}
}

// Read reads on.
func (s *Reader) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.cur.err != nil {
			return 0, s.cur.err
		}
		if s.cur.data != nil {
			s.free <- s.cur.data // has room for all buffers
			s.cur = block{}
		}
		select {
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		case b, ok := <-s.full:
			if !ok { // the pump saw the context end
				return 0, context.Cause(s.ctx)
			}
			s.cur, s.rest = b, b.data
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// widen makes a pipe hold more, so that its writer waits less.
func widen(r io.Reader) {
	f, ok := r.(*os.File)
	if !ok {
		return
	}
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) // no pipe, or not allowed: as it is
	})
}
