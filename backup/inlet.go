package backup

import (
	"context"
	"io"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/tree"
)

// maxEmpty is how often in a row a reader may return nothing.
const maxEmpty = 100

// part is what a source hands to the goroutine of a file. One of the fields is set, or from and first.
type part struct {
	data    []byte
	from    io.Reader
	first   byte // of from, read before: what follows in it comes behind this one
	zeros   int64
	extents []tree.Extent // of the parent: ends the stretch that is being cut
	end     bool          // of the file
}

// taken is what became of a part.
type taken struct {
	n   int64 // bytes that were read
	err error // in reading them
}

// inlet is what a source writes into a file, as a stream with holes. The source waits until a part was taken, so that its bytes
// are copied once, to where they are searched for chunks. The stream ends at a part that is no bytes, which stays in
// cur. An inlet has one writer and one reader.
type inlet struct {
	ctx   context.Context // of the attempt
	parts chan part
	taken chan taken
	over  <-chan struct{} // closed when nobody takes parts any more
	err   *error          // why; to be read when over is closed

	// Of the reader.
	cur   part
	has   bool
	read  int64  // bytes of cur, but for the first
	ended *error // of from, which has its last byte in first
}

var _ chunk.SparseReader = (*inlet)(nil)

// hand passes on a part and waits until it was taken.
func (in *inlet) hand(p part) taken {
	select {
	case in.parts <- p:
	case <-in.over:
		return taken{err: *in.err}
	}
	select {
	case t := <-in.taken:
		return t
	case <-in.over:
		return taken{err: *in.err}
	}
}

// wait waits for a part.
func (in *inlet) wait() error {
	if in.has {
		return nil
	}
	select {
	case in.cur = <-in.parts:
		in.has, in.read, in.ended = true, 0, nil
		return nil
	case <-in.ctx.Done():
		return context.Cause(in.ctx)
	}
}

// took lets the writer go on.
func (in *inlet) took(t taken) {
	in.cur, in.has = part{}, false
	in.taken <- t
}

// Read reads on. It returns io.EOF at a part that is no bytes.
func (in *inlet) Read(p []byte) (int, error) {
	if err := in.wait(); err != nil || len(p) == 0 {
		return 0, err
	}
	switch c := &in.cur; {
	case c.from != nil:
		return in.readFrom(p), nil
	case c.zeros > 0:
		n := int(min(int64(len(p)), c.zeros))
		clear(p[:n])
		if c.zeros -= int64(n); c.zeros == 0 {
			in.took(taken{})
		}
		return n, nil
	case len(c.data) > 0:
		n := copy(p, c.data)
		if c.data = c.data[n:]; len(c.data) == 0 {
			in.took(taken{})
		}
		return n, nil
	}
	return 0, io.EOF
}

// readFrom reads from a part that is a reader. It always keeps one byte back, so that the
// end never comes without one: then Read would have to go on to the next part, which may be a hole.
func (in *inlet) readFrom(p []byte) int {
	if in.ended != nil { // there was no room for the last byte
		p[0] = in.cur.first
		in.took(taken{n: in.read, err: eofIsNil(*in.ended)})
		return 1
	}
	var one [1]byte
	dst := p[1:]
	if len(dst) == 0 {
		dst = one[:]
	}
	k, err := in.cur.from.Read(dst)
	in.read += int64(k)
	switch {
	case k == 0 && err == nil:
		return 0
	case k > 0 && (err == nil || len(p) == 1):
		p[0], in.cur.first = in.cur.first, dst[k-1]
		if err != nil {
			in.ended = &err
		}
		return k
	}
	p[0] = in.cur.first
	in.took(taken{n: in.read, err: eofIsNil(err)})
	return k + 1
}

func eofIsNil(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// SkipHole is of chunk.SparseReader.
func (in *inlet) SkipHole() (int64, error) {
	if err := in.wait(); err != nil {
		return 0, err
	}
	n := in.cur.zeros
	if n > 0 {
		in.took(taken{})
	}
	return n, nil
}
