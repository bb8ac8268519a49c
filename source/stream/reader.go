package stream

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const pipeSize = 1 << 20 // Linux's limit for processes without privileges

// Reader reads a stream in a goroutine of its own, so that a cancelled context ends a Read that the stream itself would
// never end. It is not safe for concurrent use.
type Reader struct {
	ctx  context.Context // of the run that the Reader is made for
	want chan []byte
	got  chan result
	err  error
}

type result struct {
	n   int
	err error
}

// NewReader begins to read r, until it ends or ctx is cancelled. A read that is under way when ctx is
// cancelled can not be interrupted: the goroutine that waits for it ends when it does.
func NewReader(ctx context.Context, r io.Reader) *Reader {
	widen(r)
	s := &Reader{ctx: ctx, want: make(chan []byte), got: make(chan result, 1)}
	go s.pump(r)
	return s
}

func (s *Reader) pump(r io.Reader) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case p := <-s.want:
			n, err := r.Read(p)
			s.got <- result{n, err} // has room for it if nobody waits any more
			if err != nil {
				return
			}
		}
	}
}

// Read reads on, straight into p. After an error that comes from the context p must not be used again: the read of the
// stream may still be under way.
func (s *Reader) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	select {
	case <-s.ctx.Done():
		s.err = context.Cause(s.ctx)
		return 0, s.err
	case s.want <- p:
	}
	select {
	case <-s.ctx.Done():
		s.err = context.Cause(s.ctx)
		return 0, s.err
	case res := <-s.got:
		s.err = res.err
		return res.n, res.err
	}
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
