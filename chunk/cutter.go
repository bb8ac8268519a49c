package chunk

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Cutter cuts streams, one after the other. It is not safe for concurrent use: each goroutine
// that reads files keeps its own.
type Cutter struct {
	splitter splitter
	window   window

	// While data is at hand: the zero blocks at its end, of which is not yet known whether there
	// are enough to make a run.
	pending  [RunBlocks]Kind
	npending int

	// While in a run: how many of the pending blocks have been accounted for, and the extent so far.
	inRun bool
	taken int
	ext   Chunk

	err error
}

// New returns a Cutter for a repository's polynomial. It must be Reset to a stream before use.
func New(polynomial uint64) (*Cutter, error) {
	s, err := newSplitter(polynomial)
	if err != nil {
		return nil, err
	}
	return &Cutter{splitter: s, err: io.EOF}, nil
}

// Reset makes c start with a new stream, from its current position to its end; what remained of the
// one before is forgotten. The window is kept. If r is a [SparseReader] its holes are used.
// Reset(nil) lets go of the stream.
func (c *Cutter) Reset(r io.Reader) {
	c.window.reset(r)
	c.restart()
	if r == nil {
		c.err = io.EOF
	}
}

// ResetAhead is Reset for a long stream, which a, of the same polynomial, then reads ahead and searches beside the work
// on chunks; they are the same. The next Reset, for which r must not block for ever, gives r and a back. A Read of r that
// fails may write into its buffer even then.
func (c *Cutter) ResetAhead(r io.Reader, a *Ahead) {
	c.window.resetAhead(r, a)
	c.restart()
}

func (c *Cutter) restart() {
	c.splitter.restart()
	c.npending, c.inRun, c.taken, c.ext = 0, false, 0, Chunk{}
	c.err = nil
}

// Next returns the next extent of the stream, and io.EOF after the last: an empty stream has none.
// Extents follow one another without gaps. Any other error is that of the stream, with
// the offset, and final; the data that was in hand is then lost.
func (c *Cutter) Next() (Chunk, error) {
	if c.err != nil {
		return Chunk{}, c.err
	}
	ch, err := c.next()
	c.err = err
	return ch, err
}

func (c *Cutter) next() (Chunk, error) {
	w := &c.window
	for {
		if c.inRun {
			if ch, err := c.nextZeros(); ch.Length > 0 || err != nil {
				return ch, err
			}
		}
		over := c.classify()
		if n := c.splitter.next(w.sureBytes(), w.pos, w.known); n > 0 {
			return w.take(n), nil
		}
		if !over {
			if err := w.fill(false); err != nil {
				return Chunk{}, err
			}
			continue
		}
		// The stretch ends here, before a run or at the end of the stream.
		if n := len(w.sureBytes()); n > 0 {
			c.splitter.restart()
			return w.take(n), nil
		}
		if c.npending < RunBlocks {
			return Chunk{}, io.EOF
		}
		c.inRun, c.taken = true, 0
	}
}

// classify looks at the blocks that are complete and decides which bytes are data for sure. It returns
// true when the stretch ends after those.
func (c *Cutter) classify() bool {
	w := &c.window
	for c.npending < RunBlocks {
		b := w.block()
		if b == nil {
			break
		}
		if isZero(b) {
			c.pending[c.npending] = w.blockKind()
			c.npending++
			w.scan += len(b)
		} else {
			c.npending = 0
			w.scan += len(b)
			w.sure = w.scan
		}
	}
	if c.npending < RunBlocks && w.atEnd() {
		c.npending = 0
		w.sure = w.scan
		return true
	}
	return c.npending == RunBlocks
}

// nextZeros returns the next extent of the run of zeros, or one without length when the run is over.
// The window's data has all been taken when it is called.
func (c *Cutter) nextZeros() (Chunk, error) {
	w := &c.window
	for {
		var kind Kind
		var n int64
		skip := false
		if c.taken < c.npending {
			kind, n = c.pending[c.taken], int64(min(BlockSize, w.scan-w.start))
		} else if b := w.block(); b != nil {
			if !isZero(b) {
				return c.leaveRun(), nil
			}
			kind, n = w.blockKind(), int64(len(b))
		} else if h := w.wholeHoleBlocks(); h > 0 {
			kind, n, skip = Hole, h, true
		} else if w.atEnd() {
			return c.leaveRun(), nil
		} else {
			if err := w.fill(true); err != nil {
				return Chunk{}, err
			}
			continue
		}

		if c.ext.Length > 0 && c.ext.Kind != kind {
			ch := c.ext
			c.ext = Chunk{}
			return ch, nil
		}
		if c.ext.Length == 0 {
			c.ext = Chunk{Kind: kind, Offset: w.pos}
		}
		c.ext.Length += n
		switch {
		case skip:
			w.skipHole(n)
		case c.taken < c.npending:
			c.taken++
			w.drop(int(n))
		default:
			w.scan += int(n)
			w.drop(int(n))
		}
	}
}

func (c *Cutter) leaveRun() Chunk {
	ch := c.ext
	c.ext = Chunk{}
	c.inRun, c.npending = false, 0
	return ch
}

var zeroBlock [BlockSize]byte

// isZero reports whether b, at most a block, is all zero. Nearly every block of data is told by its
// first word.
func isZero(b []byte) bool {
	if len(b) >= 8 && binary.LittleEndian.Uint64(b) != 0 {
		return false
	}
	return bytes.Equal(b, zeroBlock[:len(b)])
}
