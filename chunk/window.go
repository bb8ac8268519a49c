package chunk

import (
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	// readSize is how much is asked of a stream at once: enough to make the cost of a call vanish, little
	// enough that what was read is still in the CPU's cache when it is looked at.
	readSize    = 512 << 10
	firstWindow = 1 << 20
	// What is in the window before a read: a chunk in hand, all but one block of a run, part of a block.
	maxWindow = MaxSize + RunBlocks*BlockSize + readSize
	// A window that has grown past this is not kept for the next stream.
	keepWindow = 4 << 20
	// Past this much consumed data the rest is moved to the front, to stay within few memory pages.
	moveAfter = 1 << 20

	maxEmptyReads = 100
)

var (
	errReader = errors.New("chunk: reader returned an impossible count")
	errLength = errors.New("chunk: stream is longer than 2^63-1 bytes")
)

// window is the part of the stream that is in memory:
//
//	start … sure … scan … end
//
// From start to sure lies data for sure: it belongs to the chunk in hand, or to the following ones. From
// sure to scan lie whole zero blocks that may become a run. From scan to end nothing has
// been looked at. In a run, start = sure, and the run's pending blocks lie up to scan.
type window struct {
	r     io.Reader
	holes SparseReader // r, if it knows holes

	buf                    []byte
	start, sure, scan, end int
	pos                    int64 // of start, in the stream
	read                   int   // behind the last byte that came from Read and not from a hole

	hole int64 // bytes of a hole that follow end and have been skipped in the stream
	eof  bool

	ahead *Ahead // reads and searches the stream, instead of r; buf is one of its slabs
	known known  // what it has found
}

func (w *window) reset(r io.Reader) {
	if w.ahead != nil {
		w.ahead.end()
		w.buf = nil
	}
	if len(w.buf) > keepWindow {
		w.buf = nil // few files need as much: it is not kept for those that do not
	}
	*w = window{r: r, buf: w.buf, known: w.known[:0]}
	w.holes, _ = r.(SparseReader)
}

// resetAhead is reset for a stream that a reads.
func (w *window) resetAhead(r io.Reader, a *Ahead) {
	w.reset(nil)
	w.ahead, w.buf = a, nil
	a.start(r)
}

// block returns the next complete block that has not been looked at, or nil. At the end of the stream
// a short one is complete.
func (w *window) block() []byte {
	n := w.end - w.scan
	if n >= BlockSize {
		n = BlockSize
	} else if n == 0 || !w.eof {
		return nil
	}
	return w.buf[w.scan : w.scan+n]
}

// blockKind returns the kind of the block at scan if it is zero. It relies on fill being called
// only when there is no complete block: then a block that has any byte from Read cannot begin
// behind the last such byte.
func (w *window) blockKind() Kind {
	if w.read > w.scan {
		return Zeros
	}
	return Hole
}

// wholeHoleBlocks returns how many bytes from end on are whole blocks of a hole.
func (w *window) wholeHoleBlocks() int64 {
	if w.end > w.scan {
		return 0
	}
	return w.hole &^ (BlockSize - 1)
}

// atEnd reports whether everything up to the end of the stream has been looked at.
func (w *window) atEnd() bool { return w.eof && w.scan == w.end }

func (w *window) sureBytes() []byte { return w.buf[w.start:w.sure] }

// take removes the first n bytes as a chunk of data.
func (w *window) take(n int) Chunk {
	ch := Chunk{Kind: Data, Offset: w.pos, Length: int64(n), Data: w.buf[w.start : w.start+n : w.start+n]}
	w.start += n
	w.advance(int64(n))
	return ch
}

// advance notes that n bytes of the stream were removed.
func (w *window) advance(n int64) {
	w.pos += n
	if w.ahead != nil {
		w.ahead.settled.Store(w.pos + MinSize - 1)
	}
}

// drop removes n zero bytes.
func (w *window) drop(n int) {
	w.start += n
	w.sure = w.start
	w.advance(int64(n))
}

// skipHole removes n bytes of the hole behind end, when nothing is in the window.
func (w *window) skipHole(n int64) {
	w.hole -= n
	w.advance(n)
}

