package frames

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// Conn is a connection that is cut into frames. It is safe for concurrent use, but for Read, which belongs to one goroutine.
type Conn struct {
	rw io.ReadWriteCloser
	r  *bufio.Reader // of rw, through incoming

	line chan struct{} // has a value while somebody writes
	rows chan struct{} // has a value while somebody who writes a piece is next: others wait here and not at line
	out  []byte        // header and payload; of whoever writes, as scratch is
	zbuf []byte

	head    [HeaderSize]byte // of the reader, as the next two are
	in      []byte
	scratch []byte

	received, sent atomic.Uint64

	once  sync.Once
	ended chan struct{}
	err   error // set before ended is closed
}

// New returns a Conn, which closes rw when it ends.
func New(rw io.ReadWriteCloser) *Conn {
	c := &Conn{rw: rw, line: make(chan struct{}, 1), rows: make(chan struct{}, 1), ended: make(chan struct{})}
	c.r = bufio.NewReaderSize((*incoming)(c), MaxPayload+HeaderSize)
	return c
}

// incoming reads from the connection, and counts what comes at once: half a frame is a sign of life, too.
type incoming Conn

func (in *incoming) Read(b []byte) (int, error) {
	n, err := in.rw.Read(b)
	in.received.Add(uint64(n))
	return n, err
}

// Ended is closed when the connection has ended.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Err is why the connection has ended, or nil.
func (c *Conn) Err() error {
	select {
	case <-c.ended:
		return c.err
	default:
		return nil
	}
}

// End ends the connection. Whoever is reading or writing, now or later, gets err if it is the first, and err wraps
// ErrCut if it does not wrap ErrProtocol.
func (c *Conn) End(err error) error {
	c.once.Do(func() {
		switch {
		case err == nil || err == io.EOF:
			err = ErrCut
		case !errors.Is(err, ErrCut) && !errors.Is(err, ErrProtocol):
			err = fmt.Errorf("%w: %w", ErrCut, err)
		}
		c.err = err
		close(c.ended)
		_ = c.rw.Close() // what matters is that nobody waits for it any more
	})
	<-c.ended
	return c.err
}

// Received and Sent are the bytes that came and went.
func (c *Conn) Received() uint64 { return c.received.Load() }

// Sent is how many bytes went.
func (c *Conn) Sent() uint64 { return c.sent.Load() }

// Frame is a frame that has come. Its payload is valid until the next Read.
type Frame struct {
	Type    Type
	Flags   Flags
	ID      uint32
	Payload []byte
}

// Read returns the next frame. After an error the connection has ended.
func (c *Conn) Read() (Frame, error) {
	f, err := c.read()
	if err != nil {
		return f, c.End(err)
	}
	return f, nil
}

func (c *Conn) read() (f Frame, err error) {
	if err := c.ReadFull(c.head[:]); err != nil {
		return f, err
	}
	h, err := DecodeHeader(c.head)
	if err != nil {
		return f, err
	}
	if c.in == nil {
		c.in = make([]byte, MaxPayload)
	}
	if err := c.ReadFull(c.in[:h.Length]); err != nil {
		return f, err
	}
	f = Frame{Type: h.Type, Flags: h.Flags, ID: h.ID}
	f.Payload, err = DecodePayload(h, c.in[:h.Length], c.scratch)
	if h.Flags&Compressed != 0 && err == nil {
		c.scratch = f.Payload
	}
	return f, err
}

// ReadFull reads what comes before the first frame.
func (c *Conn) ReadFull(b []byte) error {
	_, err := io.ReadFull(c.r, b)
	return err
}

// WriteRaw writes what comes before the first frame.
func (c *Conn) WriteRaw(b []byte) error {
	n, err := c.rw.Write(b)
	c.sent.Add(uint64(n))
	if err != nil {
		return c.End(err)
	}
	return nil
}

// Send writes a frame that waits for no row. The error is that of the connection, which has ended, or the cause of ctx.
func (c *Conn) Send(ctx context.Context, t Type, id uint32, payload []byte) error {
	return c.write(ctx, Header{Type: t, ID: id}, payload, true)
}

// SendRow writes a row of pieces, and calls moved with what was written. If it fails the other side waits for the rest, and
// has to be told with Abort.
func (c *Conn) SendRow(ctx context.Context, id uint32, row []byte, compress bool, moved func(int)) error {
	for len(row) > 0 {
		piece := row[:min(len(row), MaxPayload)]
		if err := c.sendPiece(ctx, id, piece, compress); err != nil {
			return err
		}
		row = row[len(piece):]
		if moved != nil {
			moved(len(piece))
		}
	}
	return nil
}

// Abort says that the rest of a row does not come.
func (c *Conn) Abort(id uint32) error {
	return c.write(context.Background(), Header{Type: Data, Flags: Abort, ID: id}, nil, false)
}

func (c *Conn) sendPiece(ctx context.Context, id uint32, piece []byte, compress bool) error {
	if err := c.take(ctx, c.rows); err != nil {
		return err
	}
	defer func() { <-c.rows }()
	return c.write(ctx, Header{Type: Data, ID: id}, piece, compress)
}

// take puts a value into a lock.
func (c *Conn) take(ctx context.Context, lock chan struct{}) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case lock <- struct{}{}:
		return nil
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Conn) write(ctx context.Context, h Header, payload []byte, compress bool) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("remote: payload of %d bytes", len(payload))
	}
	if err := c.take(ctx, c.line); err != nil {
		return err
	}
	defer func() { <-c.line }()
	if err := c.Err(); err != nil {
		return err
	}
	if compress {
		var flag Flags
		if payload, flag = encode(payload, c.zbuf); flag != 0 {
			c.zbuf = payload
		}
		h.Flags |= flag
	}
	h.Length = len(payload)
	c.out = append(h.Append(c.out[:0]), payload...)
	n, err := c.rw.Write(c.out)
	c.sent.Add(uint64(n))
	if err != nil {
		return c.End(err)
	}
	return nil
}
