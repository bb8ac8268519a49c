package sourcetest

import (
	"io"
	"sort"
	"sync"
)

// Content is the bytes of a file. Zeros that were not written as bytes take no memory, so that it may be as large as a
// device. It is safe for concurrent use.
type Content struct {
	mu     sync.Mutex
	size   int64
	pieces []piece // ascending; what is between them is zero
}

type piece struct {
	start int64
	data  []byte
}

// Size is how many bytes there are.
func (c *Content) Size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// Written is how many bytes there are but for Zeros.
func (c *Content) Written() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pieces {
		n += int64(len(p.data))
	}
	return n
}

// Bytes returns all of them.
func (c *Content) Bytes() []byte {
	out := make([]byte, c.Size())
	_, _ = c.ReadAt(out, 0) // at most io.EOF
	return out
}

// ReadAt is of io.ReaderAt.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int(min(int64(len(p)), max(c.size-off, 0)))
	clear(p[:n])
	i := sort.Search(len(c.pieces), func(i int) bool { return c.pieces[i].start+int64(len(c.pieces[i].data)) > off })
	for ; i < len(c.pieces) && c.pieces[i].start < off+int64(n); i++ {
		s := c.pieces[i]
		copy(p[max(s.start-off, 0):n], s.data[max(off-s.start, 0):])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *Content) write(p []byte) {
	if len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.pieces) - 1; last >= 0 && c.pieces[last].start+int64(len(c.pieces[last].data)) == c.size {
		c.pieces[last].data = append(c.pieces[last].data, p...)
	} else {
		c.pieces = append(c.pieces, piece{c.size, append([]byte(nil), p...)})
	}
	c.size += int64(len(p))
}

func (c *Content) zeros(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += n
}