// fill adds to the end of the window, or notes a hole there, or the end of the stream. It may move the
// bytes of the window. In a run, a hole is left alone as long as whole blocks of it can
// be skipped; otherwise it is written out as zeros, up to the end of the block at most, because
// it may turn out to be data.
func (w *window) fill(inRun bool) error {
	if w.ahead != nil {
		return w.fillAhead(inRun)
	}
	if w.hole == 0 && w.holes != nil && !w.eof {
		n, err := w.holes.SkipHole()
		if err != nil {
			return w.fail(err)
		}
		if n < 0 {
			return w.fail(errReader)
		}
		w.hole = n
	}
	if w.holeTooLong() {
		return w.fail(errLength)
	}
	if inRun && w.wholeHoleBlocks() > 0 {
		return nil
	}
	w.room()
	if w.hole > 0 {
		n := int(min(w.hole, int64(BlockSize-(w.end-w.scan))))
		clear(w.buf[w.end : w.end+n])
		w.end += n
		w.hole -= int64(n)
		return nil
	}
	for range maxEmptyReads {
		dst := w.buf[w.end : w.end+readSize]
		n, err := w.r.Read(dst)
		if n < 0 || n > len(dst) {
			return w.fail(errReader)
		}
		w.end += n
		if n > 0 {
			w.read = w.end
		}
		if err == io.EOF {
			w.eof = true
			return nil
		}
		if err != nil {
			return w.fail(err)
		}
		if n > 0 {
			return nil
		}
	}
	return w.fail(io.ErrNoProgress)
}

// fillAhead is fill for a stream that is read ahead. The zeros of a hole are in the slab already, as many as may turn
// out to be data.
func (w *window) fillAhead(inRun bool) error {
	if w.hole == 0 && !w.eof {
		it := w.ahead.next()
		if it.err == io.EOF {
			w.eof = true
			return nil
		}
		if it.err != nil {
			return w.fail(it.err)
		}
		w.follow(it)
		if it.hole == 0 {
			w.end += it.n
			w.read = w.end
			w.known.add(it.searched, w.pos)
			return nil
		}
		if w.hole = it.hole; w.holeTooLong() {
			return w.fail(errLength)
		}
	}
	if inRun && w.wholeHoleBlocks() > 0 {
		return nil
	}
	n := int(min(w.hole, int64(BlockSize-(w.end-w.scan))))
	w.end += n
	w.hole -= int64(n)
	return nil
}

// follow makes the window end where an item begins.
func (w *window) follow(it *item) {
	start := it.at - (w.end - w.start)
	if len(w.buf) == 0 || &w.buf[0] != &it.slab[0] {
		// The last bytes are there already: the search needs them, and may still look at them.
		if n := w.end - w.start - windowSize; n > 0 {
			copy(it.slab[start:], w.buf[w.start:w.start+n])
		}
		if len(w.buf) > 0 {
			w.ahead.release(w.buf)
		}
	} // otherwise what is in the window is the end of a hole that was skipped, and is there as well
	w.move(it.slab, start)
}

func (w *window) holeTooLong() bool {
	return w.hole > math.MaxInt64-w.pos-int64(w.end-w.start)-readSize
}

func (w *window) fail(err error) error {
	return fmt.Errorf("chunk: at offset %d: %w", w.pos+int64(w.end-w.start), err)
}

// room makes room for a read behind end.
func (w *window) room() {
	inHand := w.end - w.start
	if w.start > 0 && (inHand == 0 || len(w.buf)-w.end < readSize || w.start >= moveAfter && inHand <= w.start) {
		copy(w.buf, w.buf[w.start:w.end])
		w.move(w.buf, 0)
	}
	if len(w.buf)-w.end >= readSize {
		return
	}
	size := min(max(firstWindow, 2*len(w.buf)), maxWindow)
	for size-inHand < readSize {
		size = min(2*size, maxWindow)
	}
	buf := make([]byte, size)
	copy(buf, w.buf[w.start:w.end])
	w.move(buf, 0)
}

// move notes that start is now at a place of buf.
func (w *window) move(buf []byte, start int) {
	by := start - w.start
	w.buf = buf
	w.start = start
	w.sure += by
	w.scan += by
	w.end += by
	w.read = max(w.read+by, 0)
}
